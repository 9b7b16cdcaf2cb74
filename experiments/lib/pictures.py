"""Pictures of results as SVG, one for each entry of a form's "pictures" in expected.json, drawn from a table of rows:

{"file": NAME, "title": TEXT, "kind": "bars", "rows": TABLE, "label": COLUMN, "value": COLUMN, "series": COLUMN}
{"file": NAME, "title": TEXT, "kind": "lines", "rows": TABLE, "x": COLUMN, "y": COLUMN, "series": COLUMN, "low": COLUMN, "high": COLUMN}
{"file": NAME, "title": TEXT, "kind": "dots", "rows": TABLE, "label": COLUMN, "value": COLUMN}

rows: the table's name (default rows); series (may be left out): a colour each, with a legend; low, high (may be left out): a band around a line;
"log": true, a logarithmic axis of values; a label may have two lines, parted by \\n; "x_label", "y_label", "subtitle": texts; "only": {COLUMN: VALUE}, of rows with that value alone.
"""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 380, 74, 22, 82, 56
COLORS = ["#0069b4", "#d1520a", "#00866b", "#b03f8f", "#8f7000", "#3a97cf", "#6a4cc0", "#6b747d", "#7d4a26", "#252b31"]  # of zerokl report
STYLE = ("text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,Ubuntu,'DejaVu Sans',sans-serif;fill:#57606a}"
         ".t{font-size:17px;font-weight:600;fill:#1b2027}.v{fill:#1b2027}.g{stroke:#e6eaee}.a{stroke:#b4bcc4}.l{fill:none;stroke-width:2.2;stroke-linejoin:round}")


def number(value):
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value):,}"
    return f"{value:.3g}"


def ticks(low, high):
    """About five round numbers from low to high."""
    span = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(span / 4))
    step = next(step * k for k in (1, 2, 2.5, 5, 10) if span / (step * k) <= 5.5)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


class Axis:
    """Values onto pixels; logarithmic where asked and possible: zeros are then a step below the least other value, at a tick that says 0."""

    def __init__(self, values, begin, end, log=False, zero=False):
        self.begin, self.end = begin, end
        positive = [v for v in values if v > 0]
        self.log = log and bool(positive)
        low, high = (min(positive), max(positive)) if self.log else (min(values), max(values))
        if self.log:
            low, high = 10 ** math.floor(math.log10(low) - (0.01 if zero else 0)), 10 ** math.ceil(math.log10(high) + 0.02)
            first, last = round(math.log10(low)), round(math.log10(high))
            step = -(-(last - first + 1) // 7)
            if len(positive) < len(values):
                low = 10.0 ** (first - step)
            self.ticks = [10.0 ** k for k in range(round(math.log10(low)), last + 1, step)]
            self.labels = ["0" if i == 0 and len(positive) < len(values) else number(tick) if tick > 0.01 else f"{tick:.0e}" for i, tick in enumerate(self.ticks)]
        else:
            low = min(0.0, low) if zero else low
            high = high if high > low else low + 1.0
            if zero or high > 0:
                high += 0.06 * (high - low)
            self.ticks = ticks(low, high)
            self.labels = [number(tick) for tick in self.ticks]
        self.low, self.high = (math.log10(low), math.log10(high)) if self.log else (low, high)

    def at(self, value):
        value = math.log10(max(value, 10 ** self.low)) if self.log else value
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def heading(about):
    return [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"><style>{STYLE}</style>',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/><text class="t" x="16" y="27">{escape(about["title"])}</text>',
            f'<text x="16" y="47">{escape(about.get("subtitle", ""))}</text>']


def frame(about, y):
    out = heading(about)
    for tick, label in zip(y.ticks, y.labels):
        at = y.at(tick)
        out.append(f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
                   f'<text x="{LEFT - 8}" y="{at + 4.5:.1f}" text-anchor="end">{label}</text>')
    out.append(f'<line class="a" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>')
    if "y_label" in about:
        middle = (TOP + HEIGHT - BOTTOM) / 2
        out.append(f'<text x="18" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 18 {middle:.0f})">{escape(about["y_label"])}</text>')
    if "x_label" in about:
        out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(about["x_label"])}</text>')
    return out


def legend(names):
    if names == [""]:
        return []
    out, x, y = [], LEFT, 59
    for i, name in enumerate(names):
        width = 34 + 7.4 * len(name)
        if x + width > WIDTH:
            x, y = LEFT, y + 17
        out.append(f'<rect x="{x:.0f}" y="{y}" width="12" height="12" rx="2" fill="{COLORS[i % len(COLORS)]}"/><text class="v" x="{x + 17:.0f}" y="{y + 11}">{escape(name)}</text>')
        x += width
    return out


