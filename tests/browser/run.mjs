// The browser suite: a person's story from sign-in to the first call, with and without JavaScript, and what must hold on
// every page: axe finds nothing, no console error, no request elsewhere, within 60 KB, all of it reachable by keyboard.
import assert from 'node:assert/strict';
import { consent, signIn, startBrowser, startDemo, startNew, watched } from './demo.mjs';
import { downloads } from './downloads.mjs';
import { furnish, press } from './furnish.mjs';
import { dead, holds } from './holds.mjs';
import { storyByKeyboard } from './keyboard.mjs';
import { treeFaults } from './tree.mjs';

const only = process.argv[2] || '';
let passed = 0;
let failed = 0;

async function test(name, body) {
  if (!name.includes(only)) { return; }
  const begun = Date.now();
  try {
    await body();
    passed += 1;
    console.log(`ok      ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${String(error.stack || error).split('\n').slice(0, 12).join('\n')}`);
  }
}

const demo = await startDemo();
const browser = await startBrowser();

/// The story: sign in, tick scopes, consent, make an app, call. Without a script it goes the same way.
async function story(javaScriptEnabled) {
  const { context, faults } = await watched(browser, [demo.web, demo.sandbox], { javaScriptEnabled });
  const page = await context.newPage();
  await page.goto(`${demo.web}/apps/new`);
  assert.equal(new URL(page.url()).pathname, '/sign-in', 'a visitor is asked to sign in first');
  await page.getByLabel('User name').fill(demo.username);
  await page.getByLabel('Password').fill('not the password');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('The user name or the password is wrong.').waitFor();
  assert.equal(await page.getByLabel('User name').inputValue(), demo.username, 'what was typed is kept');
  assert.equal(await page.getByLabel('Password').inputValue(), '', 'but never a password');
  await page.getByLabel('Password').fill(demo.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(`${demo.web}/apps/new`);

  await page.goto(`${demo.web}/connect`);
  const ticked = await page.locator('input[name="scope"]:checked').evaluateAll((boxes) => boxes.map((box) => box.value));
  assert.deepEqual(ticked, ['vehicles'], 'only the minimum is ticked');
  await page.locator(`input[value="${javaScriptEnabled ? 'account' : 'controls'}"]`).check();
  await page.getByLabel('Label').fill(`Story ${javaScriptEnabled}`);
  await page.getByRole('button', { name: 'Continue to Teslascope' }).click();
  await consent(page, demo);
  assert.match(new URL(page.url()).pathname, /^\/grants\//);
  assert.equal(new URL(page.url()).search, '', 'no code stays in the address');
  await page.getByText('Teslascope granted what was asked').waitFor();

  await page.goto(`${demo.web}/apps/new`);
  await page.getByLabel('Name', { exact: true }).fill(`Story ${javaScriptEnabled}`);
  await page.getByRole('button', { name: 'Make app' }).click();
  const key = await page.locator('#app-key').textContent();
  assert.match(key, /^kf_[A-Za-z0-9_-]{43}$/);
  const cars = await fetch(`${demo.proxy}/api/vehicles`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal(cars.status, 200);
  const [car] = await cars.json();
  const refused = await fetch(`${demo.proxy}/api/vehicle/${car.public_id}/command/unlock`, {
    method: 'POST', headers: { authorization: `Bearer ${key}` },
  });
  assert.equal(refused.status, 403);
  assert.equal(refused.headers.get('keyfob-error'), 'insufficient_scope');

  await page.getByRole('link', { name: 'To the app' }).click();
  for (let n = 0; n < 40 && !(await page.getByText('insufficient_scope').count()); n += 1) {
    await page.waitForTimeout(100);
    await page.reload();
  }
  await page.getByText('insufficient_scope').first().waitFor();
  await page.getByText('Revoke this app').click();
  await page.getByRole('button', { name: 'Revoke' }).click();
  await page.getByText('is cut off').waitFor();
  const after = await fetch(`${demo.proxy}/api/vehicles`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal(after.status, 401, 'a revoked key is dead at once');

  await page.goto(`${demo.web}/`);
  await page.getByRole('link', { name: `Story ${javaScriptEnabled}` }).click();
  await page.getByText('Disconnect this grant').click();
  await page.getByRole('button', { name: 'Disconnect' }).click();
  await page.getByText('is disconnected.').waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL(`${demo.web}/sign-in`);
  await page.goBack();
  assert.equal(await page.getByText('Hello, demo').count(), 0, 'no page is kept for the back button');
  assert.deepEqual(faults, []);
  await context.close();
}

// First, while the sandbox still asks for what was never granted.
await test('the story by keyboard alone', async () => {
  console.log(`        Tab was pressed ${await storyByKeyboard(browser, demo)} times`);
});
await test('the story with JavaScript', () => story(true));
await test('the story without JavaScript', () => story(false));

await test('a refusal at the provider is told', async () => {
  const { context, faults } = await watched(browser, [demo.web, demo.sandbox]);
  const page = await context.newPage();
  await signIn(page, demo);
  await page.goto(`${demo.web}/connect`);
  await page.getByLabel('tesla-accounts').check();
  await page.getByRole('button', { name: 'Continue to Teslascope' }).click();
  await consent(page, demo, 'Cancel');
  assert.equal(new URL(page.url()).pathname, '/connect');
  assert.equal(await page.getByRole('alert').count(), 1);
  assert.deepEqual(faults, []);
  await context.close();
});

await test('one click makes a grant of its own for the commands', async () => {
  const { context, faults } = await watched(browser, [demo.web, demo.sandbox]);
  const page = await context.newPage();
  await signIn(page, demo);
  await page.goto(`${demo.web}/connect`);
  await page.getByRole('button', { name: 'Make two grants' }).click();
  await consent(page, demo);
  await page.getByText('Now the second grant').waitFor();
  const ticked = await page.locator('input[name="scope"]:checked').evaluateAll((boxes) => boxes.map((box) => box.value));
  assert.deepEqual(ticked, ['controls']);
  assert.deepEqual(faults, []);
  await context.close();
});

const rooms = await furnish(browser, demo);

await test('keys are copied with one press', async () => {
  const { context, faults } = await watched(browser, [demo.web], { permissions: ['clipboard-read', 'clipboard-write'] });
  const page = await context.newPage();
  await signIn(page, demo);
  await rooms.acts['app-made'](page);
  await page.getByRole('button', { name: 'Copy the app key' }).click();
  await page.getByRole('status').getByText('Copied').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await page.locator('#app-key').textContent());
  assert.deepEqual(faults, []);
  await context.close();
});

await test('times are shown in the zone of the person', async () => {
  const { context } = await watched(browser, [demo.web], { timezoneId: 'Pacific/Auckland', locale: 'en-GB' });
  const page = await context.newPage();
  await signIn(page, demo);
  const shown = await page.locator('time').first().evaluate((node) => [node.title, new Date(node.dateTime).toLocaleString('en-GB', { dateStyle: 'full', timeStyle: 'medium' })]);
  assert.equal(shown[0], shown[1]);
  await context.close();
});

await test('calls appear on the live page as they happen, can be paused, and stand there without JavaScript', async () => {
  const { context, faults } = await watched(browser, [demo.web]);
  const page = await context.newPage();
  await signIn(page, demo);
  await page.goto(`${demo.web}/live`);
  await page.getByText('Watching: new calls appear by themselves.').waitFor();
  const before = await page.locator('#live-rows tr').count();
  const call = (path) => fetch(`${demo.proxy}${path}`, { headers: { authorization: `Bearer ${rooms.keys.dashboard}` } }).then((answer) => answer.arrayBuffer());
  await call('/api/vehicles');
  await call('/api/account');
  await page.waitForFunction((least) => document.querySelectorAll('#live-rows tr').length === least, before + 2);
  const first = page.locator('#live-rows tr').first();
  await first.getByText('The app may not use account.').waitFor();
  await first.getByRole('link', { name: 'Allow it' }).waitFor();
  assert.match(await first.locator('time').getAttribute('datetime'), /Z$/);
  await page.getByRole('button', { name: 'Pause' }).click();
  await call('/api/vehicles');
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.waitForFunction((least) => document.querySelectorAll('#live-rows tr').length >= Math.min(least, 30), before + 3);
  await page.getByText('Watching: new calls appear by themselves.').waitFor();

  // Showing the password again gives the session a new id: the page goes on with it.
  const other = await context.newPage();
  await other.goto(`${demo.web}/confirm`);
  await other.getByLabel('Password').fill(demo.password);
  await other.getByRole('button', { name: 'Continue' }).click();
  await page.getByText('Some may be missed').waitFor();
  await page.getByText('Watching: new calls appear by themselves.').waitFor();
  await call('/api/account/tesla-accounts');
  await page.locator('#live-rows tr').first().getByText('The app may not use tesla-accounts.').waitFor();
  assert.deepEqual(faults, []);

  await other.goto(`${demo.web}/`);
  await other.getByRole('button', { name: 'Sign out' }).click();
  await page.getByText('This page is told of calls no more.').waitFor();
  await context.close();

  const plain = await watched(browser, [demo.web], { javaScriptEnabled: false });
  const still = await plain.context.newPage();
  await signIn(still, demo);
  await still.goto(`${demo.web}/live`);
  await still.getByText('The app may not use account.').first().waitFor();
  await still.getByRole('link', { name: 'Refresh' }).click();
  await still.waitForURL(`${demo.web}/live`);
  assert.equal(await still.getByRole('button', { name: 'Pause' }).count(), 0);
  assert.deepEqual(plain.faults, []);
  await plain.context.close();
});

await test('a download shows how far it is, saves nothing but a whole file, and is an ordinary link without JavaScript', () => downloads(browser, demo));

const wide = { viewport: { width: 1280, height: 860 } };
const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true };
const looks = [
  ['wide, light', { ...wide, colorScheme: 'light' }],
  ['wide, dark', { ...wide, colorScheme: 'dark' }],
  ['phone, light', { ...phone, colorScheme: 'light' }],
  ['phone, dark', { ...phone, colorScheme: 'dark' }],
  ['wide, without JavaScript', { ...wide, colorScheme: 'light' }],
  ['phone, without JavaScript', { ...phone, colorScheme: 'dark' }],
];
/// Every page and act, in one look.
const see = ([look, options]) => test(`every page holds what was promised (${look})`, async () => {
  const { context, faults } = await watched(browser, [demo.web, demo.sandbox], options);
  const page = await context.newPage();
  const plain = look.includes('without JavaScript');
  // The page's own script never runs; those of the checks do, once the page is there.
  const scripts = plain && await context.newCDPSession(page);
  const scripted = async (may) => { if (plain) { await scripts.send('Emulation.setScriptExecutionDisabled', { value: !may }); } };
  const hold = async (name) => {
    await scripted(true);
    if (plain) { assert.deepEqual(await page.evaluate(dead), [], `${name} has what only a script makes work`); }
    await holds(page, name, faults);
    await scripted(false);
  };
  await scripted(false);
  await page.goto(`${demo.web}/sign-in`);
  await hold('sign-in');
  await signIn(page, demo);
  const titles = new Map();
  for (const [name, path] of Object.entries(rooms.pages)) {
    await page.goto(demo.web + path);
    await hold(name);
    // The review is one page, as long as it fits on one.
    if (name !== 'admin-review-whole') { titles.set(name, await page.title()); }
  }
  assert.equal(new Set(titles.values()).size, titles.size, `two pages have one title: ${[...titles.values()]}`);
  for (const [name, act] of Object.entries(rooms.acts)) {
    await act(page);
    await hold(name);
  }
  await context.close();
});
await test('what a screen reader would stumble over is found', async () => {
  const page = await browser.newPage();
  await page.setContent(`<nav aria-label="Main"><a href="/">Home</a></nav><main><h1>A</h1><h3>B</h3>
    <form aria-label="One"><button>Revoke</button><button>Revoke</button><button></button><a href="/a">Mend it</a><a href="/b">Mend it</a></form>
    <input aria-invalid="true"><p class="error" id="e">Wrong</p><p class="hint">Like this</p><fieldset><input aria-label="C" aria-describedby="gone"></fieldset>
    <table><tr><th scope="col">D</th><th scope="col">E</th></tr><tr><td>1</td></tr></table><table><caption>F</caption><tr><td>1</td></tr></table>
    <svg role="img" aria-label="Calls"></svg><svg></svg></main><main></main>`);
  assert.deepEqual((await treeFaults(page)).sort(), [
    '2 main landmarks', '2 times button "Revoke" for different things', '2 times link "Mend it" for different things',
    'a button has no name (in form "One")', 'a chart has no table behind it', 'a drawing is neither told nor hidden', 'a group of fields has no name',
    'a table has no name (in table "")', 'a textbox has no name (in textbox "")', 'aria-describedby="gone" does not lead to one thing',
    'table "" has a row of 1 cells under 2 headers', 'table "F" has no column headers', 'the error "Wrong" is tied to no field',
    'the field  is wrong and does not say why', 'the first link does not skip to the page', 'the heading "B" jumps from level 1 to 3',
    'the hint "Like this" is tied to no field', 'two landmarks main ""',
  ]);
  await page.close();
});

// Two at a time: one page waits for the server while the other is looked at.
await Promise.all([see(looks[0]), see(looks[1])]);
await Promise.all([see(looks[2]), see(looks[3])]);
await Promise.all([see(looks[4]), see(looks[5])]);

await test('what is seldom seen holds what was promised', async () => {
  const { context, faults } = await watched(browser, [demo.web, demo.sandbox], phone);
  const page = await context.newPage();
  await signIn(page, demo);
  for (const [name, act] of Object.entries(rooms.rare)) {
    await act(page);
    await holds(page, name, faults);
    if (/-error$/.test(name) && !/^admin-(grants|audit)/.test(name)) { assert.match(await page.title(), /^Error: /, name); }
  }
  for (const path of ['/', '/login', '/developers/applications']) {
    await page.goto(demo.sandbox + path);
    assert.deepEqual(await treeFaults(page), [], `the sandbox's ${path}`);
  }
  await context.close();

  const fresh = await startNew();
  const first = await watched(browser, [new URL(fresh.setup).origin], phone);
  const setup = await first.context.newPage();
  await setup.goto(fresh.setup);
  await holds(setup, 'setup', first.faults);
  await setup.getByLabel('User name').fill('ada');
  await setup.getByLabel('Password').fill('password');
  await press(setup, 'Make the account');
  await holds(setup, 'setup-error', first.faults);
  assert.match(await setup.title(), /^Error: /);
  await setup.getByLabel('Password').fill('a password for tests');
  await press(setup, 'Make the account');
  await holds(setup, 'home-new', first.faults);
  await setup.goto(new URL('/connect', fresh.setup).href);
  await holds(setup, 'connect-unset', first.faults);
  await first.context.close();
  await fresh.stop();
});

await test('every page weighs less than 60 KB with everything, and leaves no page of ours', async () => {
  const { context, asked } = await watched(browser, [demo.web]);
  const page = await context.newPage();
  await signIn(page, demo);
  const weights = [];
  for (const [name, path] of Object.entries(rooms.pages)) {
    const fresh = await context.newPage();
    // A page that is routed uses no cache: everything is counted for every page.
    await fresh.route('**/*', (route) => route.continue());
    const parts = [];
    // A stream of events has no end; it is no part of the page.
    const counts = (response) => !/event-stream/.test(response.headers()['content-type'] || '');
    fresh.on('response', (response) => { if (counts(response)) { parts.push(response.request().sizes().then((sizes) => sizes.responseBodySize).catch(() => 0)); } });
    await fresh.goto(demo.web + path, { waitUntil: 'load' });
    const bytes = (await Promise.all(parts)).reduce((sum, part) => sum + part, 0);
    weights.push([name, bytes]);
    assert.ok(bytes > 0 && bytes < 60_000, `${name} weighs ${bytes} bytes`);
    await fresh.close();
  }
  assert.ok(asked.every((address) => address.startsWith(demo.web)));
  const [heaviest, most] = weights.sort((a, b) => b[1] - a[1])[0];
  console.log(`        the heaviest is ${heaviest} with ${most} bytes`);
  await context.close();
});

await test('the keyboard alone reaches everything, in the order of the page', async () => {
  const { context } = await watched(browser, [demo.web]);
  const page = await context.newPage();
  await signIn(page, demo);
  for (const [name, path] of Object.entries(rooms.pages)) {
    await page.goto(demo.web + path);
    const expected = await page.evaluate(() => [...document.querySelectorAll('a[href], button, input:not([type="hidden"]), select, textarea, summary')]
      .filter((node) => node.checkVisibility() && !node.disabled)
      // Radio buttons of one name are one stop.
      .filter((node) => node.type !== 'radio' || node.checked).length);
    let reached = 0;
    let last = -1;
    for (; reached <= expected + 5; reached += 1) {
      await page.keyboard.press('Tab');
      const at = await page.evaluate(() => {
        const node = document.activeElement;
        if (!node || node === document.body) { return null; }
        const style = getComputedStyle(node);
        const after = getComputedStyle(node, '::after');
        const visible = style.outlineStyle !== 'none' || after.outlineStyle !== 'none';
        return { index: [...document.querySelectorAll('*')].indexOf(node), visible, html: node.outerHTML.slice(0, 120) };
      });
      if (!at || (reached >= expected && at.index <= last)) { break; }
      assert.ok(at.visible, `the focus cannot be seen on ${name}: ${at.html}`);
      assert.ok(at.index > last, `the order jumps on ${name}: ${at.html}`);
      last = at.index;
    }
    assert.ok(reached >= expected, `${name}: ${reached} of ${expected} reached`);
  }
  await context.close();
});

await test('a page in a frame of another site stays empty', async () => {
  const { context } = await watched(browser, [demo.web, demo.sandbox]);
  const page = await context.newPage();
  await page.goto(`${demo.sandbox}/`);
  const refused = page.waitForEvent('console', (message) => /frame-ancestors|X-Frame-Options/.test(message.text()));
  await page.evaluate((address) => {
    const frame = document.createElement('iframe');
    frame.src = address;
    document.body.append(frame);
  }, `${demo.web}/sign-in`).catch(() => {});
  await Promise.race([refused, page.waitForTimeout(3000)]);
  const inner = page.frames().find((frame) => frame !== page.mainFrame());
  assert.ok(!inner || (await inner.locator('input[name="password"]').count().catch(() => 0)) === 0);
  await context.close();
});

await browser.close();
await demo.stop();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
