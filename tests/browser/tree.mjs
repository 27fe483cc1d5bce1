// What a screen reader's user is told of a page: Chromium's own accessibility tree, and what must hold in it.

const controls = ['button', 'link', 'checkbox', 'radio', 'textbox', 'searchbox', 'combobox', 'DisclosureTriangle', 'progressbar'];
const named = [...controls, 'table', 'image', 'img', 'region', 'navigation', 'radiogroup', 'columnheader', 'rowheader'];
const landmarks = ['main', 'banner', 'navigation', 'region', 'search', 'contentinfo', 'complementary', 'form'];

/// The nodes of the tree that are told, in their order, each with its parent.
async function told(page, session) {
  const { nodes } = await session.send('Accessibility.getFullAXTree');
  const byId = new Map(nodes.map((node) => [node.nodeId, node]));
  const list = [];
  const walk = (id, above) => {
    const node = byId.get(id);
    if (!node) { return; }
    const one = {
      role: node.role?.value || '',
      name: (node.name?.value || '').replace(/\s+/g, ' ').trim(),
      description: (node.description?.value || '').replace(/\s+/g, ' ').trim(),
      above,
      dom: node.backendDOMNodeId,
      ...Object.fromEntries((node.properties || []).map((property) => [property.name, property.value?.value])),
    };
    if (!node.ignored) { list.push(one); }
    for (const child of node.childIds || []) { walk(child, node.ignored ? above : one); }
  };
  walk(nodes[0].nodeId, null);
  return list;
}

const within = (node, test) => { for (let at = node.above; at; at = at.above) { if (test(at)) { return at; } } return null; };
const say = (node) => `${node.role} "${node.name.slice(0, 60)}"`;

/// What is wrong with the page, in words; nothing when it is as it should be.
export async function treeFaults(page) {
  await page.evaluate(() => document.querySelectorAll('details').forEach((one) => { one.open = true; }));
  const session = await page.context().newCDPSession(page);
  const faults = [];
  const fault = (words) => { if (!faults.includes(words)) { faults.push(words); } };
  try {
    const nodes = await told(page, session);
    const of = (...roles) => nodes.filter((node) => roles.includes(node.role));

    if (of('main').length !== 1) { fault(`${of('main').length} main landmarks`); }
    const headings = of('heading');
    if (headings.filter((one) => one.level === 1).length !== 1) { fault('not exactly one heading of the first level'); }
    let level = 0;
    for (const heading of headings) {
      if (heading.level > level + 1) { fault(`the heading "${heading.name}" jumps from level ${level} to ${heading.level}`); }
      if (!heading.name) { fault(`a heading of level ${heading.level} is empty`); }
      level = heading.level;
    }
    for (const role of landmarks) {
      const names = of(role).map((node) => node.name);
      for (const name of names) {
        if (names.length > 1 && names.filter((other) => other === name).length > 1) { fault(`two landmarks ${role} "${name}"`); }
      }
    }
    for (const node of of(...named)) {
      if (!node.name) { fault(`a ${node.role} has no name (in ${say(within(node, (at) => at.name) || node)})`); }
    }

    // Two things that do different things are told apart by name or description, wherever they stand on the page.
    const like = new Map();
    for (const node of of(...controls)) {
      const group = node.role === 'radio' ? within(node, (at) => ['group', 'radiogroup'].includes(at.role))?.name : '';
      // A link of the navigation is heard with the navigation's own name.
      const place = within(node, (at) => at.role === 'navigation')?.name;
      const key = [node.role, node.name.toLowerCase(), node.description, group, place].join('|');
      like.set(key, [...(like.get(key) || []), node]);
    }
    for (const [, alike] of [...like].filter(([, alike]) => alike.length > 1)) {
      const ways = new Set();
      for (const node of alike) {
        const { node: dom } = await session.send('DOM.describeNode', { backendNodeId: node.dom });
        const at = dom.attributes.indexOf('href');
        ways.add(at < 0 ? node.dom : dom.attributes[at + 1]);
      }
      if (ways.size > 1) { fault(`${alike.length} times ${say(alike[0])} for different things`); }
    }

    // Tables: each cell has a header above it, and what a row is about is its header.
    for (const table of of('table')) {
      const inside = nodes.filter((node) => within(node, (at) => at === table));
      const columns = inside.filter((node) => node.role === 'columnheader').length;
      if (!columns) { fault(`${say(table)} has no column headers`); continue; }
      for (const row of inside.filter((node) => node.role === 'row')) {
        const cells = inside.filter((node) => ['cell', 'gridcell', 'rowheader', 'columnheader'].includes(node.role) && within(node, (at) => at.role === 'row') === row).length;
        if (cells !== columns) { fault(`${say(table)} has a row of ${cells} cells under ${columns} headers`); }
      }
    }
    for (const group of of('group').filter((one) => !nodes.some((node) => node.role === 'DisclosureTriangle' && node.above === one))) {
      if (!group.name) { fault('a group of fields has no name'); }
    }
    const shown = await page.evaluate(() => [...document.querySelectorAll('table')].filter((node) => node.checkVisibility()).length);
    if (of('table').length !== shown) { fault(`${of('table').length} of ${shown} tables are told as tables`); }

    faults.push(...await page.evaluate(ties));
  } finally {
    await session.detach();
  }
  return faults;
}

