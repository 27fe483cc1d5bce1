// Fills a demo so that its pages have something to show: grants of every kind, apps, calls, refusals, users; and names
// every page and every act that leads to a page of its own.
import { consent, signIn, watched } from './demo.mjs';

async function call(demo, key, method, path) {
  const answer = await fetch(`${demo.proxy}${path}`, { method, headers: { authorization: `Bearer ${key}` } });
  await answer.arrayBuffer();
  return answer.status;
}

async function makeApp(page, demo, name, scopes, fill = async () => {}) {
  await page.goto(`${demo.web}/apps/new`);
  await page.getByLabel('Name', { exact: true }).fill(name);
  for (const box of await page.locator('input[name="scope"]').all()) {
    await box.setChecked(scopes.includes(await box.getAttribute('value')));
  }
  await fill(page);
  await page.getByRole('button', { name: 'Make app' }).click();
  return page.locator('#app-key').textContent();
}

async function connect(page, demo, scopes, label, button) {
  await page.goto(`${demo.web}/connect`);
  for (const box of await page.locator('input[name="scope"]').all()) {
    await box.setChecked(scopes.includes(await box.getAttribute('value')));
  }
  await page.getByLabel('Label').fill(label);
  await page.getByRole('button', { name: 'Continue to Teslascope' }).click();
  await consent(page, demo, button);
}

/// Makes a token at the sandbox, as its developers' page does, and pastes it.
async function paste(page, demo) {
  await page.goto(`${demo.sandbox}/developers/applications`);
  if (new URL(page.url()).pathname === '/login') {
    await page.getByRole('button').first().click();
    await page.waitForURL(`${demo.sandbox}/developers/applications`);
  }
  await page.getByRole('button', { name: 'Make token' }).click();
  const token = await page.locator('#secret').inputValue();
  await page.goto(`${demo.web}/connect/token`);
  await page.getByLabel('Token or key').fill(token);
  await page.getByLabel('Label').fill('Pasted');
  await page.getByRole('button', { name: 'Save token' }).click();
  await page.waitForURL(`${demo.web}/grants/**`);
  return new URL(page.url()).pathname;
}

