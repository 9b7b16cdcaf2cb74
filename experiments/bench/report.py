#!/usr/bin/env python3
"""Joins `zerokl bench --device cuda --json` with the lines of torch_rivals.py, and writes the rows with hardware, driver and versions as
FOLDER/<gpu>-<date>.json and .md, behind a table of targets if targets.py has one. Usage: report.py ZEROKL_JSON RIVALS_LINES|- FOLDER"""
import datetime
import json
import pathlib
import platform
import re
import subprocess
import sys


def nvidia_smi():
    fields = ["name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "clocks.max.mem"]
    try:
        command = ["nvidia-smi", "--query-gpu=" + ",".join(fields), "--format=csv,noheader"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return dict(zip(fields, (value.strip() for value in lines[0].split(","))))
    except (OSError, subprocess.CalledProcessError, IndexError):
        return {}


def cuda_version(number):
    return f"{number // 1000}.{number % 1000 // 10}"


def join(ours, lines):
    """Puts the time of a rival's line beside our row of that operation and shape; gives the versions line."""
    versions = next((line for line in lines if "torch" in line), {})
    times = {(line["operation"], line["shape"]): line["us"] for line in lines if "operation" in line}
    for row in ours["rows"]:
        us = times.get((row["operation"], row["shape"]))
        if us is not None:
            row.update(rival="cuDNN", rival_us=us, x_rival=round(us / row["us"], 4))
    return versions


def facts(ours, gpu, versions, date):
    cudnn = f"; PyTorch {versions['torch']}, its cuDNN {versions['cudnn']}" if versions else ""
    driver = gpu.get("driver_version", "unknown")
    return [
        f"- Hardware: {gpu.get('name') or ours['device']}, power limit {gpu.get('power.limit', 'unknown')}, SM clock at most {gpu.get('clocks.max.sm', 'unknown')}; "
        f"host {platform.machine()}, {platform.system()} {platform.release()}",
        f"- Versions: zerokl {ours['commit']}; driver {driver} (CUDA {cuda_version(ours['cuda_driver'])}); "
        f"CUDA runtime {cuda_version(ours['cuda_runtime'])}; {ours['library'] or 'no cuBLAS'}{cudnn}",
        f"- Measured in this run: device copy {ours['copy_gb_per_s']:.0f} GB/s, cuBLAS 8192^3 bf16 {ours['gflop_per_s'] / 1e3:.0f} TFLOP/s",
        f"- Date: {date} (UTC)",
    ]


def table(rows):
    yield "| operation | shape | us | rate | % of floor | x rival | x second rival |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for row in rows:
        rivals = [f"{row['x_' + key]:.2f} {row[key]}" if "x_" + key in row else "" for key in ("rival", "second")]
        yield f"| {row['operation']} | {row['shape']} | {row['us']:.1f} | {row['rate']:.1f} {row['unit']} | {100 * row['floor']:.1f} | {' | '.join(rivals)} |"


def target_table(targets):
    def number(x):
        return "" if x is None else f"{x:.2f}" if x < 100 else f"{x:,.0f}"

    yield "| | measured | ours | against | ratio | must | goal | verdict |"
    yield "|---|---|---:|---|---:|---:|---:|---|"
    for row in targets:
        numbers = " | ".join(number(row[key]) for key in ("ratio", "must", "goal"))
        yield f"| {row['section']} | {row['what']} | {row['ours']} | {row['against']} | {numbers} | {row['verdict']} |"


def tally(targets):
    count = {verdict: sum(row["verdict"] == verdict for row in targets) for verdict in ("goal", "must", "MISSES", "not measured")}
    return (f"{len(targets)} rows: {count['goal']} reach goal, {count['must']} more reach must, {count['MISSES']} miss it, "
            f"{count['not measured']} not measured")


def write(ours, versions, folder, targets=(), about="", **more):
    """ours: the JSON of `zerokl bench`, joined with its rivals; versions: of these; about: the end of the name; more: kept in the JSON. Returns the path of the .md."""
    gpu, date = nvidia_smi(), datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    name = re.sub(r"[^a-z0-9]+", "-", (gpu.get("name") or ours["device"].split(",")[0]).lower()).strip("-")
    out = pathlib.Path(folder) / f"{name}-{date}{about}"
    out.parent.mkdir(parents=True, exist_ok=True)
    head = {"date": date, "gpu": gpu, "rivals": versions}
    if targets:
        head["targets"] = targets
    out.with_name(out.name + ".json").write_text(json.dumps({**head, **more, **ours}, indent=1) + "\n")
    text = [f"# zerokl bench on {gpu.get('name') or ours['device']}", "", *facts(ours, gpu, versions, date), ""]
    if targets:
        text += ["## Targets", "", tally(targets) + ".", "", *target_table(targets), "", "## All rows", ""]
    text += ["x rival: the rival's time over ours, above 1 we are faster. % of floor: max(bytes / copy bandwidth, flops / cuBLAS's rate) over our time.",
             "cuBLAS is its default algorithm; Lt, no split-K is the fastest algorithm cuBLASLt offers without one; cuDNN is attention through PyTorch.", "",
             *table(ours["rows"])]
    out.with_name(out.name + ".md").write_text("\n".join(text) + "\n")
    return f"{out}.md"


def read_lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines() if line.startswith("{")]


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    ours = json.loads(pathlib.Path(sys.argv[1]).read_text())
    versions = join(ours, [] if sys.argv[2] == "-" else read_lines(sys.argv[2]))
    print(write(ours, versions, sys.argv[3]))


if __name__ == "__main__":
    main()
