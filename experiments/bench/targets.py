#!/usr/bin/env python3
"""Everything that experiments/bench wants of a GPU, in one run on one GPU: `zerokl bench`, generation in `bf16` and `vendor`, and the rivals in PyTorch;
then a table of targets with a verdict for each row, in FOLDER/<gpu>-<date>.md and .json.

Each piece is a process with a time limit, and what it printed stays in runs/bench/targets/: one that fails leaves the others, and running again makes only
what is missing, or what another build of zerokl made (--again: everything). PyTorch takes many seconds to be imported, so each rival does that while the
piece before it runs. ZK_BUILD names a build other than build/, ZK_RUNS a folder other than runs/.
"""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import report  # noqa: E402
import target_rows  # noqa: E402
from workload import LOADS  # noqa: E402

OUT = pathlib.Path(os.environ.get("ZK_RUNS", HERE.parent.parent / "runs")).resolve() / "bench/targets"
KERNELS = ("linear", "linear_parts", "linear_norm", "lmhead", "attention", "rows", "rope_cache", "rope_attention")
BENCH = ("zerokl", "bench", "--device", "cuda", "--json")
MPIRUN = ("mpirun", "-n", "4", "--bind-to", "none")


def generation(shape, load, numerics, *settings):
    return "bash", str(HERE / "generation.sh"), shape, load, numerics, *settings


def training(shape):
    return *BENCH, str(OUT / f"train-{shape}.json"), "--filter", f"train {shape}", "train"


def rival(module, shape, load, *options):
    least, most = LOADS[load]
    return module, "--shape", shape, "--min", str(least), "--max", str(most), *options