def bars(about, rows, names):
    labels = list(dict.fromkeys(str(row[about["label"]]) for row in rows))
    y = Axis([row[about["value"]] for row in rows], HEIGHT - BOTTOM, TOP, about.get("log", False), zero=True)
    out, slot = frame(about, y) + legend(names), (WIDTH - LEFT - RIGHT) / len(labels)
    alone = len(labels) == len(rows)  # one bar a label stands above it, whichever series it is of
    width = min(56.0, 0.8 * slot / (1 if alone else len(names)))
    for row in rows:
        series = names.index(str(row.get(about.get("series"), "")))
        middle = LEFT + slot * (labels.index(str(row[about["label"]])) + 0.5)
        x, top = middle - width / 2 if alone else middle + (series - len(names) / 2) * width, y.at(row[about["value"]])
        out.append(f'<rect x="{x + 1:.1f}" y="{top:.1f}" width="{width - 2:.1f}" height="{max(0.0, HEIGHT - BOTTOM - top):.1f}" fill="{COLORS[series % len(COLORS)]}"/>')
        if width > 22:
            out.append(f'<text class="v" x="{x + width / 2:.1f}" y="{top - 5:.1f}" text-anchor="middle">{number(row[about["value"]])}</text>')
    for i, label in enumerate(labels):
        for line, part in enumerate(label.split("\n")):
            out.append(f'<text x="{LEFT + slot * (i + 0.5):.1f}" y="{HEIGHT - BOTTOM + 20 + 15 * line}" text-anchor="middle">{escape(part)}</text>')
    return out


def lines(about, rows, names):
    x_of, y_of = about["x"], about["y"]
    low, high = about.get("low", y_of), about.get("high", y_of)
    x = Axis([row[x_of] for row in rows], LEFT, WIDTH - RIGHT)
    y = Axis([row[k] for row in rows for k in {low, high, y_of}], HEIGHT - BOTTOM, TOP, about.get("log", False))
    out = frame(about, y) + legend(names)
    for tick, label in zip(x.ticks, x.labels):
        out.append(f'<text x="{x.at(tick):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{label}</text>')
    for series, name in enumerate(names):
        color = COLORS[series % len(COLORS)]
        own = sorted((row for row in rows if str(row.get(about.get("series"), "")) == name), key=lambda row: row[x_of])
        points = lambda key, some: " ".join(f"{x.at(row[x_of]):.1f},{y.at(row[key]):.1f}" for row in some)
        if low != high:
            out.append(f'<polygon points="{points(high, own)} {points(low, own[::-1])}" fill="{color}" fill-opacity="0.18"/>')
        out.append(f'<polyline class="l" points="{points(y_of, own)}" stroke="{color}"/>')
    return out


def dots(about, rows, _):
    """A line for each label, with a mark for each of its rows."""
    labels = list(dict.fromkeys(str(row[about["label"]]) for row in rows))
    left, top, slot = 34 + 7.4 * max(map(len, labels)), 64, (HEIGHT - BOTTOM - 64) / len(labels)
    x = Axis([row[about["value"]] for row in rows], left, WIDTH - RIGHT, about.get("log", False), zero=True)
    out = heading(about)
    for tick, label in zip(x.ticks, x.labels):
        out.append(f'<line class="g" x1="{x.at(tick):.1f}" x2="{x.at(tick):.1f}" y1="{top}" y2="{HEIGHT - BOTTOM}"/>'
                   f'<text x="{x.at(tick):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{label}</text>')
    out.append(f'<text x="{(left + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(about.get("x_label", ""))}</text>')
    for i, label in enumerate(labels):
        at, own = top + slot * (i + 0.5), [x.at(row[about["value"]]) for row in rows if str(row[about["label"]]) == label]
        out.append(f'<text class="v" x="{left - 10:.0f}" y="{at + 4.5:.1f}" text-anchor="end">{escape(label)}</text>'
                   f'<line x1="{min(own):.1f}" x2="{max(own):.1f}" y1="{at:.1f}" y2="{at:.1f}" stroke="{COLORS[0]}" stroke-width="2.2"/>')
        out += [f'<circle cx="{one:.1f}" cy="{at:.1f}" r="4.5" fill="{COLORS[0]}" fill-opacity="0.75"/>' for one in own]
    return out


def drawn(expected, result):
    """(file name, text) of each picture whose rows are there."""
    for about in expected.get("pictures", []):
        only = about.get("only", {})
        rows = [row for row in result["rows"].get(about.get("rows", "rows"), []) if all(row.get(k) == v for k, v in only.items())]
        if not rows:
            continue
        names = list(dict.fromkeys(str(row.get(about.get("series"), "")) for row in rows))
        yield f"{about['file']}.svg", "\n".join({"bars": bars, "lines": lines, "dots": dots}[about["kind"]](about, rows, names)) + "\n</svg>\n"


def draw(expected, result, folder):
    """Writes them into the folder; returns their paths."""
    made = []
    for name, text in drawn(expected, result):
        (folder / name).write_text(text)
        made.append(folder / name)
    return made
