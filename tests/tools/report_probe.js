// Put behind a report's own script by cli/test_report.sh: looks at the page as it is laid out, and leaves what it finds on <body>:
// data-faults, a line a fault; data-charts, how many charts were looked at; data-dark, whether the page is dark.
(function () {
  'use strict';
  const faults = [];
  const expect = (truth, what) => truth || faults.push(what);
  const channels = color => (color.match(/[\d.]+/g) || []).slice(0, 3).map(Number);
  // Relative luminance and contrast as in WCAG 2.1.
  const luminance = color => {
    const [r, g, b] = channels(color).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  for (const details of document.querySelectorAll('details')) details.open = true; // all there is
  expect(document.documentElement.scrollWidth <= innerWidth, 'the page is wider than the window');
  let charts = 0;
  for (const svg of document.querySelectorAll('figure svg')) {
    const box = svg.getBoundingClientRect(), back = getComputedStyle(svg.closest('figure')).backgroundColor;
    charts++;
    expect(box.width >= 300, svg.id + ': only ' + box.width + ' wide');
    for (const text of svg.querySelectorAll('text')) {
      const style = getComputedStyle(text), inside = text.getBoundingClientRect();
      expect(parseFloat(style.fontSize) * box.width / 400 >= 9, svg.id + ': letters too small');
      expect(contrast(style.fill, back) >= 4.5, svg.id + ': text hardly seen: ' + text.textContent);
      expect(inside.left >= box.left - 1 && inside.right <= box.right + 1, svg.id + ': text outside: ' + text.textContent);
    }
    for (const line of svg.querySelectorAll('.line')) expect(contrast(getComputedStyle(line).stroke, back) >= 3, svg.id + ': line hardly seen');
    for (const area of svg.querySelectorAll('.area')) expect(contrast(getComputedStyle(area).fill, back) >= 3, svg.id + ': area hardly seen');
  }
  const card = getComputedStyle(document.querySelector('.scroll')).backgroundColor;
  for (const token of document.querySelectorAll('.samples i:not(.masked), .key')) { // letters on a tinted ground
    const style = getComputedStyle(token), tint = style.backgroundColor, alpha = Number((tint.match(/[\d.]+/g) || [])[3] ?? 1);
    const ground = 'rgb(' + channels(card).map((v, i) => v * (1 - alpha) + channels(tint)[i] * alpha).join(',') + ')';
    expect(contrast(style.color, ground) >= 4.5, 'a token is hardly seen: ' + token.className);
  }

  // A range of steps is chosen with the mouse: ticks and plot follow, in all charts; a double click brings everything back.
  const ends = charts && document.querySelector('figure svg').getBoundingClientRect(), first = document.querySelector('figure svg');
  const ticks = () => [...document.querySelectorAll('figure svg g.x, figure svg g.y')].map(g => g.textContent).join('|');
  const point = (type, part) => first.dispatchEvent(new PointerEvent(type,
    {pointerType: 'mouse', button: 0, bubbles: true, clientX: ends.left + part * ends.width, clientY: ends.top + ends.height / 2}));
  if (charts) {
    const before = ticks();
    point('pointerdown', 0.4);
    point('pointermove', 0.8);
    expect(document.querySelector('#tip:not([hidden]) table'), 'no values at the pointer');
    point('pointerup', 0.8);
    expect(ticks() !== before && document.querySelector('.plot[transform]'), 'a chosen range does not show');
    expect(!/NaN|Infinity/.test(document.getElementById('curves').innerHTML), 'a chosen range is drawn as no number');
    first.dispatchEvent(new MouseEvent('dblclick', {bubbles: true}));
    expect(ticks() === before && !document.querySelector('.plot[transform]'), 'all steps are not back');
  }
  document.body.dataset.faults = [...new Set(faults)].join('\n');
  document.body.dataset.charts = charts;
  document.body.dataset.dark = luminance(getComputedStyle(document.body).backgroundColor) < 0.1;
})();
