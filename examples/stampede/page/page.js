// What the page does without it: everything but enlarging, filtering, and telling the strip under the pointer.
for (const figure of document.querySelectorAll('.timeline')) {
  const scroll = figure.querySelector('.scroll'), canvas = figure.querySelector('.canvas'), rows = [...figure.querySelectorAll('.row')];
  const tools = document.createElement('div'), told = document.createElement('p');
  tools.className = 'tools'; told.className = 'told'; told.setAttribute('aria-hidden', 'true');
  scroll.before(tools); scroll.after(told);
  const hint = told.textContent = 'Point at a strip, or use Tab and the arrow keys, to read it here.';

  const group = (label, choices, choose) => {
    const box = document.createElement('div');
    box.setAttribute('role', 'group'); box.setAttribute('aria-label', label);
    choices.forEach(([text, value], i) => {
      const b = document.createElement('button');
      b.type = 'button'; b.textContent = text; b.setAttribute('aria-pressed', String(i === 0));
      b.addEventListener('click', () => {
        for (const other of box.children) other.setAttribute('aria-pressed', String(other === b));
        choose(value);
      });
      box.append(b);
    });
    tools.append(box);
  };
  const kinds = [['All', ''], ['API calls', 'load'], ['Waits', 'wait,follow'], ['Failures', 'failed,lost']]
    .filter(([, k]) => !k || k.split(',').some(c => figure.querySelector('.row.' + c)));
  group('What to show', kinds, k => {
    figure.classList.toggle('dim', k !== '');
    rows.forEach(r => r.classList.toggle('chosen', k.split(',').some(c => c && r.classList.contains(c))));
  });
  group('How large', [['1×', 1], ['3×', 3], ['10×', 10]], z => {
    const middle = (scroll.scrollLeft + scroll.clientWidth / 2) / canvas.clientWidth;
    canvas.style.setProperty('--zoom', z);
    scroll.scrollLeft = middle * canvas.clientWidth - scroll.clientWidth / 2;
  });

  const tell = e => {
    const row = e.target.closest?.('.row');
    if (!row) return;
    const to = document.getElementById(row.querySelector('a').hash.slice(1));
    told.textContent = row.querySelector('.vh').textContent;
    rows.forEach(r => r.classList.toggle('awaited', r.contains(to)));
  };
  const forget = () => { told.textContent = hint; rows.forEach(r => r.classList.remove('awaited')); };
  figure.addEventListener('pointerover', tell); figure.addEventListener('focusin', tell);
  scroll.addEventListener('pointerleave', forget); scroll.addEventListener('focusout', forget);
  figure.addEventListener('keydown', e => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key], at = rows.indexOf(e.target.closest('.row'));
    if (!step || at < 0) return;
    e.preventDefault();
    rows[Math.min(Math.max(at + step, 0), rows.length - 1)].querySelector('a').focus();
  });
  figure.addEventListener('click', e => {
    const to = e.target.closest('.row a') && document.getElementById(e.target.closest('a').hash.slice(1));
    if (to?.closest('details')) to.closest('details').open = true;
  });
}
