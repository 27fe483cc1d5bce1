// A stranger's path from a clone to a chart of their own app's calls, timed: `npm run stranger`. It clones this repository,
// builds it as the README says, with nothing built before, and goes on in the browser. It may take five minutes.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import assert from 'node:assert/strict';
import { here, start, startBrowser } from './demo.mjs';

const most = 300;
const directory = mkdtempSync(join(tmpdir(), 'keyfob-stranger-'));
const begun = Date.now();
const since = () => (Date.now() - begun) / 1000;
const step = (words) => console.log(`${since().toFixed(1).padStart(6)} s  ${words}`);
const shell = (line, more = {}) => execFileSync('bash', ['-c', line], { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', ...more });

let demo;
let browser;
try {
  let program = process.env.PROGRAM_UNDER_TEST;
  if (!program) {
    const clone = join(directory, 'keyfob');
    execFileSync('git', ['clone', '--quiet', '--depth', '1', `file://${resolve(here, '../..')}`, clone]);
    step('cloned');
    shell('cargo build --release 2>&1', { cwd: clone, env: { ...process.env, CARGO_TARGET_DIR: join(clone, 'target') }, maxBuffer: 1 << 26 });
    program = join(clone, 'target/release/keyfob');
    step('built');
  }
  demo = await start(['demo'], {}, program);
  const printed = {};
  await demo.line((line) => {
    const [, name, value] = /^(open|user|password|app key|try) +(.+)$/.exec(line) || [];
    if (name) { printed[name] = value; }
    return name === 'try';
  });
  step('the demo has printed what to open and to try');
  browser = await startBrowser();
  const page = await browser.newPage();
  await page.goto(printed.open);
  await page.getByLabel('User name').fill(printed.user);
  await page.getByLabel('Password').fill(printed.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('Hello, demo').waitFor();
  step('signed in');
  assert.match(shell(printed.try), /public_id/);
  step('the line that was printed has run');
  await page.getByRole('link', { name: 'New app' }).click();
  await page.getByLabel('Name', { exact: true }).fill('My own');
  await page.getByRole('button', { name: 'Make app' }).click();
  const line = await page.locator('#line-1').textContent();
  step('an app is made');
  assert.match(shell(line), /public_id/);
  step('its ready line has run');
  await page.goto(printed.open);
  assert.match(await page.locator('figure.chart title').textContent(), /^2 calls, 0 of them refused/);
  await page.getByText('The same as a table').click();
  await page.getByRole('cell', { name: /My own 1/ }).waitFor();
  step('its call stands in the chart');
  assert.ok(since() < most, `it took longer than ${most} s`);
} finally {
  await browser?.close();
  await demo?.stop();
  rmSync(directory, { recursive: true, force: true });
}
