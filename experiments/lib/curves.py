#!/usr/bin/env python3
"""Curves for pictures: rows of a results file's table, from the metrics of one run or of several seeds' for each curve.

curves.py MEASURED.jsonl TABLE STEPS COLUMN=KEY[,COLUMN=KEY...] NAME=RUN[,RUN...]...

A row for each NAME and each STEPS steps that follow one another: "name", "step" (in their middle), and for each COLUMN the mean of KEY over these steps and all
runs, and "COLUMN low" and "COLUMN high", the least and the greatest of the runs' own means.
"""
import json
import pathlib
import sys


def metrics(run):
    """The lines of a run: before step 1, and of each step."""
    return [json.loads(line) for line in (pathlib.Path(run) / "metrics.jsonl").read_text().splitlines()]


def mean(values):
    return sum(values) / len(values)


def spread(values, digits=3):
    """For a table: of one run its value, of several the least and the greatest."""
    low, high = (f"{value:.{digits}g}" for value in (min(values), max(values)))
    return float(low) if low == high else f"{low} to {high}"


def rows(name, runs, num, columns):
    steps = [metrics(run)[1:] for run in runs]
    out = []
    for first in range(0, max(1, min(len(lines) for lines in steps) - num + 1), num):  # fewer steps at the end have no point of their own
        row = {"name": name, "step": mean([line["step"] for line in steps[0][first:first + num]])}
        for column, key in columns.items():
            means = [mean([line[key] for line in lines[first:first + num]]) for lines in steps]
            row.update({column: mean(means), f"{column} low": min(means), f"{column} high": max(means)})
        out.append(row)
    return out


def write(path, entries):
    """Adds to the file of what was measured: ("value", NAME, VALUE) and ("row", TABLE, {COLUMN: VALUE})."""
    with open(path, "a") as out:
        for kind, name, what in entries:
            out.write(json.dumps({kind: name, "is" if kind == "value" else "has": what}) + "\n")


def pairs(words):
    return dict(word.split("=", 1) for word in words)


def main():
    path, table, num, columns = sys.argv[1:5]
    for name, runs in pairs(sys.argv[5:]).items():
        write(path, [("row", table, row) for row in rows(name, runs.split(","), int(num), pairs(columns.split(",")))])


if __name__ == "__main__":
    main()