export async function furnish(browser, demo) {
  const { context } = await watched(browser, [demo.web, demo.sandbox]);
  const page = await context.newPage();
  await signIn(page, demo);
  await connect(page, demo, ['controls'], 'Commands');
  await connect(page, demo, ['vehicles', 'mcp:use', 'account'], 'A grant with a rather long label, for the assistant in the kitchen');
  const grant = new URL(page.url()).pathname;

  const pasted = await paste(page, demo);

  const dashboard = await makeApp(page, demo, 'Grafana', ['vehicles']);
  const app = await page.getByRole('link', { name: 'To the app' }).getAttribute('href');
  const heater = await makeApp(page, demo, 'Preheat on cold mornings', ['vehicles', 'controls'], (form) => form.getByLabel('Key valid for').fill('90d'));
  await makeApp(page, demo, 'Old ESP8266 in the garage', ['vehicles', 'account']);
  const cars = await (await fetch(`${demo.proxy}/api/vehicles`, { headers: { authorization: `Bearer ${dashboard}` } })).json();
  const car = cars[0].public_id;
  for (let n = 0; n < 4; n += 1) {
    await call(demo, dashboard, 'GET', '/api/vehicles');
    await call(demo, dashboard, 'GET', `/api/vehicle/${car}/detailed`);
  }
  await call(demo, dashboard, 'GET', `/api/vehicle/${car}/drives?page=1`);
  await call(demo, dashboard, 'POST', `/api/vehicle/${car}/command/unlock`);
  await call(demo, heater, 'POST', `/api/vehicle/${car}/command/startAC`);
  await call(demo, heater, 'GET', '/api/nothing');

  for (const name of ['grace', 'a.very.long.user.name.that.somebody.chose@example.org']) {
    await page.goto(`${demo.web}/admin/users`);
    await page.getByLabel('User name').fill(name);
    await page.getByLabel('First password, if not by link').fill('a password for tests');
    await page.getByRole('button', { name: 'Add user' }).click();
  }
  await page.goto(`${demo.web}/admin/review`);
  await page.getByLabel('Remark').fill('All of it is in use.\nThe garage goes in May.');
  await page.getByRole('button', { name: 'Sign off' }).click();
  await page.getByText('is signed off').waitFor();
  // The trail is written within a second.
  for (let n = 0; n < 40; n += 1) {
    await page.goto(demo.web + app);
    if (!(await page.getByText('No call yet').count())) { break; }
    await page.waitForTimeout(100);
  }
  await context.close();

  return {
    keys: { dashboard, heater },
    car,
    pages: {
      home: '/',
      connect: '/connect',
      'connect-token': '/connect/token',
      grant,
      'grant-pasted': pasted,
      apps: '/apps',
      'app-new': '/apps/new',
      app,
      account: '/account',
      'admin-grants': '/admin/grants',
      'admin-users': '/admin/users',
      'admin-apps': '/admin/apps',
      'admin-audit': '/admin/audit',
      'admin-review': '/admin/review',
      'admin-review-whole': '/admin/review?all=yes',
      'admin-live': '/admin/live',
      'admin-settings': '/admin/settings',
      live: '/live',
      'admin-keys': '/admin/keys',
      confirm: '/confirm?next=/apps',
      'not-found': '/nothing',
    },
    acts: {
      'app-made': (at) => makeApp(at, demo, `Shown once ${made += 1}`, ['vehicles', 'mcp:use']),
      'connect-error': async (at) => {
        await at.goto(`${demo.web}/connect`);
        for (const box of await at.locator('input[name="scope"]').all()) { await box.uncheck(); }
        await press(at, 'Continue to Teslascope');
      },
      'app-error': async (at) => {
        await at.goto(`${demo.web}/apps/new`);
        await at.getByLabel('Name', { exact: true }).fill('Faulty');
        await at.getByLabel('Key valid for').fill('soon');
        await press(at, 'Make app');
      },
      tried: async (at) => {
        await at.goto(demo.web + app);
        await press(at, 'Make the call');
        await at.getByText('Teslascope answered.').waitFor();
      },
      'tried-refused': async (at) => {
        await at.goto(demo.web + app);
        await at.getByLabel('Path').fill('/api/account');
        await press(at, 'Make the call');
        await at.getByText('insufficient_scope.').waitFor();
      },
      denied: (at) => connect(at, demo, ['tesla-accounts'], 'Denied', 'Cancel'),
      'empty-filter': (at) => at.goto(`${demo.web}/admin/grants?user=grace`),
    },
    rare: rare(demo, { app, grant }),
  };
}

let made = 0;

/// Presses a button and waits for the page that it leads to.
export async function press(at, name) {
  const there = at.waitForEvent('load');
  await at.getByRole('button', { name }).click();
  await there;
}

