// The downloads of all grants: how far they are, what becomes of one that breaks off, and without a script.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { signIn, watched } from './demo.mjs';

export async function downloads(browser, demo) {
  const { context, faults } = await watched(browser, [demo.web]);
  const page = await context.newPage();
  await signIn(page, demo);
  const saved = async (at, name) => {
    const [download] = await Promise.all([at.waitForEvent('download'), at.getByRole('link', { name }).click()]);
    return { name: download.suggestedFilename(), text: await readFile(await download.path(), 'utf8') };
  };
  const plain = await watched(browser, [demo.web], { javaScriptEnabled: false });
  const still = await plain.context.newPage();
  await signIn(still, demo);
  await still.goto(`${demo.web}/admin/grants`);
  await page.goto(`${demo.web}/admin/grants`);
  for (const [button, file, count] of [
    ['Download CSV', 'keyfob-grants.csv', (text) => text.trim().split('\n').length - 1],
    ['Download JSON', 'keyfob-grants.json', (text) => JSON.parse(text).length],
  ]) {
    const got = await saved(page, button);
    const grants = count(got.text);
    assert.ok(grants > 1);
    await page.getByRole('status').getByText(`${grants} grants are in the file.`).waitFor();
    assert.deepEqual(got, await saved(still, button));
    assert.equal(got.name, file);
  }
  assert.equal(await still.getByRole('progressbar').count(), 0);
  await plain.context.close();

  // A server that takes its time, and then breaks off.
  await page.evaluate(() => {
    window.fetch = () => Promise.resolve(new Response(new ReadableStream({ start(file) { window.file = file; } }), {
      headers: { 'keyfob-rows': '3', 'content-type': 'text/csv', 'content-disposition': 'attachment; filename="half.csv"' },
    }));
  });
  const seen = [];
  page.on('download', (download) => seen.push(download.suggestedFilename()));
  const bar = page.getByRole('progressbar', { name: 'Grants in the file so far' });
  const send = (text) => page.evaluate((words) => window.file.enqueue(new TextEncoder().encode(words)), text);
  await page.getByRole('link', { name: 'Download CSV' }).click();
  await page.getByText('The download has begun.').waitFor();
  assert.equal(await bar.evaluate((node) => node.hasAttribute('value')), false, 'how far it is is not known yet');
  await send('head\none\ntw');
  await page.getByText('1 of 3').waitFor();
  await page.getByRole('link', { name: 'Download CSV' }).click();
  await send('o\n');
  await page.getByText('2 of 3').waitFor();
  assert.deepEqual(await bar.evaluate((node) => [node.value, node.max]), [2, 3]);
  await page.evaluate(() => window.file.error(new Error('gone')));
  await page.getByText('The download broke off, and nothing was saved. Try again.').waitFor();
  assert.equal(await bar.count(), 0);
  assert.deepEqual(seen, []);
  assert.deepEqual(faults, []);

  // Whoever is not signed in any more is asked to.
  await page.goto(`${demo.web}/admin/grants`);
  await context.clearCookies();
  await page.getByRole('link', { name: 'Download JSON' }).click();
  await page.waitForURL(/\/sign-in\?next=/);
  await context.close();
}
