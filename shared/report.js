// What the page adds to its charts: other smoothing, runs shown and hidden, a filter, and the values at a pointer.
// The data is report_data.c's; axes and everything drawn at first are chart.c's, whose mapping `place` repeats, in a picture WIDTH wide.
(function () {
  'use strict';
  const LEAST_SMOOTHED = 20, WIDTH = 400, SVG = 'http://www.w3.org/2000/svg';
  const charts = JSON.parse(document.getElementById('data').textContent);
  const hidden = new Set();
  let weight = Number(document.getElementById('smoothing').value);

  // ---- geometry
  function place(chart, x, y) {
    const [left, top, width, height] = chart.frame, [x0, x1] = chart.x, [y0, y1] = chart.y;
    const up = chart.log ? Math.max(0, (Math.log(Math.max(y, 1e-300)) - Math.log(y0)) / (Math.log(y1) - Math.log(y0))) : (y - y0) / (y1 - y0);
    const py = top + height * (1 - up);
    return [left + width * (x - x0) / (x1 - x0), Math.min(Math.max(py, -10 * height), 10 * height)];
  }
  const middle = (s, i) => s.last ? (s.x[i] + s.last[i]) / 2 : s.x[i];

  // An exponential moving average whose beginning is not drawn towards 0.
  function smoothed(s) {
    const w = s.y.length < LEAST_SMOOTHED ? 0 : weight;
    let sum = 0, total = 0;
    return s.y.map(y => {
      sum = w * sum + (1 - w) * y;
      total = w * total + (1 - w);
      return sum / total;
    });
  }

  function redraw() {
    for (const chart of charts) {
      if (chart.stacked) continue;
      for (const s of chart.series) {
        s.soft = smoothed(s);
        const path = chart.svg.querySelector('g.r' + s.run + ' .line');
        if (path) path.setAttribute('d', s.soft.map((y, i) => (i ? 'L' : 'M') + place(chart, middle(s, i), y).map(v => v.toFixed(1)).join(' ')).join(''));
      }
    }
  }

  // ---- the pointer
  const tip = document.createElement('div');
  tip.id = 'tip';
  tip.hidden = true;
  document.body.append(tip);

  function add(chart, name, attributes) {
    const element = document.createElementNS(SVG, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    chart.svg.append(element);
    return element;
  }

  function nearest(s, step) { // the point whose steps are next to this one
    let low = 0, high = s.x.length - 1;
    while (low < high) {
      const mid = (low + high + 1) >> 1;
      if (s.x[mid] <= step) low = mid; else high = mid - 1;
    }
    const end = i => s.last ? s.last[i] : s.x[i];
    return low + 1 < s.x.length && s.x[low + 1] - step < step - end(low) ? low + 1 : low;
  }

  const number = v => Number.isInteger(v) && Math.abs(v) < 1e9 ? String(v) : String(Number(v.toPrecision(5)));
  const shown = chart => chart.series.filter(s => chart.stacked || !hidden.has(s.run));

  function cell(row, text, className) {
    const td = row.insertCell();
    td.textContent = text;
    if (className) td.className = className;
    return td;
  }

  function tell(chart, step, event) {
    const series = shown(chart).filter(s => s.x.length), table = document.createElement('table');
    if (!series.length) return;
    const at = nearest(series[0], step), s0 = series[0];
    const head = document.createElement('strong');
    const here = series.length === 1 || chart.stacked ? s0.x[at] : step, last = s0.last && (series.length === 1 || chart.stacked) ? s0.last[at] : here;
    head.textContent = 'step ' + (last > here ? here + '\u2013' + last : here);
    for (const s of chart.stacked ? series.slice().reverse() : series) {
      const i = nearest(s, step), row = table.insertRow(), name = cell(row, '');
      const swatch = document.createElement('span');
      swatch.className = 'swatch b' + s.color;
      name.append(swatch, s.name);
      cell(row, number(s.y[i]), 'num');
      if (!chart.stacked) cell(row, (s.y.length >= LEAST_SMOOTHED && weight > 0 ? '~ ' + number(s.soft[i]) : '') + (s.low ? ' [' + number(s.low[i]) + ', ' + number(s.high[i]) + ']' : ''), 'soft');
      if (!chart.stacked && s.x[i] !== here && series.length > 1) cell(row, 'step ' + s.x[i], 'soft');
    }
    if (chart.stacked) {
      const row = table.insertRow();
      cell(row, 'together');
      cell(row, number(series.reduce((sum, s) => sum + s.y[at], 0)), 'num');
    }
    tip.replaceChildren(head, table);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, event.clientX + 16 + box.width > innerWidth ? event.clientX - box.width - 16 : event.clientX + 16) + 'px';
    tip.style.top = Math.max(4, Math.min(event.clientY + 12, innerHeight - box.height - 8)) + 'px';
  }

  function mark(chart, step, is_here) { // the line at a step, and where it crosses the curves
    const [left, top, width, height] = chart.frame;
    chart.marks.forEach(m => m.remove());
    chart.marks = [];
    if (step < chart.x[0] || step > chart.x[1] || !chart.svg.getClientRects().length) return;
    const px = place(chart, step, chart.y[1])[0];
    chart.marks.push(add(chart, 'line', {class: 'cross', x1: px, x2: px, y1: top, y2: top + height}));
    if (!is_here || chart.stacked) return;
    for (const s of shown(chart)) {
      if (!s.x.length) continue;
      const i = nearest(s, step), [cx, cy] = place(chart, middle(s, i), s.soft[i]);
      if (cy >= top - 3 && cy <= top + height + 3) chart.marks.push(add(chart, 'circle', {class: 'spot f' + s.color, cx, cy, r: 3.5}));
    }
  }

  function leave() {
    tip.hidden = true;
    for (const chart of charts) {
      chart.marks.forEach(m => m.remove());
      chart.marks = [];
    }
  }

  function move(chart, event) {
    const box = chart.svg.getBoundingClientRect(), [left, , width] = chart.frame;
    const u = ((event.clientX - box.left) * WIDTH / box.width - left) / width;
    if (u < -0.02 || u > 1.02) return leave();
    const step = Math.round(chart.x[0] + Math.min(Math.max(u, 0), 1) * (chart.x[1] - chart.x[0]));
    for (const other of charts) mark(other, step, other === chart);
    tell(chart, step, event);
  }

  // ---- controls
  document.getElementById('smoothing').addEventListener('input', event => {
    weight = Number(event.target.value);
    document.getElementById('weight').textContent = weight.toFixed(2);
    redraw();
  });
  for (const box of document.querySelectorAll('input[data-run]')) box.addEventListener('change', () => {
    const run = Number(box.dataset.run);
    if (box.checked) hidden.delete(run); else hidden.add(run);
    for (const element of document.querySelectorAll('.r' + run)) element.style.opacity = box.checked || element.tagName !== 'TR' ? '' : '.45';
    for (const element of document.querySelectorAll('svg .r' + run + ', section.r' + run)) element.style.display = box.checked ? '' : 'none';
  });
  document.getElementById('filter').addEventListener('input', event => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(w => w);
    for (const figure of document.querySelectorAll('figure'))
      figure.hidden = !words.every(w => figure.dataset.key.toLowerCase().includes(w));
    for (const group of document.querySelectorAll('.more')) {
      const found = group.querySelector('figure:not([hidden])');
      group.hidden = !found;
      if (words.length) group.open = Boolean(found);
    }
    for (const section of document.querySelectorAll('#curves, #time, #more'))
      section.hidden = words.length > 0 && !section.querySelector('figure:not([hidden])');
  });

  for (const chart of charts) {
    chart.svg = document.getElementById(chart.id);
    chart.marks = [];
  }
  charts.splice(0, charts.length, ...charts.filter(chart => chart.svg));
  redraw();
  for (const chart of charts) {
    chart.svg.addEventListener('pointermove', event => move(chart, event));
    chart.svg.addEventListener('pointerdown', event => move(chart, event));
    chart.svg.addEventListener('pointerleave', leave);
  }
})();
