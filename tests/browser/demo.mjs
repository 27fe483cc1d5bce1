// Starts `keyfob demo` on ports of its own in a directory of its own, and Chromium beside it.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const here = dirname(fileURLToPath(import.meta.url));
const program = process.env.PROGRAM_UNDER_TEST || resolve(here, '../../target/debug/keyfob');
const browserPath = process.env.CHROMIUM || '/usr/bin/chromium';

export function freePort() {
  return new Promise((done, fail) => {
    const server = createServer();
    server.on('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/// A running program, in a directory and on ports of its own.
export async function start(command, more = {}, from = program) {
  const directory = mkdtempSync(join(tmpdir(), 'keyfob-browser-'));
  const [web, proxy, ops, sandbox] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
  const env = {
    PATH: process.env.PATH,
    HOME: directory,
    KEYFOB_DATA_DIR: join(directory, 'data'),
    KEYFOB_WEB_LISTEN: `127.0.0.1:${web}`,
    KEYFOB_PROXY_LISTEN: `127.0.0.1:${proxy}`,
    KEYFOB_OPS_LISTEN: `127.0.0.1:${ops}`,
    KEYFOB_SANDBOX_LISTEN: `127.0.0.1:${sandbox}`,
    ...more,
  };
  const child = spawn(from, command, { cwd: directory, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.on('data', (bytes) => { log += bytes; });
  const exited = new Promise((done) => child.on('exit', done));
  const lines = createInterface({ input: child.stdout });
  return {
    log: () => log,
    /// The first line that it prints which a test wants.
    line: (wanted) => Promise.race([
      new Promise((done) => lines.on('line', (line) => { if (wanted(line)) { done(line); } })),
      exited.then((code) => { throw new Error(`keyfob ${command.join(' ')} ended with ${code}:\n${log}`); }),
    ]),
    async stop() {
      child.kill('SIGTERM');
      await exited;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/// A running demo: what it printed, and `stop`.
export async function startDemo(more = {}) {
  const running = await start(['demo', '--json'], more);
  return { ...JSON.parse(await running.line(() => true)), ...running };
}

/// A Keyfob that nobody has set up yet: the address of its setup page, and `stop`.
export async function startNew() {
  const running = await start(['serve']);
  const line = await running.line((text) => text.startsWith('setup: '));
  return { setup: line.slice('setup: '.length), ...running };
}

/// Chromium without anything that talks to the net by itself.
export function startBrowser(more = []) {
  return chromium.launch({
    executablePath: browserPath,
    headless: true,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-extensions', '--no-default-browser-check', ...more,
    ],
  });
}

/// A browser context that writes down what must not happen: console errors, CSP reports, foreign requests.
export async function watched(browser, origins, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const faults = [];
  const asked = [];
  const watch = (page) => {
    page.on('console', (message) => {
      // Chromium logs every answer of 400 and above; those that a test wants are told apart by the test.
      if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) {
        faults.push(`console: ${message.text()}`);
      }
    });
    page.on('pageerror', (error) => faults.push(`script: ${error.message}`));
  };
  context.on('page', watch);
  context.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    asked.push(request.url());
    if (protocol !== 'data:' && !origins.includes(origin)) { faults.push(`request to ${request.url()}`); }
  });
  return { context, faults, asked };
}

export async function signIn(page, demo) {
  await page.goto(`${demo.web}/sign-in`);
  await page.getByLabel('User name').fill(demo.username);
  await page.getByLabel('Password').fill(demo.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(`${demo.web}/`);
}

/// The sandbox's side: chooses an account if asked, then presses a button of the consent page. Like Teslascope, it asks
/// nothing where the person granted all of it before, and sends back at once.
export async function consent(page, demo, button = 'Authorize') {
  await page.waitForURL((address) => address.origin === demo.sandbox || address.pathname !== '/connect');
  if (!page.url().startsWith(demo.sandbox)) { return; }
  if (new URL(page.url()).pathname === '/login') {
    await page.getByRole('button').first().click();
    await page.waitForURL((address) => address.pathname !== '/login');
    if (!page.url().startsWith(demo.sandbox)) { return; }
  }
  await page.getByRole('button', { name: button }).click();
  await page.waitForURL(`${demo.web}/**`);
}
