// What must hold on every page, in every look.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import assert from 'node:assert/strict';
import { treeFaults } from './tree.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/// What is shown without a script and is of no use without one; runs in the page.
export function dead() {
  if (document.documentElement.classList.contains('js')) { return ['the script has run']; }
  return [...document.querySelectorAll('button, a, input[data-all]')]
    .filter((node) => node.checkVisibility({ visibilityProperty: true }))
    .filter((node) => (node.matches('button') ? node.type !== 'submit' || !node.form : node.matches('a') ? !node.getAttribute('href') || node.getAttribute('href') === '#' : true))
    .map((node) => node.outerHTML.slice(0, 120));
}

/// Everything of a page.
export async function holds(page, name, faults) {
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
  assert.deepEqual(await treeFaults(page), [], `the accessibility tree of ${name}`);
}
