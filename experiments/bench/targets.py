#!/usr/bin/env python3
"""Everything that experiments/bench wants of a GPU, in one run on one GPU: `zerokl bench`, generation in `bf16` and `vendor`, and the rivals in PyTorch;
then a table of targets with a verdict for each row, in FOLDER/<gpu>-<date>.md and .json.

Each piece is a process with a time limit, and what it printed stays in runs/bench/targets/: one that fails leaves the others, and running again makes only
what is missing (--again: everything). PyTorch takes many seconds to be imported, so that is done once, beside the first piece, and rivals are forked from
there. ZK_BUILD names a build other than build/, ZK_RUNS a folder other than runs/.
"""
import argparse
import functools
import importlib
import json
import os
import pathlib
import signal
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import report  # noqa: E402
import target_rows  # noqa: E402
from workload import LOADS  # noqa: E402

OUT = pathlib.Path(os.environ.get("ZK_RUNS", HERE.parent.parent / "runs")).resolve() / "bench/targets"
KERNELS = ("linear", "linear_parts", "linear_norm", "lmhead", "attention", "rows", "rope_cache")
BENCH = ("bench", "--device", "cuda", "-s", "0.03", "--json")


def generation(shape, load, numerics, *settings):
    return "bash", str(HERE / "generation.sh"), shape, load, numerics, *settings


def rival(module, shape, load, *options):
    least, most = LOADS[load]
    return module, "--shape", shape, "--min", str(least), "--max", str(most), *options


# name: (limit in seconds, what it runs: a command, or a rival's module and its arguments, what its line is about)
PIECES = {
    "kernels": (120, (*BENCH, str(OUT / "kernels.json"), *KERNELS), None),
    "model": (90, (*BENCH, str(OUT / "model.json"), "model"), None),
    "cudnn": (45, ("torch_rivals",), None),
    "0.6B-bf16": (40, generation("0.6B", "shared", "bf16"), ("0.6B", "shared", "bf16")),
    "0.6B-vendor": (40, generation("0.6B", "shared", "vendor"), ("0.6B", "shared", "vendor")),
    "0.6B-chunks": (40, generation("0.6B", "shared", "bf16", "rollout.prefill_chunk=128"), ("0.6B", "chunks", "bf16")),
    "0.6B-graph": (50, rival("rival_graph", "0.6B", "shared", "--eager"), ("0.6B", "shared", "graph")),
    "0.6B-compiled": (90, rival("rival_graph", "0.6B", "shared"), ("0.6B", "shared", "compiled")),
    "8B-bf16": (90, generation("8B", "1k", "bf16"), ("8B", "1k", "bf16")),
    "8B-vendor": (90, generation("8B", "1k", "vendor"), ("8B", "1k", "vendor")),
    "8B-compiled": (120, rival("rival_graph", "8B", "1k"), ("8B", "1k", "compiled")),
    "0.6B-transformers": (90, rival("rival_transformers", "0.6B", "shared", "--sequences", "32"), ("0.6B", "shared", "transformers")),
}
RIVALS = ("torch_rivals", "rival_graph", "rival_transformers")


class Rivals:
    """Imports the rivals' modules in the background, without touching the GPU, so that a forked process has them."""

    def __init__(self, names):
        self.modules, self.errors = {}, {}
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # a pool of compilers would have to import PyTorch again
        self.thread = threading.Thread(target=self.load, args=(names,))
        self.thread.start()

    def load(self, names):
        for name in names:
            try:
                self.modules[name] = importlib.import_module(name)
            except ImportError as error:
                self.errors[name] = str(error)

    def run(self, name, arguments):
        if name not in self.modules:
            sys.exit(self.errors[name])
        sys.argv = [name, *arguments]
        self.modules[name].main()


