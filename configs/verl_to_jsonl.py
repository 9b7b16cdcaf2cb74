#!/usr/bin/env python3
"""Turns verl's data sets (Parquet) into the JSON Lines that `task.name: jsonl` reads. For set-up: training needs no Python.

  python3 configs/verl_to_jsonl.py train.parquet -o train.jsonl
  python3 configs/verl_to_jsonl.py part-*.parquet -o train.jsonl --demonstration extra_info.answer     # for `zerokl sft` too

A row becomes {"prompt": messages, "reward_model": {"ground_truth"}, "data_source", "extra_info"}, "demonstration" where one is named; what a row
does not have is left out, and so are the empty fields that Parquet gives every row when one row has them. Other columns are left out. A row that
no training could use is refused with its file and number. The output is written aside and renamed. Needs pyarrow (`pip install pyarrow`).
"""
import argparse
import datetime
import decimal
import json
import math
import os
import sys

try:
    import pyarrow.parquet
except ImportError:
    sys.exit("error: this needs the Python package pyarrow: pip install pyarrow")

ROLES = ("system", "user", "assistant")


class BadRow(Exception):
    pass


def at(row, path):
    """The value at "extra_info.answer" in nested fields; None where there is none."""
    for name in path.split("."):
        if not isinstance(row, dict):
            return None
        row = row.get(name)
    return row


def plain(value, where):
    """The value as JSON has it: empty fields dropped, numbers that are none as null, dates and decimals as texts."""
    if isinstance(value, dict):
        return {k: plain(v, f"{where}.{k}") for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal)):
        return str(value)
    if value is None or isinstance(value, (str, int, bool)):
        return value
    raise BadRow(f"{where} is {type(value).__name__}, and only text, numbers and what is made of them can be kept")


def messages(prompt):
    if isinstance(prompt, str) and prompt:
        return prompt
    if not isinstance(prompt, list) or not prompt:
        raise BadRow("its prompt is neither a text nor a list of messages")
    for i, message in enumerate(prompt):
        if not isinstance(message, dict) or message.get("role") not in ROLES or not isinstance(message.get("content"), str):
            raise BadRow(f'prompt[{i}] has no "role" of {", ".join(ROLES)} or no "content" that is a text')
    if prompt[-1]["role"] != "user":
        raise BadRow("its prompt does not end with the user's message")
    return [{"role": m["role"], "content": m["content"]} for m in prompt]


def label(value):
    """A text or integer; a structure stays one, for tasks that know it. Another number becomes the text of it."""
    if isinstance(value, (bool, float)):
        return json.dumps(value)
    return plain(value, "its label")


def line(row, options):
    truth = at(row, options.label)
    if truth is None:
        raise BadRow(f"it has no {options.label}: --label names another column")
    out = {"prompt": messages(at(row, options.prompt)), "reward_model": {"ground_truth": label(truth)}}
    if options.demonstration:
        out["demonstration"] = at(row, options.demonstration)
        if not isinstance(out["demonstration"], str):
            raise BadRow(f"its {options.demonstration} is no text")
    for name in ("data_source", "extra_info"):
        if row.get(name) is not None:
            out[name] = plain(row[name], name)
    return json.dumps(out, ensure_ascii=False, allow_nan=False)


def convert(path, options, out):
    num = 0
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                if options.limit is not None and options.num_lines >= options.limit:
                    return
                try:
                    text = line(row, options)
                    out.write(text.encode() + b"\n")
                except (BadRow, UnicodeEncodeError) as error:
                    sys.exit(f"error: {path}: row {num}: {error}")
                num += 1
                options.num_lines += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n", 2)[2], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parquet", nargs="+", help="verl's files, in order")
    parser.add_argument("-o", "--output", required=True, help="the JSON Lines file")
    parser.add_argument("--prompt", default="prompt", metavar="COLUMN", help="text or messages (default: prompt)")
    parser.add_argument("--label", default="reward_model.ground_truth", metavar="COLUMN", help="what is right (default: reward_model.ground_truth)")
    parser.add_argument("--demonstration", metavar="COLUMN", help="a right answer in full, for `zerokl sft` (default: none)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N rows")
    options = parser.parse_args()
    options.num_lines = 0
    aside = options.output + ".tmp"
    try:
        with open(aside, "wb") as out:
            for path in options.parquet:
                convert(path, options, out)
        if not options.num_lines:
            sys.exit("error: no rows in " + " ".join(options.parquet))
        os.replace(aside, options.output)
    except (OSError, pyarrow.ArrowException) as error:
        sys.exit(f"error: {error}")
    finally:
        if os.path.exists(aside):
            os.remove(aside)
    print(f"{options.output}: {options.num_lines} lines", file=sys.stderr)


if __name__ == "__main__":
    main()