/// What is seldom seen: every form with what is wrong in it, pages that are shown once, and pages of somebody else.
/// In this order: the last ones leave the session.
function rare(demo, { app, grant }) {
  const go = (at, path) => at.goto(demo.web + path);
  /// Presses a button whatever the browser itself would say against it.
  const send = async (at, name) => {
    await at.evaluate(() => document.querySelectorAll('form').forEach((form) => { form.noValidate = true; }));
    await press(at, name);
  };
  const invite = async (at) => {
    await go(at, '/admin/users');
    made += 1;
    await at.getByLabel('User name').fill(`guest-${made}`);
    await press(at, 'Add user');
    return at.locator('#link').textContent();
  };
  const another = async (at) => {
    await at.context().clearCookies();
    await go(at, '/sign-in');
    await at.getByLabel('User name').fill('grace');
    await at.getByLabel('Password').fill('a password for tests');
    await press(at, 'Sign in');
    await at.waitForURL(`${demo.web}/`);
  };
  return {
    'app-more-error': async (at) => { await go(at, '/apps/new'); await at.getByText('More settings').click(); await at.getByLabel('Most calls').fill('many'); await send(at, 'Make app'); },
    'admin-review-error': async (at) => {
      await go(at, '/admin/review');
      await at.evaluate(() => { document.querySelector('input[name="digest"]').value = 'of another list'; });
      await press(at, 'Sign off');
      await at.getByText('The list has changed since you opened it.').waitFor();
    },
    'grant-to-widen': (at) => go(at, `${grant}?scope=tesla-accounts&next=/live`),
    downloaded: async (at) => {
      await go(at, '/admin/grants');
      await Promise.all([at.waitForEvent('download'), at.getByRole('link', { name: 'Download CSV' }).click()]);
      await at.getByText('grants are in the file.').waitFor();
    },
    'app-roll-error': async (at) => { await go(at, app); await at.getByLabel('The old key stays valid for').fill('soon'); await press(at, 'Roll key'); },
    'app-scopes-error': async (at) => {
      await go(at, app);
      await at.getByText('Change what it may do').click();
      for (const box of await at.locator('input[name="scope"]:checked').all()) { await box.uncheck(); }
      await press(at, 'Save');
    },
    'tried-error': async (at) => { await go(at, app); await at.getByLabel('Path').fill('vehicles'); await press(at, 'Make the call'); },
    'app-rolled': async (at) => { await makeApp(at, demo, `Rolled ${made += 1}`, ['vehicles']); await at.getByRole('link', { name: 'To the app' }).click(); await press(at, 'Roll key'); await at.getByText('is rolled').first().waitFor(); },
    'app-revoked': async (at) => {
      await makeApp(at, demo, `Revoked ${made += 1}`, ['vehicles']);
      await at.getByRole('link', { name: 'To the app' }).click();
      await at.getByText('Revoke this app').click();
      await press(at, 'Revoke');
      await at.getByText('is cut off').waitFor();
    },
    'grant-error': async (at) => { await go(at, grant); await press(at, 'Add the ticked scopes'); },
    'connect-unfinished': async (at) => {
      await go(at, '/connect');
      await at.locator('input[value="tesla-accounts"]').check();
      await press(at, 'Continue to Teslascope');
      await go(at, '/connect');
      await at.getByText('did not come back').waitFor();
    },
    'token-error': async (at) => { await go(at, '/connect/token'); await at.getByLabel('Token or key').fill('no token'); await press(at, 'Save token'); },
    'token-kind-error': async (at) => {
      await go(at, '/connect/token');
      await at.evaluate(() => document.querySelectorAll('[name="kind"]').forEach((one) => { one.checked = false; }));
      await send(at, 'Save token');
    },
    'account-error': async (at) => { await go(at, '/account'); await at.getByLabel('Password until now').fill(demo.password); await at.getByLabel('New password').fill('password'); await press(at, 'Change password'); },
    'callback-refused': (at) => go(at, '/oauth/callback?code=x&state=y'),
    'admin-users-error': async (at) => { await go(at, '/admin/users'); await at.getByLabel('User name').fill('grace'); await press(at, 'Add user'); },
    'admin-keys-error': async (at) => { await go(at, '/admin/keys'); await send(at, 'Make admin key'); },
    'admin-key-made': async (at) => { await go(at, '/admin/keys'); made += 1; await at.getByLabel('Name of a new admin key').fill(`Backup ${made}`); await press(at, 'Make admin key'); },
    'admin-grants-error': (at) => go(at, '/admin/grants?user=no%20name&scope=none&status=none'),
    'admin-audit-error': (at) => go(at, '/admin/audit?user=no%20name&app=none&since=soon'),
    invited: invite,
    invitation: async (at) => { await at.goto(await invite(at)); },
    'invitation-error': async (at) => { await at.goto(await invite(at)); await at.getByLabel('Password').fill('password'); await press(at, 'Set the password'); },
    'home-empty': another,
    'apps-empty': async (at) => { await another(at); await go(at, '/apps'); },
    forbidden: async (at) => { await another(at); await go(at, '/admin/grants'); },
    'sign-in-error': async (at) => {
      await at.context().clearCookies();
      await go(at, '/sign-in');
      await at.getByLabel('User name').fill('nobody');
      await at.getByLabel('Password').fill('not the password');
      await press(at, 'Sign in');
    },
  };
}
