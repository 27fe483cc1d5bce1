// A whole story by the keyboard alone: Tab, Enter, Space and what is typed. No pointer, and no focus that a test sets.
import assert from 'node:assert/strict';
import { watched } from './demo.mjs';

/// Goes on with Tab until a thing has the focus.
async function reach(page, thing, presses) {
  await thing.waitFor();
  for (let n = 0; n < 80; n += 1) {
    await page.keyboard.press('Tab');
    presses.count += 1;
    if (await thing.evaluate((node) => node === document.activeElement)) { return; }
  }
  throw new Error(`Tab does not lead to ${thing} on ${page.url()}`);
}

/// Signs in, connects, makes an app, copies its key, tries it, revokes it and signs out. Gives how many times Tab was pressed.
export async function storyByKeyboard(browser, demo) {
  const origins = [demo.web, demo.sandbox];
  const { context, faults } = await watched(browser, origins, { permissions: ['clipboard-read', 'clipboard-write'] });
  const page = await context.newPage();
  const presses = { count: 0 };
  const to = (role, name) => reach(page, page.getByRole(role, { name, exact: true }).first(), presses);
  /// Presses a key that leads to another page.
  const leads = async (key, address) => {
    await page.keyboard.press(key);
    await page.waitForURL(address);
    await page.waitForLoadState('domcontentloaded');
  };

  await page.goto(`${demo.web}/`);
  await to('textbox', 'User name');
  await page.keyboard.type('nobody');
  await to('textbox', 'Password');
  await page.keyboard.type('not the password');
  await page.keyboard.press('Enter');
  await page.getByText('The user name or the password is wrong.').waitFor();
  assert.match(await page.title(), /^Error: /);
  // The field that is wrong has the focus already.
  assert.equal(await page.getByLabel('Password').evaluate((node) => node === document.activeElement), true);
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('ControlOrMeta+a');
  await page.keyboard.type(demo.username);
  await to('textbox', 'Password');
  await page.keyboard.type(demo.password);
  await leads('Enter', `${demo.web}/`);

  // The first stop skips the navigation.
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  presses.count += 2;
  assert.equal(await page.evaluate(() => document.querySelector('main a, main button') === document.activeElement), true, 'the first link skips to the page');
  await page.goto(`${demo.web}/`);
  await to('link', 'Connect');
  await leads('Enter', `${demo.web}/connect`);
  const scope = page.locator('[value="account"]');
  await reach(page, scope, presses);
  await page.keyboard.press('Space');
  assert.equal(await scope.isChecked(), true);
  await to('textbox', 'Label');
  await page.keyboard.type('By keyboard');
  await to('button', 'Continue to Teslascope');
  await page.keyboard.press('Enter');
  await page.waitForURL(`${demo.sandbox}/**`);
  if (new URL(page.url()).pathname === '/login') {
    await page.keyboard.press('Tab');
    await leads('Enter', (address) => address.pathname !== '/login');
  }
  await to('button', 'Authorize');
  await leads('Space', `${demo.web}/grants/**`);
  await page.getByRole('status').getByText('Teslascope granted what was asked').waitFor();

  await to('link', 'Apps');
  await leads('Enter', `${demo.web}/apps`);
  await to('link', 'New app');
  await leads('Enter', `${demo.web}/apps/new`);
  await to('textbox', 'Name');
  await page.keyboard.type('By keyboard');
  await to('button', 'Make app');
  await page.keyboard.press('Enter');
  await to('button', 'Copy the app key');
  await page.keyboard.press('Enter');
  await page.getByRole('status').getByText('Copied').waitFor({ state: 'attached' });
  const key = await page.evaluate(() => navigator.clipboard.readText());
  const works = () => fetch(`${demo.proxy}/api/vehicles`, { headers: { authorization: `Bearer ${key}` } }).then((answer) => answer.status);
  assert.equal(await works(), 200);
  await to('link', 'To the app');
  await leads('Enter', `${demo.web}/apps/*`);
  await to('button', 'Make the call');
  await page.keyboard.press('Space');
  await page.getByText('Teslascope answered.').waitFor();
  await reach(page, page.locator('summary').filter({ hasText: 'Revoke this app' }), presses);
  await page.keyboard.press('Enter');
  await to('button', 'Revoke');
  await page.keyboard.press('Enter');
  await page.getByRole('status').getByText('is cut off').waitFor();
  assert.equal(await works(), 401);
  await to('button', 'Sign out');
  await leads('Enter', `${demo.web}/sign-in`);
  assert.deepEqual(faults, []);
  await context.close();
  return presses.count;
}
