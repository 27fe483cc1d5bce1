// Lighthouse over the main pages, as on a middling phone: at least 98 for accessibility and best practices, 95 for performance.
// `npm run lighthouse` installs it and runs it; `node lighthouse.mjs "part of a name"` runs some pages.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { here, freePort, signIn, startBrowser, startDemo, watched } from './demo.mjs';
import { furnish } from './furnish.mjs';

const only = process.argv[2] || '';
const installed = createRequire(join(here, 'lighthouse', 'package.json')).resolve('lighthouse');
const { default: lighthouse } = await import(pathToFileURL(installed));
const least = { accessibility: 98, 'best-practices': 98, performance: 95 };

const demo = await startDemo();
const port = await freePort();
const browser = await startBrowser([`--remote-debugging-port=${port}`]);
let passed = 0;
let failed = 0;
try {
  const rooms = await furnish(browser, demo);
  const { context } = await watched(browser, [demo.web]);
  await signIn(await context.newPage(), demo);
  const cookie = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ');
  // What answers with an error has no scores, and a list to be printed is no page to be fast on a phone.
  const pages = Object.entries(rooms.pages).filter(([name]) => name.includes(only) && !['not-found', 'admin-review-whole'].includes(name));
  for (const [name, path] of [['sign-in', '/sign-in'], ...pages]) {
    const signedIn = name !== 'sign-in';
    let found;
    let scores;
    let good = false;
    // How fast a page seems depends on what else the machine does: the best of up to three.
    for (let n = 0; n < 3 && !good; n += 1) {
      found = await lighthouse(demo.web + path, {
        port, output: 'json', logLevel: 'silent', onlyCategories: Object.keys(least),
        disableStorageReset: true, extraHeaders: signedIn ? { Cookie: cookie } : {},
      });
      scores = Object.entries(least).map(([category, wanted]) => [category, Math.round(found.lhr.categories[category].score * 100), wanted]);
      // A page that leads to another one, such as the sign-in, was not the one that was asked for.
      good = new URL(found.lhr.finalDisplayedUrl).pathname === new URL(demo.web + path).pathname
        && scores.every(([, score, wanted]) => score >= wanted);
    }
    if (good) { passed += 1; } else { failed += 1; }
    console.log(`${good ? 'ok     ' : 'FAILED '} ${name}: ${scores.map(([category, score]) => `${category} ${score}`).join(', ')}`);
    if (!good) {
      const faults = Object.values(found.lhr.audits).filter((audit) => audit.score !== null && audit.score < 0.9 && audit.scoreDisplayMode !== 'informative');
      for (const audit of faults) { console.log(`        ${audit.id}: ${audit.title} ${audit.displayValue || ''}`); }
      if (found.lhr.runtimeError) { console.log(`        ${found.lhr.runtimeError.message}`); }
    }
  }
} finally {
  await browser.close();
  await demo.stop();
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
