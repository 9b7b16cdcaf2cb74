#!/usr/bin/env python3
"""The tables of the READMEs and the pictures, made of results files and of nothing else: between <!-- results FORM --> and <!-- end --> in an experiment's README,
between <!-- claims --> and <!-- end --> in the top one; results/*.svg.

tables.py          makes all of them anew
tables.py --check  exits with 1 if one of them is not what its results file says
"""
import pathlib
import re
import sys

import json

import judge
import machine
import pictures

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def text(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|")


def markdown(rows):
    """Rows with the same keys, as a table."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(text(row.get(column, "")) for column in columns) + " |" for row in rows]


def verdict(expected, result):
    if not result:
        return "not run"
    if "skipped" in result:
        return f"not run: {result['skipped']}; {result['get']}"
    return "passed" if all(v.passed for v in judge.compare(expected, result["values"])) else "FAILED"


def measured(expected, result):
    """expected.json's sentence with the values in its braces."""
    if not result or "skipped" in result:
        return verdict(expected, result)
    said = re.sub(r"\{([^{}]+)\}", lambda m: text(result["values"].get(m.group(1), "?")), expected["measured"])
    return said if verdict(expected, result) == "passed" else f"FAILED: {said}"


def result_lines(expected, result):
    if not result or "skipped" in result:
        return [verdict(expected, result)]
    lines = [f"`{result['command']}` on {machine.describe(result)}.", ""]
    for name, rows in result["rows"].items():
        if name not in expected.get("hidden", []):
            lines += ([f"{name}:", ""] if name != "rows" else []) + markdown(rows) + [""]
    checks = judge.compare(expected, result["values"])
    return lines + markdown([{"check": v.value, "expected": v.expected, "measured": v.measured, "": "passed" if v.passed else "FAILED"} for v in checks])


def drawn(expected, result):
    return pictures.drawn(expected, result) if result and "skipped" not in result else []


def load(folder, form):
    path = folder / "results" / f"{form}.json"
    return json.loads(path.read_text()) if path.exists() else None


def between(page, marker, lines):
    """The page with these lines between its marker and the next <!-- end -->."""
    pattern = re.compile(rf"(<!-- {re.escape(marker)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"<!-- {marker} --> ... <!-- end --> is not there once")
    return pattern.sub(lambda m: m.group(1) + "\n".join(lines) + "\n" + m.group(2), page)


def listed():
    """(folder, form) of all.txt, in its order."""
    rows = [line.split() for line in (ROOT / "experiments/lib/all.txt").read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [(row[0], row[1]) for row in rows]


def claims():
    rows = []
    for name, form in listed():
        folder = ROOT / "experiments" / name
        expected = judge.load_expected(folder)
        result, about = load(folder, form), expected[form]
        picture = next((f"experiments/{name}/results/{file}" for file, _ in drawn(about, result)), "")
        rows.append({"claim": about.get("claim", expected["claim"]), "command": f"`experiments/{name}/run.sh --{form}`", "expected": about["expected"],
                     "measured": measured(about, result), "picture": f"[{name}]({picture})" if picture else ""})
    return markdown(rows)


def pages():
    """(path, its text made anew) of every README that has a table, and of every picture."""
    for name in dict.fromkeys(name for name, _ in listed()):
        folder = ROOT / "experiments" / name
        page = (folder / "README.md").read_text()
        expected = judge.load_expected(folder)
        for form in re.findall(r"<!-- results (\w+) -->", page):
            result = load(folder, form)
            page = between(page, f"results {form}", result_lines(expected[form], result))
            yield from ((folder / "results" / file, text) for file, text in drawn(expected[form], result))
        yield folder / "README.md", page
    yield ROOT / "README.md", between((ROOT / "README.md").read_text(), "claims", claims())


def rewrite(root=ROOT):
    for path, page in list(pages()):
        path.write_text(page)


def main():
    if sys.argv[1:] == ["--check"]:
        stale = [path for path, page in pages() if not path.exists() or path.read_text() != page]
        for path in stale:
            print(f"{path.relative_to(ROOT)}: it is not what the results files say; run experiments/lib/tables.py", file=sys.stderr)
        return 1 if stale else 0
    rewrite()
    return 0


if __name__ == "__main__":
    sys.exit(main())
