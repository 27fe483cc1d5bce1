// Keyfob's only script. Every page works without it; with it, keys are copied with one press,
// times are shown in the person's own time zone, calls appear as they happen, and a form is not sent twice.
(function () {
  'use strict';
  var root = document.documentElement;
  root.classList.add('js');

  // Times: the words stay as the server made them, the exact local time is shown on hover.
  var localize = function (node) {
    var at = new Date(node.getAttribute('datetime'));
    if (isNaN(at)) { return; }
    var exact = at.toLocaleString(undefined, { dateStyle: 'full', timeStyle: 'medium' });
    node.title = exact;
    if (node.dataset.show === 'exact') {
      node.textContent = at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
    } else if (node.dataset.show === 'clock') {
      node.textContent = at.toLocaleTimeString(undefined, { timeStyle: 'medium' });
    } else if (node.dataset.show === 'day') {
      node.textContent = at.toLocaleDateString(undefined, { dateStyle: 'medium' });
    }
  };
  document.querySelectorAll('time[datetime]').forEach(localize);

  // Words for those who hear the page rather than see it.
  var quiet = function (kind, words) {
    var node = document.createElement(kind);
    node.className = 'sr-only';
    node.textContent = words;
    return node;
  };

  // Copy buttons. The text is also selectable by hand. That it was copied is seen on the button, and said.
  var copied = quiet('p', '');
  copied.setAttribute('role', 'status');
  if (document.querySelector('button[data-copy]')) { document.querySelector('main').append(copied); }
  document.addEventListener('click', function (event) {
    var button = event.target.closest('button[data-copy]');
    if (!button) { return; }
    var source = document.getElementById(button.dataset.copy);
    if (!source || !navigator.clipboard) { return; }
    navigator.clipboard.writeText(source.textContent).then(function () {
      var word = button.querySelector('span');
      var before = word.textContent;
      word.textContent = 'Copied';
      copied.textContent = 'Copied';
      setTimeout(function () { word.textContent = before; copied.textContent = ''; }, 1600);
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

  // Calls as they happen. Every text is put in as text.
  var live = document.getElementById('live');
  if (live && window.EventSource) {
    var rows = document.getElementById('live-rows');
    var state = document.getElementById('live-state');
    var pause = document.getElementById('pause');
    var source = new EventSource(live.dataset.events);
    var add = function (row) {
      document.getElementById('live-empty').hidden = true;
      document.getElementById('live-table').hidden = false;
      rows.insertBefore(row, rows.firstChild);
      while (rows.children.length > 100) { rows.removeChild(rows.lastChild); }
    };
    var say = function (words) {
      var row = document.createElement('tr');
      var cell = row.insertCell();
      cell.colSpan = 8;
      cell.textContent = words;
      add(row);
    };
    var stop = function (words) { source.close(); pause.hidden = true; state.textContent = words; };
    var opened = false;
    source.onopen = function () {
      state.textContent = 'Watching: new calls appear by themselves.';
      pause.hidden = false;
      // What happened between two connections was told to nobody.
      if (opened) { say('Some may be missed: the connection was gone for a moment. Refresh to see what is kept.'); }
      opened = true;
    };
    // The server ends a stream whose session has ended or has a new id: the browser comes again with the cookie that it has
    // by then, and is told calls, or is sent to sign in, which is no stream and ends it for good.
    source.onerror = function () {
      if (source.readyState === EventSource.CLOSED) { stop('This page is told of calls no more. Refresh the page, and sign in if you are asked to.'); return; }
      state.textContent = 'The connection is gone. Trying again.';
    };
    source.addEventListener('call', function (event) {
      var call = JSON.parse(event.data);
      var blank = document.querySelector('template[data-tone="' + call.tone + '"]');
      if (!blank) { return; }
      var row = blank.content.firstElementChild.cloneNode(true);
      row.querySelectorAll('[data-f]').forEach(function (node) { node.textContent = call[node.dataset.f]; });
      var path = row.querySelector('.path');
      path.textContent = '';
      call.call.match(/[^\/]*\/?/g).forEach(function (part) { path.append(part, document.createElement('wbr')); });
      row.querySelector('.pill').lastChild.data = call.words;
      var time = row.querySelector('time');
      time.dateTime = call.at;
      localize(time);
      var way = row.querySelector('a');
      if (way && call.mend) { way.href = live.dataset.base + call.mend.path; way.textContent = call.mend.words; way.append(quiet('span', ': ' + call.what)); }
      else if (way) { way.remove(); }
      add(row);
    });
    source.addEventListener('missed', function (event) {
      say(event.data + ' missed: there were too many at once. Refresh to see what is kept.');
    });
    source.addEventListener('full', function () { stop('Too many live pages are open. Close one of them, or refresh this one by hand.'); });
    pause.addEventListener('click', function () {
      if (pause.textContent === 'Continue') { location.reload(); return; }
      source.close();
      state.textContent = 'Paused: these are the calls until now.';
      pause.textContent = 'Continue';
    });
  }

  // How far a rotation of keys is. At its end the page is opened anew, for its table.
  var rotation = document.getElementById('rotation');
  if (rotation && window.EventSource) {
    var keys = new EventSource(rotation.dataset.events);
    var ran = false;
    keys.addEventListener('keys', function (event) {
      var is = JSON.parse(event.data);
      var bar = document.getElementById('done');
      document.getElementById('done-words').textContent = is.done + ' of ' + is.all;
      bar.max = is.all || 1;
      bar.value = is.all ? is.done : 1;
      if (is.done < is.all) {
        ran = true;
        document.getElementById('rotation-state').textContent = 'A rotation is under way: ' + (is.all - is.done) + ' left.';
      } else if (ran) { location.reload(); }
    });
    keys.addEventListener('full', function () { keys.close(); });
  }

  // How far a download is. It is held here until it is whole, so that no half of a file is saved; a link that is opened in another
  // way, or whose answer is no file, is an ordinary link.
  var download = document.getElementById('download');
  if (download && window.fetch && window.ReadableStream) {
    var loading = false;
    var far = document.getElementById('downloaded');
    var end = function (words) {
      loading = false;
      document.getElementById('download-far').hidden = true;
      document.getElementById('download-state').textContent = words;
    };
    var load = function (answer) {
      var all = Number(answer.headers.get('keyfob-rows'));
      var reader = answer.body.getReader();
      var parts = [];
      var lines = 0;
      var step = function (read) {
        // The first or the last line holds no grant.
        var count = Math.max(lines - 1, 0);
        if (read.done) {
          var link = document.createElement('a');
          link.href = URL.createObjectURL(new Blob(parts, { type: answer.headers.get('content-type') }));
          link.download = /filename="([^"]+)"/.exec(answer.headers.get('content-disposition'))[1];
          link.click();
          setTimeout(function () { URL.revokeObjectURL(link.href); }, 60000);
          end(count === 1 ? '1 grant is in the file.' : count + ' grants are in the file.');
          return null;
        }
        parts.push(read.value);
        read.value.forEach(function (byte) { if (byte === 10) { lines += 1; } });
        count = Math.max(lines - 1, 0);
        far.max = Math.max(all, count, 1);
        far.value = count;
        document.getElementById('download-words').textContent = count + ' of ' + Math.max(all, count);
        return reader.read().then(step);
      };
      return reader.read().then(step);
    };
    document.addEventListener('click', function (event) {
      var link = event.target.closest('a[data-download]');
      if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) { return; }
      event.preventDefault();
      if (loading) { return; }
      loading = true;
      download.hidden = false;
      far.removeAttribute('value');
      document.getElementById('download-far').hidden = false;
      document.getElementById('download-words').textContent = '0';
      document.getElementById('download-state').textContent = 'The download has begun.';
      fetch(link.href).then(function (answer) {
        if (answer.ok && answer.headers.has('keyfob-rows')) { return load(answer); }
        location.href = link.href;
        return end('');
      }).catch(function () { end('The download broke off, and nothing was saved. Try again.'); });
    });
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
