#!/usr/bin/env python3
"""The end of an experiment: results as one JSON file, compared with what is expected, told, and, with --record, put into the READMEs.

finish.py NAME FORM MEASURED.jsonl FOLDER: writes FOLDER/FORM.json. Exit code 0: every check passed; 1: one failed; 77: not run.
"""
import argparse
import datetime
import json
import pathlib
import shutil
import sys

import judge
import machine
import pictures
import tables

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SKIPPED = 77


def read_measured(path):
    """Values, rows by table, and what is to be said of machine, versions and date where they are not those of this moment."""
    values, rows, about = {}, {}, {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if "value" in entry:
            values[entry["value"]] = entry["is"]
        elif "about" in entry:
            about.update(entry["has"])
        else:
            rows.setdefault(entry["row"], []).append(entry["has"])
    return values, rows, about


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("form")
    parser.add_argument("measured", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--zerokl")
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--skipped", metavar="REASON")
    parser.add_argument("--get", metavar="WAY", default="")
    parser.add_argument("--record", action="store_true", help="into the experiment's results/ and the READMEs")
    args = parser.parse_args()
    expected = judge.load_expected(ROOT / "experiments" / args.name)[args.form]
    result = {"experiment": args.name, "form": args.form, "command": f"experiments/{args.name}/run.sh --{args.form}",
              "date": datetime.date.today().isoformat(), "seconds": args.seconds, "machine": machine.hardware(args.form), "versions": machine.versions(args.zerokl)}
    if args.skipped:
        result.update(skipped=args.skipped, get=args.get)
    else:
        result["values"], result["rows"], about = read_measured(args.measured)
        result.update(about)
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / f"{args.form}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if args.skipped:
        print(f"{args.name} --{args.form}: NOT RUN: {args.skipped}; {args.get}")
        return SKIPPED
    made = pictures.draw(expected, result, args.folder)
    verdicts = judge.compare(expected, result["values"])
    print("\n".join(tables.result_lines(expected, result)))
    failed = [verdict for verdict in verdicts if not verdict.passed]
    for verdict in failed:
        print(f"error: {args.name} --{args.form}: {verdict}", file=sys.stderr)
    print(f"{args.name} --{args.form}: {len(verdicts) - len(failed)} of {len(verdicts)} checks passed in {args.seconds} s: {path}")
    if args.record and not failed:
        kept = ROOT / "experiments" / args.name / "results"
        kept.mkdir(exist_ok=True)
        for file in [path, *made]:
            shutil.copyfile(file, kept / file.name)
        tables.rewrite(ROOT)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
