#!/usr/bin/env python3
"""What the runs of algorithms came to: table.py RUNS "NAME NAME..." "SEED SEED..." adds rows, curves and values to RUNS/measured.jsonl.

RUNS has the run directories NAME-SEED, NAME-SEED.train and .verify with the seconds of processors, NAME-SEED.verify.log with the audit's verdict.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
from curves import mean, metrics, rows, spread, write  # noqa: E402

RISE = 0.15  # of held-out accuracy: a run that gained less did not learn


def seconds(path):
    return sum(float(word) for word in pathlib.Path(path).read_text().split()[-2:])


def one(run):
    """What one run came to."""
    lines = metrics(run)
    steps = lines[1:]
    return {"before": lines[0]["eval/accuracy"], "after": lines[-1]["eval/accuracy"], "reward": mean([line["reward/exact"] for line in steps[-5:]]),
            "steps": len(steps), "mismatched": sum(line["mismatch/tokens"] for line in steps), "tokens": sum(line["tokens/generated"] for line in steps),
            "hash": lines[-1]["weights/hash"], "equal": ": all equal\n" in pathlib.Path(f"{run}.verify.log").read_text(),
            "train": seconds(f"{run}.train"), "verify": seconds(f"{run}.verify")}


def row(name, runs):
    all_of = lambda key: [run[key] for run in runs]
    out = {"algorithm": f"`{name}`", "steps": runs[0]["steps"], "accuracy before": spread(all_of("before")), "after": spread(all_of("after")),
           "reward, last 5 steps": spread(all_of("reward")), "mismatched tokens": sum(all_of("mismatched")), "of": sum(all_of("tokens")),
           "verify --replay": "all equal" if all(all_of("equal")) else "FAILED", "CPU seconds, training": round(mean(all_of("train")), 1),
           "audit": round(mean(all_of("verify")), 1)}
    return out | ({"weights/hash": runs[0]["hash"]} if len(runs) == 1 else {})


def main():
    folder, names, seeds = pathlib.Path(sys.argv[1]), sys.argv[2].split(), sys.argv[3].split()
    runs = {name: [folder / f"{name}-{seed}" for seed in seeds] for name in names}
    told = {name: [one(run) for run in runs[name]] for name in names}
    every = [run for name in names for run in told[name]]
    gains = [run["after"] - run["before"] for run in every]
    values = {"algorithms": len(names), "runs": len(every), "runs that learned": sum(gain >= RISE for gain in gains), "least gain": round(min(gains), 3),
              "mismatched tokens": sum(run["mismatched"] for run in every), "tokens": sum(run["tokens"] for run in every),
              "runs that verify": sum(run["equal"] for run in every), "different weights": len({run["hash"] for run in every}),
              "CPU seconds": round(sum(run["train"] + run["verify"] for run in every))}
    path = folder / "measured.jsonl"
    write(path, [("row", "rows", row(name, told[name])) for name in names] + [("value", name, value) for name, value in values.items()])
    for name in names:  # of one seed its course, of several where each ended
        write(path, [("row", "curves", one_row) for one_row in rows(name, runs[name], 4, {"reward": "reward/exact"})] if len(seeds) == 1 else
              [("row", "runs", {"name": name, "seed": int(seed), "after": run["after"], "weights/hash": run["hash"]}) for seed, run in zip(seeds, told[name])])


if __name__ == "__main__":
    main()