def start(run, log):
    """Forks a process with a group and an output of its own that calls run(); its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        run()
        code = 0
    except SystemExit as end:
        print(end, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait(pid, seconds):
    """The process's exit status; the process and all it started are ended after so many seconds (None)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)  # it has no group of its own yet
    os.waitpid(pid, 0)
    return None


def run_piece(name, limit, what, rivals, zerokl):
    """What it prints goes to OUT/name.out, and OUT/name.done says that it is whole."""
    if what[0] in RIVALS:
        rivals.thread.join()
        run = functools.partial(rivals.run, what[0], what[1:])
    else:
        command = [zerokl, *what] if what[0] == "bench" else what
        run = functools.partial(os.execvp, command[0], command)
    with open(OUT / f"{name}.out", "w") as log:
        code = wait(start(run, log), limit)
    if code == 0:
        (OUT / f"{name}.done").touch()
    return {0: "done", None: f"ENDED after {limit:.0f} s"}.get(code, f"FAILED: {last_line(name)}")


def last_line(name):
    lines = (OUT / f"{name}.out").read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "no output"


def run_pieces(names, again, seconds, zerokl):
    begun = time.monotonic()
    todo = [name for name in names if again or not (OUT / f"{name}.done").exists()]
    rivals = Rivals([module for module in RIVALS if any(PIECES[name][1][0] == module for name in todo)])
    for name in todo:
        limit, what, _ = PIECES[name]
        left = seconds - (time.monotonic() - begun)
        if left < 5:
            print(f"{name}: no time left", flush=True)
            continue
        for kind in ("done", "json"):
            (OUT / f"{name}.{kind}").unlink(missing_ok=True)
        start = time.monotonic()
        result = run_piece(name, min(limit, left), what, rivals, zerokl)
        now = time.monotonic()
        print(f"[{now - begun:5.0f} s] {name}: {result} after {now - start:.1f} s", flush=True)
    rivals.thread.join()


def collect():
    """What there is, of this run or of those before it: the bench as one, cuDNN's lines, generation's lines by what they are about."""
    benches = [json.loads(path.read_text()) for name in ("kernels", "model") if (path := OUT / f"{name}.json").exists()]
    ours = {**benches[0], "rows": [row for bench in benches for row in bench["rows"]]} if benches else None
    cudnn = report.read_lines(path) if (path := OUT / "cudnn.out").exists() else []
    lines = {}
    for name, (_, _, about) in PIECES.items():
        if about and (OUT / f"{name}.done").exists():
            lines[about] = report.read_lines(OUT / f"{name}.out")[-1]
    return ours, cudnn, lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=str(HERE / "results"), help="where the table goes (default: results/)")
    parser.add_argument("--only", default=",".join(PIECES), metavar="PIECE,...", help="of " + ", ".join(PIECES))
    parser.add_argument("--again", action="store_true", help="also what an earlier run made")
    parser.add_argument("--seconds", type=float, default=420, help="for everything: what does not fit is left for the next run (default 420)")
    args = parser.parse_args()
    build = pathlib.Path(os.environ.get("ZK_BUILD", HERE.parent.parent / "build")).resolve()
    os.environ["ZK_BUILD"] = str(build)
    OUT.mkdir(parents=True, exist_ok=True)
    run_pieces([name for name in PIECES if name in args.only.split(",")], args.again, args.seconds, str(build / "zerokl"))
    ours, cudnn, lines = collect()
    if ours is None:
        sys.exit("no `zerokl bench` ran: no table")
    report.join(ours, cudnn)
    ceilings = ours["copy_gb_per_s"] * 1e9, ours["gflop_per_s"] * 1e9
    targets = target_rows.judge({(row["operation"], row["shape"]): row for row in ours["rows"]}, lines, ceilings if all(ceilings) else None)
    print("\n".join(report.target_table(targets)))
    print(report.tally(targets))
    print(report.write(ours, cudnn, args.folder, targets, generation=[{"piece": "-".join(about), **line} for about, line in lines.items()]))


if __name__ == "__main__":
    main()
