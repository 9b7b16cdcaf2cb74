#!/usr/bin/env python3
"""What the arms came to: table.py RUNS MEASURED.jsonl "NAME NAME..." "SEED SEED..." adds rows, curves and values. Prints what is left to do where runs are
not finished, and adds nothing; with ZK_PARTIAL set it tells of those arms whose runs are all finished.

RUNS has the run directories NAME-SEED and, of some arms, NAME.verify, an audit's output.
"""
import os
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
from curves import mean, metrics, rows, spread, write  # noqa: E402

ARMS = {  # what a person reads, in this order
    "equal": "bits equal",
    "mismatched": "mismatched",
    "corrected": "mismatched, TIS",
    "library": "both of a library",
    "bits4": "4-bit weights",
    "bits3": "3-bit weights",
    "bits3-corrected": "3-bit weights, TIS",
    "bits2": "2-bit weights",
    "bits2-corrected": "2-bit weights, TIS",
}
COLUMNS = {"reward": "reward/mean", "kl": "mismatch/kl_k3", "gradient": "policy/grad_norm", "entropy": "policy/entropy"}


def config(run):
    """numerics, what the sampler computes with, whether weights are used, and how many steps there are to be, as config.yaml has them."""
    lines = (run / "config.yaml").read_text().splitlines()
    value = lambda begins, section="": next((line.split(": ", 1)[1] for line in lines[next((i for i, l in enumerate(lines) if l == f"{section}:"), 0):]
                                             if line.startswith(begins)), "")
    trainer, bits = value("numerics: "), value("  weight_bits: ", "rollout")
    sampler = (value("  numerics: ", "rollout") or trainer) + (f", {bits}-bit weights" if bits else "")
    return trainer, sampler, value("    mode: ", "algorithm") != "none", int(value("  steps: ", "run"))


def one(run):
    """What one run came to."""
    lines = metrics(run)
    steps = lines[1:]
    tenth = max(1, len(steps) // 10)
    tenths = [mean([line["reward/mean"] for line in steps[i:i + tenth]]) for i in range(0, len(steps) - tenth + 1, tenth)]
    series = lambda key: [line[key] for line in steps]
    gradients = series("policy/grad_norm")
    return {"differ": sum(series("mismatch/tokens")), "tokens": sum(series("tokens/generated")), "kl": mean(series("mismatch/kl_k3")),
            "kl_max": max(series("mismatch/kl_k3")), "ratio": max(series("policy/ratio_max")), "reward": tenths[-1], "before": lines[0]["eval/accuracy"],
            "after": lines[-1]["eval/accuracy"], "gradient": statistics.median(gradients), "gradient_max": max(gradients),
            "entropy": mean(series("policy/entropy")[-tenth:]), "broke": tenths[-1] < 0.5 * max(tenths), "hash": lines[-1]["weights/hash"],
            "capped": mean([line.get("policy/importance_cap_frac", 0.0) for line in steps])}


def apart(ours, theirs, column):
    """At how many points of the curves the bands of seeds do not meet."""
    return sum(a[f"{column} low"] > b[f"{column} high"] or b[f"{column} low"] > a[f"{column} high"] for a, b in zip(ours, theirs))


def row(name, folder, runs, curve, first):
    """first: the curve of the first arm, with which those of several seeds are compared."""
    trainer, sampler, corrected, _ = config(folder)
    all_of = lambda key: [run[key] for run in runs]
    told = {"arm": ARMS[name], "trainer": trainer, "sampler": sampler, "weights": f"TIS ({mean(all_of('capped')):.1e} capped)" if corrected else "none",
            "tokens that differ": sum(all_of("differ")), "of": sum(all_of("tokens")), "KL (k3), mean of steps": spread(all_of("kl"), 2),
            "its greatest step": spread(all_of("kl_max"), 2), "largest ratio": spread(all_of("ratio")), "reward, last tenth": spread(all_of("reward")),
            "held-out accuracy": spread(all_of("after")), "gradient norm": spread(all_of("gradient"), 2), "its greatest": spread(all_of("gradient_max"), 2),
            "entropy, last tenth": spread(all_of("entropy"), 2)}
    if len(runs) > 1:
        told["reward's band apart"] = "" if curve is first else f"{apart(curve, first, 'reward')} of {len(curve)} points"
    return told


def audit(path):
    text = path.read_text() if path.exists() else ""
    return ("all equal" if ": all equal\n" in text else "differs") + (", off-policy" if "\noff-policy" in text else "")


def values(name, runs, folder):
    all_of = lambda key: [run[key] for run in runs]
    out = {"runs": len(runs), "tokens that differ": sum(all_of("differ")), "tokens": sum(all_of("tokens")), "KL": float(f"{mean(all_of('kl')):.3g}"),
           "largest ratio": max(all_of("ratio")), "reward": round(mean(all_of("reward")), 3), "accuracy": round(mean(all_of("after")), 3),
           "gain of accuracy": round(min(run["after"] - run["before"] for run in runs), 3), "runs that broke": sum(all_of("broke"))}
    if len(runs) == 1:
        out["weights/hash"] = runs[0]["hash"]
    if (path := folder / f"{name}.verify").exists():
        out["audit"] = audit(path)
    return [("value", f"{what}, {ARMS[name]}", value) for what, value in out.items()]


def is_finished(run):
    return (run / "metrics.jsonl").exists() and metrics(run)[-1]["step"] >= config(run)[3]


def main():
    folder, path, seeds = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[4].split()
    names = sorted(sys.argv[3].split(), key=list(ARMS).index)
    runs = {name: [folder / f"{name}-{seed}" for seed in seeds] for name in names}
    every = [run for name in names for run in runs[name]]
    if os.environ.get("ZK_PARTIAL"):
        names = [name for name in names if all(is_finished(run) for run in runs[name])]
    elif unfinished := [run.name for run in every if not is_finished(run)]:
        print(f"{len(every) - len(unfinished)} of {len(every)} runs are finished, {unfinished[0]} and {len(unfinished) - 1} more are not")
        return
    write(path, [("value", "runs that are finished", sum(len(runs[name]) for name in names)), ("value", "runs", len(every))])
    num = max(1, config(every[0])[3] // 30)
    curves = {name: rows(ARMS[name], runs[name], num, COLUMNS) for name in names}
    for name in names:
        told = [one(run) for run in runs[name]]
        write(path, [("row", "rows", row(name, runs[name][0], told, curves[name], curves[names[0]])), *values(name, told, folder)])
    for name in names:
        write(path, [("row", "curves", one_row) for one_row in curves[name]])


if __name__ == "__main__":
    main()
