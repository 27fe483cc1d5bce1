// The browser suite: a person's story from sign-in to the first call, with and without JavaScript, and what must hold on
// every page: axe finds nothing, no console error, no request elsewhere, within 60 KB, all of it reachable by keyboard.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import assert from 'node:assert/strict';
import { consent, signIn, startBrowser, startDemo, watched } from './demo.mjs';
import { furnish } from './furnish.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const only = process.argv[2] || '';
let passed = 0;
let failed = 0;

async function test(name, body) {
  if (!name.includes(only)) { return; }
  try {
    await body();
    passed += 1;
    console.log(`ok      ${name}`);
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
  await page.getByLabel('Name', { exact: true }).fill('Story');
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
  await page.getByRole('button', { name: 'Copy', exact: true }).first().click();
  await page.getByText('Copied').first().waitFor();
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

/// What must hold on every page, in every look.
async function holds(page, name, faults) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const violations = found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 160)).join(' | ')}`);
  assert.deepEqual(violations, [], `axe on ${name}`);
  const facts = await page.evaluate(() => ({
    title: document.title,
    headings: document.querySelectorAll('h1').length,
    inline: document.querySelectorAll('[style], style, script:not([src])').length,
    handlers: [...document.querySelectorAll('*')].filter((node) => [...node.attributes].some((a) => a.name.startsWith('on'))).length,
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    widest: [...document.querySelectorAll('main *')].filter((node) => node.getBoundingClientRect().right > innerWidth + 1 && !node.closest('.table-wrap')).slice(0, 3).map((node) => node.outerHTML.slice(0, 100)),
    tokens: [...document.querySelectorAll('form[method="post"]')].filter((form) => !form.elements.csrf_token?.value).length,
    labels: [...document.querySelectorAll('input:not([type="hidden"]), select, textarea')].filter((field) => !field.labels.length).map((field) => field.name),
    small: [...document.querySelectorAll('button, .btn, nav a, summary, input[type="checkbox"]')]
      .filter((node) => node.checkVisibility())
      .map((node) => (node.matches('input') ? node.closest('label') : node).getBoundingClientRect())
      .filter((box) => box.width > 0 && (box.height < 43.5 || box.width < 43.5)).length,
  }));
  assert.match(facts.title, /^.+ · Keyfob$/, name);
  assert.equal(facts.headings, 1, `one h1 on ${name}`);
  assert.equal(facts.inline, 0, `no inline style or script on ${name}`);
  assert.equal(facts.handlers, 0, `no inline handler on ${name}`);
  assert.ok(facts.wide <= 0, `${name} is ${facts.wide} px too wide: ${facts.widest.join(" | ")}`);
  assert.equal(facts.tokens, 0, `every form of ${name} has its token`);
  assert.deepEqual(facts.labels, [], `every field of ${name} has a label`);
  assert.equal(facts.small, 0, `a target of ${name} is smaller than 44 px`);
  assert.deepEqual(faults.splice(0), [], name);
}

const looks = [
  ['wide, light', { viewport: { width: 1280, height: 860 }, colorScheme: 'light' }],
  ['wide, dark', { viewport: { width: 1280, height: 860 }, colorScheme: 'dark' }],
  ['phone, light', { viewport: { width: 360, height: 740 }, colorScheme: 'light', isMobile: true, hasTouch: true }],
  ['phone, dark', { viewport: { width: 360, height: 740 }, colorScheme: 'dark', isMobile: true, hasTouch: true }],
];
for (const [look, options] of looks) {
  await test(`every page holds what was promised (${look})`, async () => {
    const { context, faults } = await watched(browser, [demo.web, demo.sandbox], options);
    const page = await context.newPage();
    await page.goto(`${demo.web}/sign-in`);
    await holds(page, 'sign-in', faults);
    await signIn(page, demo);
    for (const [name, path] of Object.entries(rooms.pages)) {
      await page.goto(demo.web + path);
      await holds(page, name, faults);
    }
    for (const [name, act] of Object.entries(rooms.acts)) {
      await act(page);
      await holds(page, name, faults);
    }
    await context.close();
  });
}

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
