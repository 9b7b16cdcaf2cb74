// What the page adds to its charts: other smoothing, a range of steps, runs shown and hidden, a filter, and the values at a pointer.
//
// The data is report_data.c's; everything drawn at first is chart.c's, in a picture WIDTH wide. Of that, this repeats where a value is (`place`)
// and, for a range of steps that was chosen, round ticks and how they are written (chart_axis.c). The plots themselves are then stretched.
(function () {
  'use strict';
  const LEAST_SMOOTHED = 20, WIDTH = 400, X_TICKS = 6, Y_TICKS = 4, SVG = 'http://www.w3.org/2000/svg';
  const byId = id => document.getElementById(id);
  const charts = JSON.parse(byId('data').textContent).filter(chart => byId(chart.id));
  const hidden = new Set();
  let weight = Number(byId('smoothing').value);

  // ---- geometry
  // Where a value is, in ranges x and y of a chart: those that it was drawn with, or those in sight (chart.sight).
  function place(chart, x, y, {x: [x0, x1], y: [y0, y1]}) {
    const [left, top, width, height] = chart.frame;
    const up = chart.log ? Math.max(0, (Math.log(Math.max(y, 1e-300)) - Math.log(y0)) / (Math.log(y1) - Math.log(y0))) : (y - y0) / (y1 - y0);
    const py = top + height * (1 - up);
    return [left + width * (x - x0) / (x1 - x0), Math.min(Math.max(py, -10 * height), 10 * height)];
  }
  const last = (s, i) => s.last ? s.last[i] : s.x[i];
  const middle = (s, i) => (s.x[i] + last(s, i)) / 2;

  const isSmoothed = (chart, s) => !chart.stacked && !chart.exact && s.y.length >= LEAST_SMOOTHED && weight > 0;

  // An exponential moving average whose beginning is not drawn towards 0.
  function smoothed(s) {
    let sum = 0, total = 0;
    return s.y.map(y => {
      sum = weight * sum + (1 - weight) * y;
      total = weight * total + (1 - weight);
      return sum / total;
    });
  }

  function redraw() {
    for (const chart of charts) {
      for (const s of chart.series) {
        s.soft = isSmoothed(chart, s) ? smoothed(s) : s.y;
        const path = !chart.stacked && chart.svg.querySelector('g.r' + s.run + ' .line');
        const point = (y, i) => place(chart, middle(s, i), y, chart).map(v => v.toFixed(1)).join(' ');
        if (path) path.setAttribute('d', s.soft.map((y, i) => (i ? 'L' : 'M') + point(y, i)).join(''));
      }
    }
  }

  function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    parent.append(made);
    return made;
  }

  // ---- a range of steps
  function roundUp(size) { // to 1, 2 or 5 times a power of ten
    const power = 10 ** Math.floor(Math.log10(size));
    return [1, 2, 5, 10].map(factor => factor * power).find(step => step >= size * (1 - 1e-9));
  }

  function label(value, step, size) {
    const sign = value < 0 ? '\u2212' : '', v = Math.abs(value), places = s => Math.max(0, Math.ceil(-Math.log10(s) - 1e-9));
    if (v < step * 1e-6) return '0';
    if (size < 1e-3 || size >= 1e15) {
      const power = Math.floor(Math.log10(v) + 1e-9);
      return sign + (v / 10 ** power).toFixed(places(step / 10 ** power)) + 'e' + String(power).replace('-', '\u2212');
    }
    const [unit, text] = size < 1e4 ? [1, ''] : [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']].find(([u]) => size >= u);
    return sign + (v / unit).toFixed(places(step / unit)) + text;
  }

  function multiples(step, low, high) {
    const all = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) all.push(n * step);
    return all;
  }

  function drawTicks(chart) {
    const [left, top, width, height] = chart.frame, {x: [x0, x1], y: [y0, y1]} = chart.sight;
    const xs = chart.svg.querySelector('g.x'), ys = chart.svg.querySelector('g.y');
    const xStep = Math.max(1, roundUp((x1 - x0) / X_TICKS)), size = Math.max(Math.abs(y0), Math.abs(y1));
    xs.replaceChildren();
    for (const x of multiples(xStep, x0, x1))
      element('text', {x: place(chart, x, y0, chart.sight)[0], y: top + height + 16, 'text-anchor': 'middle'}, xs).textContent = label(x, xStep, x1);
    if (chart.log) return; // stays as it is
    const step = chart.sight.step;
    ys.replaceChildren();
    multiples(step, y0, y1).forEach((y, i) => {
      const py = place(chart, x0, y, chart.sight)[1];
      element('line', {class: y === 0 || i === 0 ? 'base' : 'grid', x1: left, y1: py, x2: left + width, y2: py}, ys);
      element('text', {x: left - 6, y: py + 4, 'text-anchor': 'end'}, ys).textContent = label(y, step, size);
    });
  }

  // The y axis for steps x0 to x1 of a chart, as chart_layout.c chooses it: its ends, and the step between its ticks.
  function yRange(chart, x0, x1) {
    let low = Infinity, high = -Infinity;
    const take = (a, b) => { low = Math.min(low, a); high = Math.max(high, b); };
    if (chart.stacked) chart.series[0].x.forEach((x, i) => {
      if (last(chart.series[0], i) >= x0 && x <= x1) take(0, chart.series.reduce((sum, s) => sum + s.y[i], 0));
    });
    else for (const s of shown(chart)) s.x.forEach((x, i) => {
      if (last(s, i) >= x0 && x <= x1) take(s.low ? s.low[i] : s.y[i], s.high ? s.high[i] : s.y[i]);
    });
    if (!(high > low)) [low, high] = chart.y;
    if (low > 0 && low < 0.4 * high) low = 0;
    let step = roundUp((high - low) / Y_TICKS);
    if (chart.whole) step = Math.max(1, step);
    return {y: [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step], step};
  }

  // Shows steps x0 to x1 of a chart; null: all of it, as it was drawn.
  function look(chart, range) {
    const plot = chart.svg.querySelector('.plot'), [left, top, width, height] = chart.frame;
    const x = range && [Math.max(range[0], chart.x[0]), Math.min(range[1], chart.x[1])];
    chart.sight = x && x[1] - x[0] >= 1 ? {x, ...(chart.log ? {y: chart.y} : yRange(chart, x[0], x[1]))} : {x: chart.x, y: chart.y};
    if (chart.sight.x === chart.x) {
      plot.removeAttribute('transform');
      chart.svg.querySelector('g.x').replaceWith(chart.xs.cloneNode(true));
      chart.svg.querySelector('g.y').replaceWith(chart.ys.cloneNode(true));
      return;
    }
    const span = ([low, high]) => high - low;
    const sx = span(chart.x) / span(chart.sight.x), sy = chart.log ? 1 : span(chart.y) / span(chart.sight.y);
    const [px, py] = place(chart, chart.sight.x[0], chart.sight.y[0], chart); // of the drawn picture: what comes to the lower left corner
    plot.setAttribute('transform', `translate(${left - px * sx} ${top + height - py * sy}) scale(${sx} ${sy})`);
    drawTicks(chart);
  }

  function choose(range) {
    for (const chart of charts) look(chart, range);
    byId('all').hidden = !range;
    leave();
  }

  // ---- the pointer
  const tip = document.createElement('div');
  tip.id = 'tip';
  tip.hidden = true;
  document.body.append(tip);

  function nearest(s, step) { // the point whose steps are next to this one
    let low = 0, high = s.x.length - 1;
    while (low < high) {
      const mid = (low + high + 1) >> 1;
      if (s.x[mid] <= step) low = mid; else high = mid - 1;
    }
    return low + 1 < s.x.length && s.x[low + 1] - step < step - last(s, low) ? low + 1 : low;
  }

  const number = v => Number.isInteger(v) && Math.abs(v) < 1e9 ? String(v) : String(Number(v.toPrecision(5)));
  const shown = chart => chart.series.filter(s => s.x.length && (chart.stacked || !hidden.has(s.run)));

  function cell(row, text, className) {
    const td = row.insertCell();
    td.textContent = text;
    if (className) td.className = className;
    return td;
  }

  function putRow(table, chart, s, step, isAlone) {
    const i = nearest(s, step), row = table.insertRow(), swatch = document.createElement('span');
    swatch.className = 'swatch b' + s.color;
    cell(row, '').append(swatch, s.name);
    cell(row, number(s.y[i]), 'num');
    if (chart.stacked) return;
    const soft = isSmoothed(chart, s) ? '~ ' + number(s.soft[i]) : '';
    cell(row, soft + (s.low ? ' [' + number(s.low[i]) + ', ' + number(s.high[i]) + ']' : ''), 'soft');
    if (!isAlone && s.x[i] !== step) cell(row, 'step ' + s.x[i], 'soft');
  }

  function tell(chart, step, event) {
    const series = shown(chart), table = document.createElement('table'), head = document.createElement('strong');
    if (!series.length) return;
    const isAlone = series.length === 1 || chart.stacked, at = nearest(series[0], step);
    const first = isAlone ? series[0].x[at] : step, end = isAlone ? last(series[0], at) : step;
    head.textContent = 'step ' + (end > first ? first + '\u2013' + end : first);
    for (const s of chart.stacked ? series.slice().reverse() : series) putRow(table, chart, s, step, isAlone);
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

  function mark(chart, step, isHere) { // the line at a step, and where it crosses the curves
    const [, top, , height] = chart.frame, [x0, x1] = chart.sight.x;
    chart.marks.forEach(m => m.remove());
    chart.marks = [];
    if (step < x0 || step > x1 || !chart.svg.getClientRects().length) return;
    const px = place(chart, step, chart.sight.y[1], chart.sight)[0];
    chart.marks.push(element('line', {class: 'cross', x1: px, x2: px, y1: top, y2: top + height}, chart.svg));
    if (!isHere || chart.stacked) return;
    for (const s of shown(chart)) {
      const i = nearest(s, step), [cx, cy] = place(chart, middle(s, i), s.soft[i], chart.sight);
      if (middle(s, i) >= x0 && middle(s, i) <= x1 && cy >= top - 3 && cy <= top + height + 3)
        chart.marks.push(element('circle', {class: 'spot f' + s.color, cx, cy, r: 3.5}, chart.svg));
    }
  }

  function leave() {
    tip.hidden = true;
    for (const chart of charts) {
      chart.marks.forEach(m => m.remove());
      chart.marks = [];
    }
  }

  function stepAt(chart, event, isHeld) { // null: beside the plot
    const box = chart.svg.getBoundingClientRect(), [left, , width] = chart.frame, [x0, x1] = chart.sight.x;
    const u = ((event.clientX - box.left) * WIDTH / box.width - left) / width;
    return !isHeld && (u < -0.02 || u > 1.02) ? null : Math.round(x0 + Math.min(Math.max(u, 0), 1) * (x1 - x0));
  }

  let drag = null; // {chart, from, to, box}: a range in the making

  function move(chart, event) {
    const step = stepAt(chart, event, drag);
    if (step === null) return leave();
    if (drag && drag.chart === chart) {
      const [, top, , height] = chart.frame;
      drag.to = step;
      const ends = [drag.from, drag.to].sort((a, b) => a - b).map(x => place(chart, x, chart.sight.y[0], chart.sight)[0]);
      drag.box.setAttribute('x', ends[0]);
      drag.box.setAttribute('width', ends[1] - ends[0]);
      drag.box.setAttribute('y', top);
      drag.box.setAttribute('height', height);
    }
    for (const other of charts) mark(other, step, other === chart);
    tell(chart, step, event);
  }

  function press(chart, event) {
    const step = stepAt(chart, event);
    if (step !== null && event.pointerType === 'mouse' && event.button === 0) {
      drag = {chart, from: step, to: step, box: element('rect', {class: 'choice'}, chart.svg)};
      try { chart.svg.setPointerCapture(event.pointerId); } catch (error) { /* the pointer is gone already */ }
    }
    move(chart, event);
  }

  function release() {
    if (!drag) return;
    const {from, to, box} = drag;
    box.remove();
    drag = null;
    if (Math.abs(to - from) >= 1) choose([Math.min(from, to), Math.max(from, to)]);
  }

  // ---- controls
  byId('smoothing').addEventListener('input', event => {
    weight = Number(event.target.value);
    byId('weight').textContent = weight.toFixed(2);
    redraw();
  });
  byId('all').addEventListener('click', () => choose(null));
  for (const box of document.querySelectorAll('input[data-run]')) box.addEventListener('change', () => {
    const run = Number(box.dataset.run);
    if (box.checked) hidden.delete(run); else hidden.add(run);
    for (const row of document.querySelectorAll('tr.r' + run)) row.style.opacity = box.checked ? '' : '.45';
    for (const part of document.querySelectorAll('svg .r' + run + ', section.r' + run)) part.style.display = box.checked ? '' : 'none';
  });
  byId('filter').addEventListener('input', event => {
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
    chart.svg = byId(chart.id);
    chart.marks = [];
    chart.sight = {x: chart.x, y: chart.y};
    chart.xs = chart.svg.querySelector('g.x').cloneNode(true);
    chart.ys = chart.svg.querySelector('g.y').cloneNode(true);
    chart.svg.addEventListener('pointermove', event => move(chart, event));
    chart.svg.addEventListener('pointerdown', event => press(chart, event));
    chart.svg.addEventListener('pointerup', release);
    chart.svg.addEventListener('pointercancel', release);
    chart.svg.addEventListener('pointerleave', () => drag || leave());
    chart.svg.addEventListener('dblclick', () => choose(null));
  }
  redraw();
})();
