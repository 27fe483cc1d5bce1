// Screenshots of every page: wide and phone, light and dark, and some at 200 % zoom. `node shots.mjs [directory] [part of a name]`
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { consent, here, signIn, startBrowser, startDemo, watched } from './demo.mjs';
import { furnish } from './furnish.mjs';

const out = process.argv[2] || join(here, 'shots');
const only = process.argv[3] || '';
mkdirSync(out, { recursive: true });

const demo = await startDemo();
const browser = await startBrowser();
try {
  const rooms = await furnish(browser, demo);
  const looks = [
    ['wide-light', { width: 1280, height: 860 }, 'light', 1],
    ['wide-dark', { width: 1280, height: 860 }, 'dark', 1],
    ['phone-light', { width: 390, height: 844 }, 'light', 1],
    ['phone-dark', { width: 390, height: 844 }, 'dark', 1],
    ['zoomed', { width: 640, height: 430 }, 'light', 2],
  ];
  for (const [look, viewport, colorScheme, deviceScaleFactor] of looks) {
    const { context } = await watched(browser, [demo.web], { viewport, colorScheme, deviceScaleFactor });
    const page = await context.newPage();
    const take = async (name) => {
      if (!`${name}.${look}`.includes(only)) { return; }
      await page.screenshot({ path: join(out, `${name}.${look}.png`), fullPage: true });
    };
    await page.goto(`${demo.web}/sign-in`);
    await take('sign-in');
    await signIn(page, demo);
    for (const [name, path] of Object.entries(rooms.pages)) {
      await page.goto(demo.web + path);
      await take(name);
    }
    for (const [name, act] of Object.entries(rooms.acts)) {
      await act(page);
      await take(name);
    }
    await context.close();
  }
  console.log(`screenshots are in ${out}`);
} finally {
  await browser.close();
  await demo.stop();
}