# name: (limit in seconds, what it runs: a command, or a rival's module and its arguments, what its line is about)
PIECES = {
    "kernels": (120, (*BENCH, str(OUT / "kernels.json"), *KERNELS), None),
    "model": (90, (*BENCH, str(OUT / "model.json"), "model"), None),
    "cudnn": (45, ("torch_rivals", "forward", "decode"), None),
    "train-0.6B": (30, training("0.6B"), None),
    "train-1.7B": (40, training("1.7B"), None),
    "train-4B": (60, training("4B"), None),
    "train-torch": (120, ("rival_train", "--shapes", "0.6B,1.7B"), None),
    "train-torch4B": (90, ("rival_train", "--shapes", "4B", "--microbatch", "2"), None),
    "train-kernels": (60, (*BENCH, str(OUT / "train-kernels.json"), "attention_backward", "lmhead_loss", "rows_backward"), None),
    "train-cudnn": (30, ("torch_rivals", "backward"), None),
    "train-workers": (60, (*MPIRUN, *BENCH, str(OUT / "train-workers.json"), "workers"), None),
    "train-8B": (90, (*MPIRUN, *training("8B")), None),
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
NUM_GPUS = {"train-workers": 4, "train-8B": 4}  # others: one
RIVALS = ("torch_rivals", "rival_train", "rival_graph", "rival_transformers")


def is_rival(name):
    return PIECES[name][1][0] in RIVALS


def forget(name):
    for kind in ("done", "json"):
        (OUT / f"{name}.{kind}").unlink(missing_ok=True)


def forget_other_builds(version):
    """What zerokl of another version made is not put beside what this one makes; rivals stay."""
    made_by = OUT / "version"
    if not made_by.exists() or made_by.read_text() != version:
        for name in PIECES:
            if not is_rival(name):
                forget(name)
    made_by.write_text(version)


def start(name, zerokl):
    """The piece's process, with a group of its own, whose output goes to OUT/name.out. A rival waits for a line before it begins."""
    what = PIECES[name][1]
    command = [sys.executable, "-W", "ignore", str(HERE / "rival_ready.py"), *what] if is_rival(name) else [zerokl if word == "zerokl" else word for word in what]
    forget(name)
    with open(OUT / f"{name}.out", "w") as log:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def finish(name, process, seconds):
    """Lets it begin and waits; it and all it started are ended after so many seconds. OUT/name.done says that its output is whole."""
    try:
        process.communicate(b"begin\n", timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"ENDED after {seconds:.0f} s"
    finally:
        end(process)
    if process.returncode:
        return f"FAILED: {last_line(name)}"
    (OUT / f"{name}.done").touch()
    return "done"


def last_line(name):
    lines = (OUT / f"{name}.out").read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "no output"


def has_gpus(number):
    if number == 1 or "CUDA_VISIBLE_DEVICES" in os.environ:
        return number == 1 or len(os.environ["CUDA_VISIBLE_DEVICES"].split(",")) >= number
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout.count("UUID") >= number
    except (OSError, subprocess.CalledProcessError):
        return False


def run_pieces(names, again, seconds, zerokl):
    begun = time.monotonic()
    todo = [name for name in names if again or not (OUT / f"{name}.done").exists()]
    rivals = [name for name in todo if is_rival(name)]
    ready = {}  # the next rival: it imports PyTorch while the piece before it runs
    try:
        for name in todo:
            if not has_gpus(NUM_GPUS.get(name, 1)):
                print(f"{name}: needs {NUM_GPUS[name]} GPUs", flush=True)
                continue
            limit, left = PIECES[name][0], seconds - (time.monotonic() - begun)
            if left < 5:
                print(f"{name}: no time left", flush=True)
                continue
            process = ready.pop(name, None) or start(name, zerokl)
            rivals = [rival for rival in rivals if rival != name]
            if rivals and not ready:
                ready = {rivals[0]: start(rivals[0], zerokl)}
            before = time.monotonic()
            result = finish(name, process, min(limit, left))
            now = time.monotonic()
            print(f"[{now - begun:5.0f} s] {name}: {result} after {now - before:.1f} s", flush=True)
    finally:
        for process in ready.values():
            end(process)


def collect(names):
    """What there is of these pieces, of this run or of those before it: the bench as one, the lines of cuDNN and of PyTorch's training steps, generation's
    lines by what they are about."""
    benches = [json.loads(path.read_text()) for name in names if (path := OUT / f"{name}.json").exists()]
    ours = {**benches[0], "rows": [row for bench in benches for row in bench["rows"]]} if benches else None
    cudnn, trained = ([line for name in names if PIECES[name][1][0] == module and (path := OUT / f"{name}.out").exists() for line in report.read_lines(path)]
                      for module in ("torch_rivals", "rival_train"))
    lines = {}
    for name in names:
        about = PIECES[name][2]
        if about and (OUT / f"{name}.done").exists():
            lines[about] = report.read_lines(OUT / f"{name}.out")[-1]
    return ours, cudnn, trained, lines


def pieces_of(text):
    """Pieces by name, or by the beginning of several names: train is all that begin with train-."""
    names = [name for word in text.split(",") for name in PIECES if name == word or name.startswith(word + "-")]
    if unknown := [word for word in text.split(",") if not any(name == word or name.startswith(word + "-") for name in PIECES)]:
        raise argparse.ArgumentTypeError("no such piece: " + ", ".join(unknown))
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=str(HERE / "results"), help="where the table goes (default: results/)")
    parser.add_argument("--only", type=pieces_of, default=list(PIECES), metavar="PIECE,...", help="of " + ", ".join(PIECES) + "; train: all that begin with train-")
    parser.add_argument("--again", action="store_true", help="also what an earlier run made")
    parser.add_argument("--seconds", type=float, default=600, help="for everything: what does not fit is left for the next run (default 600)")
    args = parser.parse_args()
    build = pathlib.Path(os.environ.get("ZK_BUILD", HERE.parent.parent / "build")).resolve()
    os.environ["ZK_BUILD"] = str(build)
    if os.geteuid() == 0:  # mpirun asks for leave
        os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # by way of what is to be tidied up
    OUT.mkdir(parents=True, exist_ok=True)
    zerokl = str(build / "zerokl")
    forget_other_builds(subprocess.run([zerokl, "--version"], capture_output=True, text=True, check=True).stdout)
    run_pieces([name for name in PIECES if name in args.only], args.again, args.seconds, zerokl)
    sorts = {name.startswith("train-") for name in args.only}  # training alone, or everything else, or both
    ours, cudnn, trained, lines = collect([name for name in PIECES if name.startswith("train-") in sorts])
    if ours is None:
        sys.exit("no `zerokl bench` ran: no table")
    versions = report.join(ours, cudnn)
    ceilings = ours["copy_gb_per_s"] * 1e9, ours["gflop_per_s"] * 1e9
    targets = target_rows.judge({(row["operation"], row["shape"]): row for row in ours["rows"]}, lines, ceilings if all(ceilings) else None, trained)
    targets = [row for row in targets if (row["section"] == "training") in sorts]
    print("\n".join(report.target_table(targets)))
    print(report.tally(targets))
    print(report.write(ours, versions, args.folder, targets, "-training" if sorts == {True} else "", training=trained,
                       generation=[{"piece": "-".join(about), **line} for about, line in lines.items()]))


if __name__ == "__main__":
    main()
