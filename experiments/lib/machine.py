"""What a result was measured on: processor, memory, GPUs, and the versions of everything that computes."""
import os
import pathlib
import platform
import re
import subprocess


def output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def first(pattern, path):
    try:
        found = re.search(pattern, pathlib.Path(path).read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found.group(1).strip().strip('"') if found else ""


def gpus():
    lines = output("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader").splitlines()
    cards = [dict(zip(("name", "driver", "memory"), (part.strip() for part in line.split(",")))) for line in lines]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [cards[int(number)] for number in visible.split(",")] if re.fullmatch(r"\d+(,\d+)*", visible) and cards else cards


def hardware(form):
    kib = first(r"^MemTotal:\s*(\d+) kB", "/proc/meminfo")
    about = {"cpu": first(r"^model name\s*: (.*)$", "/proc/cpuinfo") or platform.machine(), "cores": len(os.sched_getaffinity(0)),
             "memory_gib": round(int(kib) / 2**20) if kib else None}
    if form.startswith("gpu"):
        about["gpus"] = gpus()
    return about


def versions(zerokl):
    """The program tells of itself and its libraries; the system of its name, and of the library that `vendor` takes on a CPU."""
    about = {"system": first(r"^PRETTY_NAME=(.*)$", "/etc/os-release") or platform.platform()}
    if zerokl:
        lines = output(zerokl, "--version").splitlines()
        about["zerokl"] = lines[0].removeprefix("zerokl ") if lines else ""
        about["libraries"] = "; ".join(lines[1:])
    blas = output("dpkg-query", "--show", "--showformat", "${Version}", "libopenblas0-pthread")
    if blas:
        about["OpenBLAS"] = blas
    return about


def describe(result):
    """One line for a person: what, with what, when."""
    about, made = result["machine"], result["versions"]
    cards = about.get("gpus") or []
    parts = [f"{len(cards)} x {cards[0]['name']} (driver {cards[0]['driver']})" if cards else f"{about['cpu']}, {about['cores']} cores",
             made.get("system", ""), f"zerokl {made['zerokl']}" if made.get("zerokl") else "", made.get("libraries", "").replace("; CUDA: not found", ""),
             f"OpenBLAS {made['OpenBLAS']}" if made.get("OpenBLAS") and not cards else ""]
    return "; ".join(part for part in parts if part) + f"; {result['date']}, {result['seconds']} s"
