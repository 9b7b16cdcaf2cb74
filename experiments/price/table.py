#!/usr/bin/env python3
"""What exact bits cost: rows and values for a results file. A price is our time over that of the fastest other one: 1.05 is 5% more.

table.py gpu MEASURED.jsonl ZEROKL RESULTS...: from results files of experiments/bench (.json) and lines of generation (.jsonl) that this program made here; -: that
  were kept, so that machine and date are theirs.
table.py gpu-swapped ...: the same, with the rates of ours and of `vendor` in each other's place.
table.py cpu MEASURED.jsonl RUNS: from RUNS/rates.jsonl, RUNS/135M.json and RUNS/torch.json.
Prints what is missing where nothing can be told, and adds nothing.
"""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import machine  # noqa: E402
from curves import write  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
LOADS = {"shared": "256, 100 to 1,024 tokens in and out", "1k": "256, 1,024 in and out", "1": "1, 100 to 1,024 tokens", "8": "8, 100 to 1,024 tokens"}


def ratio(value):
    return round(value, 3)


def row(what, batch, model, ours, others):
    """One pair or more. `others`: {name: tokens a second}."""
    fastest = max(others, key=others.get)
    numerics, rate = ours
    return {"what": what, "model": model, "batch": batch, "ours, tokens/s": round(rate), "numerics": numerics,
            "others, tokens/s": ", ".join(f"{name} {round(other):,}" for name, other in sorted(others.items(), key=lambda pair: -pair[1])),
            "fastest": fastest, "price": ratio(others[fastest] / rate), "price against vendor": ratio(others["vendor"] / rate) if "vendor" in others else ""}


def generation(lines, arrange):
    """Rows of the lines of generation, each with its piece's name: SHAPE-LOAD-WHO. `arrange`: what is done with {whose: rates}."""
    loads = {}
    for line in lines:
        shape, load, who = line["piece"].split("-", 2)
        rate = line.get("perf/rollout_tokens_per_s") or line.get("tokens_per_s")
        if load in LOADS and line.get("sequences") in (256, 1, 8):  # a rival with fewer sequences is no rival
            loads.setdefault((shape, load), {})[line.get("rival", who)] = rate
    return [row("sampling", LOADS[load], f"Qwen3-{shape}", ("bf16", rates.pop("bf16")), rates) for (shape, load), rates in arrange(loads).items() if "bf16" in rates and len(rates) > 1]


def training(results, arrange):
    """Rows of training steps: ours and vendor of `zerokl bench`, PyTorch's. `arrange` as above."""
    steps = {}
    for result in results:
        for line in result["rows"]:
            if line["operation"].startswith("train ") and line["shape"].startswith("step "):
                _, shape, numerics = line["operation"].split()
                steps.setdefault(shape, {})[numerics] = line["rate"]
                steps[shape]["batch"] = line["shape"].removeprefix("step ").replace(" x ", " sequences of ")
        for line in result.get("training") or []:
            steps.setdefault(line["shape"], {})["PyTorch, compiled"] = line["tokens_per_s"]
    return [row("training", rates.pop("batch"), f"Qwen3-{shape}", ("bf16", rates.pop("bf16")), rates) for shape, rates in arrange(steps).items() if len(rates) > 2 and "bf16" in rates]


def worst(rows, name, key="price"):
    prices = [one[key] for one in rows if one[key] != ""]
    return [("value", name, max(prices))] if prices else []


def bars(rows, published=()):
    """For the picture: a price and a name short enough to stand under a bar."""
    own = [{"what": f"{one['what']}\n{one['model'].removeprefix('Qwen3-')}{', ' + one['batch'] if one['model'] == '12M' else ''}", "price": one["price"], "whose": "ours"} for one in rows]
    return [("row", "bars", one) for one in own + [{"what": line["short"], "price": line["price"], "whose": "published"} for line in published]]


