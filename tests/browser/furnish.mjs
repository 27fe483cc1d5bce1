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

export async function furnish(browser, demo) {
  const { context } = await watched(browser, [demo.web, demo.sandbox]);
  const page = await context.newPage();
  await signIn(page, demo);
  await connect(page, demo, ['controls'], 'Commands');
  await connect(page, demo, ['vehicles', 'mcp:use', 'account'], 'A grant with a rather long label, for the assistant in the kitchen');
  const grant = new URL(page.url()).pathname;

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
      'app-made': (at) => makeApp(at, demo, 'Shown once', ['vehicles', 'mcp:use']),
      'connect-error': async (at) => {
        await at.goto(`${demo.web}/connect`);
        for (const box of await at.locator('input[name="scope"]').all()) { await box.uncheck(); }
        await at.getByRole('button', { name: 'Continue to Teslascope' }).click();
      },
      'app-error': async (at) => {
        await at.goto(`${demo.web}/apps/new`);
        await at.getByLabel('Name', { exact: true }).fill('Faulty');
        await at.getByLabel('Key valid for').fill('soon');
        await at.getByRole('button', { name: 'Make app' }).click();
      },
      tried: async (at) => {
        await at.goto(demo.web + app);
        await at.getByRole('button', { name: 'Make the call' }).click();
        await at.getByText('Teslascope answered.').waitFor();
      },
      'tried-refused': async (at) => {
        await at.goto(demo.web + app);
        await at.getByLabel('Path').fill('/api/account');
        await at.getByRole('button', { name: 'Make the call' }).click();
        await at.getByText('insufficient_scope.').waitFor();
      },
      denied: (at) => connect(at, demo, ['tesla-accounts'], 'Denied', 'Cancel'),
      'empty-filter': (at) => at.goto(`${demo.web}/admin/grants?user=grace`),
    },
  };
}