/// What belongs together in the document, runs in the page.
function ties() {
  const faults = [];
  const described = (id) => document.querySelectorAll(`[aria-describedby~="${CSS.escape(id)}"]`);
  const visible = (node) => node.checkVisibility();
  for (const error of [...document.querySelectorAll('.error')].filter(visible)) {
    const fields = [...described(error.id)];
    if (!error.id || !fields.length) { faults.push(`the error "${error.textContent.trim()}" is tied to no field`); }
    for (const field of fields) {
      if (field.getAttribute('aria-invalid') !== 'true') { faults.push(`the field ${field.name} has an error and does not say so`); }
    }
  }
  for (const field of [...document.querySelectorAll('[aria-invalid="true"]')].filter(visible)) {
    const ids = (field.getAttribute('aria-describedby') || '').split(' ');
    if (!ids.some((id) => document.getElementById(id)?.matches('.error'))) { faults.push(`the field ${field.name} is wrong and does not say why`); }
  }
  for (const hint of [...document.querySelectorAll('.hint')].filter(visible)) {
    if (!hint.closest('label') && !(hint.id && described(hint.id).length)) { faults.push(`the hint "${hint.textContent.trim().slice(0, 60)}" is tied to no field`); }
  }
  for (const node of document.querySelectorAll('[aria-describedby], [aria-labelledby], [aria-controls]')) {
    for (const name of ['aria-describedby', 'aria-labelledby', 'aria-controls']) {
      for (const id of (node.getAttribute(name) || '').split(' ').filter(Boolean)) {
        if (document.querySelectorAll(`#${CSS.escape(id)}`).length !== 1) { faults.push(`${name}="${id}" does not lead to one thing`); }
      }
    }
  }
  // A drawing says what it shows, with its figures in a table beside it, or is decoration.
  for (const drawing of [...document.querySelectorAll('svg')].filter(visible)) {
    if (drawing.getAttribute('aria-hidden') === 'true' || drawing.closest('[aria-hidden="true"]')) { continue; }
    if (drawing.getAttribute('role') !== 'img') { faults.push('a drawing is neither told nor hidden'); continue; }
    if (!drawing.closest('section, .card')?.querySelector('table')) { faults.push('a chart has no table behind it'); }
  }
  const skip = document.querySelector('a[href]');
  if (document.querySelector('nav') && skip?.getAttribute('href') !== '#main') { faults.push('the first link does not skip to the page'); }
  return faults;
}
