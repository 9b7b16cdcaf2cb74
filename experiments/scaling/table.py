"""Lines of metrics of one run on several numbers of GPUs, as a table: table.py GPUS:METRICS.jsonl... Exit code 1: less than 0.80 of linear, or other bits."""
import json
import sys
from statistics import median

MUST, GOAL = 0.80, 0.90
TIMES = ["step", "rollout", "train", "forward", "head", "backward", "reduce", "optimizer", "verify", "trajectory"]


def read(argument):
    gpus, path = argument.split(":", 1)
    with open(path) as file:
        return int(gpus), [json.loads(line) for line in file]


def middle(lines, key):
    """The median over the steps but the first, in which graphs are recorded and buffers grow."""
    values = [line[key] for line in lines[2:] if key in line]
    return median(values) if values else 0.0


def hashes(lines):
    return [(line["weights/hash"], line["state/hash"]) for line in lines]


def main():
    runs = [read(argument) for argument in sys.argv[1:]]
    first_gpus, first = runs[0]
    base = middle(first, "time/step") * first_gpus
    print(f"{'GPUs':>4} {'of linear':>9}  seconds: " + " ".join(f"{name:>10}" for name in TIMES))
    for gpus, lines in runs:
        share = base / (gpus * middle(lines, "time/step"))
        print(f"{gpus:>4} {share:>9.3f}           " + " ".join(f"{middle(lines, f'time/{name}'):>10.4f}" for name in TIMES))
    print(f"\n{'GPUs':>4} {'rollout tok/s':>13} {'train tok/s':>11} {'MFU':>6} {'balance of rollout, train':>26}  GB and GB/s a GPU: all-to-all, all-gather")
    for gpus, lines in runs:
        value = lambda key, scale=1.0: middle(lines, f"perf/{key}") * scale
        moved = ", ".join(f"{value(f'{name}_bytes', 1e-9):.2f} at {value(f'{name}_bytes_per_s', 1e-9):.0f}" for name in ("all_to_all", "all_gather"))
        print(f"{gpus:>4} {value('rollout_tokens_per_s'):>13.0f} {value('train_tokens_per_s'):>11.0f} {value('mfu'):>6.3f}"
              f" {value('rollout_balance'):>18.3f}, {value('train_balance'):.3f}  {moved}")
    equal = all(hashes(lines) == hashes(first) for _, lines in runs)
    moves = len(set(hashes(first))) == len(first)
    gpus, lines = runs[-1]
    share = base / (gpus * middle(lines, "time/step"))
    print(f"\nweights/hash, state/hash: {'the same chain' if equal else 'CHAINS DIFFER'}{'' if moves else ', WHICH DOES NOT MOVE'}; "
          f"{gpus} GPUs: {share:.3f} of linear from {first_gpus} (must {MUST:.2f}, goal {GOAL:.2f})")
    return 0 if equal and moves and share >= MUST else 1


if __name__ == "__main__":
    sys.exit(main())
