// Keyfob's only script. Every page works without it; with it, keys are copied with one press,
// times are shown in the person's own time zone, and a form is not sent twice.
(function () {
  'use strict';
  var root = document.documentElement;
  root.classList.add('js');

  // Times: the words stay as the server made them, the exact local time is shown on hover.
  document.querySelectorAll('time[datetime]').forEach(function (node) {
    var at = new Date(node.getAttribute('datetime'));
    if (isNaN(at)) { return; }
    var exact = at.toLocaleString(undefined, { dateStyle: 'full', timeStyle: 'medium' });
    node.title = exact;
    if (node.dataset.show === 'exact') {
      node.textContent = at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
    } else if (node.dataset.show === 'day') {
      node.textContent = at.toLocaleDateString(undefined, { dateStyle: 'medium' });
    }
  });

  // Copy buttons. The text is also selectable by hand.
  document.addEventListener('click', function (event) {
    var button = event.target.closest('button[data-copy]');
    if (!button) { return; }
    var source = document.getElementById(button.dataset.copy);
    if (!source || !navigator.clipboard) { return; }
    navigator.clipboard.writeText(source.textContent).then(function () {
      var word = button.querySelector('span');
      var before = word.textContent;
      word.textContent = 'Copied';
      setTimeout(function () { word.textContent = before; }, 1600);
    });
  });

  // "Select all" boxes, which are hidden where there is no script.
  document.querySelectorAll('input[data-all]').forEach(function (box) {
    box.closest('label').hidden = false;
    box.addEventListener('change', function () {
      document.querySelectorAll('input[name="' + box.dataset.all + '"]').forEach(function (one) {
        one.checked = box.checked;
      });
    });
  });

  // A form is sent once: a second press while the first is on its way does nothing.
  document.addEventListener('submit', function (event) {
    var form = event.target;
    if (form.method.toLowerCase() !== 'post') { return; }
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = 'yes';
    setTimeout(function () { delete form.dataset.sent; }, 4000);
  });

  // A code that was refused is worth nothing, and need not stand in the address either.
  if (/\/oauth\/callback$/.test(location.pathname) && location.search) {
    history.replaceState(null, '', location.pathname);
  }

  // What is asked, beside the button, follows the ticks.
  var summary = document.getElementById('asked');
  if (summary) {
    var show = function () {
      var names = [];
      document.querySelectorAll('input[name="scope"]:checked').forEach(function (box) { names.push(box.value); });
      summary.textContent = names.length ? names.join(', ') : 'nothing yet';
    };
    document.querySelectorAll('input[name="scope"]').forEach(function (box) { box.addEventListener('change', show); });
    show();
  }
})();