def about(zerokl, results, lines):
    """What a result says of machine and versions: of this one, or of that which made the kept files."""
    rivals = [line["torch"] for line in lines + [line for result in results for line in result.get("training") or []] if "torch" in line]
    libraries = f"{results[0]['library']}; PyTorch {rivals[0] if rivals else 'not there'}"
    if zerokl != "-":
        made = machine.versions(zerokl)
        return {"versions": {**made, "libraries": f"{made['libraries']}; {libraries}"}}
    gpu = results[0]["gpu"]
    commit = results[0]["commit"] + (f" (training: {results[1]['commit']})" if len(results) > 1 else "")
    return {"machine": {"cpu": "", "cores": 0, "gpus": [{"name": gpu["name"], "driver": gpu["driver_version"], "memory": gpu["memory.total"]}]},
            "versions": {"zerokl": f"commit {commit}", "libraries": libraries}, "date": results[0]["date"]}


def swapped(sides):
    """Rates by who has them, ours and `vendor` in each other's place."""
    for rates in sides.values():
        if "bf16" in rates and "vendor" in rates:
            rates["bf16"], rates["vendor"] = rates["vendor"], rates["bf16"]
    return sides


def gpu(path, zerokl, files, arrange):
    results = [json.loads(pathlib.Path(name).read_text()) for name in files if name.endswith(".json")]
    lines = [line for result in results for line in result.get("generation") or []]
    for name in files:
        if name.endswith(".jsonl"):
            lines += [json.loads(text) for text in pathlib.Path(name).read_text().splitlines()]
    sampled, trained = generation(lines, arrange), training(results, arrange)
    if not any("1,024 in and out" in one["batch"] for one in sampled) or not trained:
        print("not every piece of experiments/bench is measured")
        return
    large, small = [one for one in sampled if one["batch"].startswith("256")], [one for one in sampled if not one["batch"].startswith("256")]
    published = json.loads((HERE / "published.json").read_text())
    others = [("row", "published", {key: value for key, value in line.items() if key != "short"}) for line in published]
    write(path, [("about", "", about(zerokl, results, lines))] + [("row", "rows", one) for one in sampled + trained] + others + bars(large + trained, published) + worst(large, "price of sampling, large batch") +
          worst(small, "price of sampling, small batch") + worst(trained, "price of training") +
          worst(large, "price of sampling against vendor", "price against vendor") + worst(trained, "price of training against vendor", "price against vendor"))


def cpu(path, folder):
    best = {}
    for line in (folder / "rates.jsonl").read_text().splitlines():
        line = json.loads(line)
        key = line["what"], line["batch"], line["numerics"]
        best[key] = max(best.get(key, 0.0), line["tokens_per_s"])
    rows = [row(what, str(batch), "12M" if folder.name.startswith("cpu") else "tiny", ("f32", rate), {"vendor": best[what, batch, "vendor"]})
            for (what, batch, numerics), rate in best.items() if numerics == "f32"]
    size = lambda one: "small" if one["batch"] == "1" else "large"
    entries = [("value", f"price of {one['what']}, {size(one)} batch", one["price"]) for one in rows]
    if (folder / "torch.json").exists():
        ours = next(line["us"] for line in json.loads((folder / "135M.json").read_text())["rows"] if line["shape"].startswith("step"))
        theirs = json.loads((folder / "torch.json").read_text())["us"]
        tokens = 4 * 256 * 1e6
        rows.append(row("training", "4 sequences of 256", "135M", ("f32", tokens / ours), {"PyTorch eager": tokens / theirs}))
        entries.append(("value", "price of training against PyTorch", rows[-1]["price"]))
    write(path, [("row", "rows", one) for one in rows] + bars(rows) + entries)


def main():
    form, path, files = sys.argv[1], sys.argv[2], sys.argv[3:]
    if form.startswith("gpu"):
        gpu(path, files[0], files[1:], swapped if form == "gpu-swapped" else dict)
    else:
        cpu(path, pathlib.Path(files[0]))


if __name__ == "__main__":
    main()
