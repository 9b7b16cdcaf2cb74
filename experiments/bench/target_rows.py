"""What speed is wanted of a GPU: rows with "must" and "goal", each a ratio above which a measurement is good enough, and the verdict on one run.

A ratio is a rival's time over ours, or the least time that the machine allows ("floor") over ours; generation has tokens a second as well.
"""
from workload import HEAD_DIM, SHAPES, VOCAB, lengths

LINEARS = {"qkv": (6144, 4096), "o": (4096, 4096), "gate+up": (24576, 4096), "down": (4096, 12288), "0.6B down": (1024, 3072), "lm_head": (VOCAB, 4096)}
LAYERS = ("qkv", "o", "gate+up", "down", "0.6B down")


def linear(name, rows):
    outputs, inputs = LINEARS[name]
    return "linear forward", f"M {rows} N {outputs} K {inputs}"


def bench_targets():
    """(section, operation, shape, kind of ratio, must, goal) of every row of `zerokl bench` that has a target."""
    for rows, names, kind, must, goal in ((16384, LAYERS, "rival", 0.92, 1.0), (4096, LAYERS, "rival", 0.92, 1.0), (512, LAYERS, "rival", 0.88, 1.0),
                                          (64, LINEARS, "rival", 0.90, 1.05), (8, LINEARS, "rival", 0.95, 1.10), (8, LINEARS, "second", 1.05, 1.25),
                                          (1, LINEARS, "rival", 0.95, 1.10), (1, LINEARS, "second", 1.05, 1.25),
                                          (1, ("lm_head", "gate+up"), "floor", 0.88, 0.93), (1, ("qkv", "o"), "floor", 0.65, 0.78)):
        for name in names:
            yield "GEMM", *linear(name, rows), kind, must, goal
    yield "prefill", "attention forward", "S 8192 H 32/8 D 128", "rival", 0.85, 1.05
    for shape in ("B 32 KV 4096", "B 64 KV 8192"):
        yield "decode attention", "attention decode", shape, "floor", 0.80, 0.90
    yield "decode attention", "attention decode", "B 1 KV 32768", "floor", 0.60, 0.80
    for shape in ("rows 16384 x 4096", "rows 16384 x 1024"):
        yield "norm, RoPE, LM head", "rmsnorm", shape, "floor", 0.82, 0.90
    for shape in ("S 16384 H 32/8 D 128", "S 16384 H 32/8 D 128 norms"):
        yield "norm, RoPE, LM head", "rope cache", shape, "floor", 0.82, 0.90
    for hidden in (4096, 1024):
        for operation in ("lmhead logprob", "lmhead sample"):
            for rows in (1, 8, 64, 256, 1024, 4096):
                yield "norm, RoPE, LM head", operation, f"M {rows} V {VOCAB} K {hidden}", "floor", 0.82, 0.90
    for shape, batch, must, goal in (("8B", 1, 0.70, 0.85), ("1.7B", 1, 0.58, 0.75), ("0.6B", 1, 0.38, 0.60), ("8B", 256, 0.62, 0.80)):
        yield "decode step", "model decode", f"{shape} bf16 batch {batch} ctx ", "floor", must, goal  # the context that was measured follows


# A training step: shape, sequences, MFU that is wanted and hoped for.
TRAINED = (("0.6B", 4, 0.38, 0.48), ("1.7B", 4, 0.45, 0.58), ("4B", 4, 0.48, 0.62), ("8B", 16, 0.45, 0.58))
PEAK_FLOPS = 989e12


def training_targets():
    """As bench_targets, of what is trained on a GPU; the floor of a step is MFU."""
    for keys in (4096, 8192, 16384):
        yield "training", "attention backward", f"S {keys} H 32/8 D 128", "rival", 0.80, 1.0
    yield "training", "attention backward", "S 4 x 4096 H 32/8 D 128", "rival", 0.80, 1.0
    for hidden in (4096, 2048, 1024):
        for operation in ("lmhead loss", "lmhead loss, lse known"):
            yield "training", operation, f"M 16384 V {VOCAB} K {hidden}", "rival", 0.75, 0.90
    yield "training", "ordered reduction", "4 workers, 1024 MiB", "rival", 0.85, 1.0
    for shape, sequences, must, goal in TRAINED:
        yield "training", f"train {shape} bf16", f"step {sequences} x 4096", "mfu", must, goal
        yield "training", f"train {shape} bf16", f"step {sequences} x 4096", "rival", 0.95, 1.0


RATES = (("0.6B", "shared", 22e3, 29e3), ("8B", "1k", 6.7e3, 9e3))  # tokens a second, wanted and hoped for


def verdict(ratio, must, goal):
    if ratio is None:
        return "not measured"
    return "goal" if ratio >= goal else "must" if ratio >= must else "MISSES"


RIVALS = (("attention", "cuDNN"), ("train ", "vendor"), ("ordered", "NCCL"))  # where there is no time of theirs


def bench_row(target, rows):
    section, operation, shape, kind, must, goal = target
    row = next((row for (group, text), row in rows.items() if group == operation and (text == shape or shape.endswith(" ") and text.startswith(shape))), {})
    ratio = row.get("floor" if kind in ("floor", "mfu") else "x_" + kind)
    against = {"floor": "floor", "mfu": f"MFU: {PEAK_FLOPS / 1e12:.0f} TFLOP/s", "rival": row.get("rival") or next((rival for part, rival in RIVALS if part in operation), "cuBLAS"), "second": "Lt, no split-K"}[kind]
    us = f"{row['us']:.1f} us" if row else ""
    theirs = f"{row['us'] * row['floor']:.1f} us" if row and kind in ("floor", "mfu") else f"{row[kind + '_us']:.1f} us" if ratio else ""
    return {"section": section, "what": f"{operation}, {row.get('shape', shape)}", "ours": us, "against": f"{against} {theirs}".strip(), "ratio": ratio,
            "must": must, "goal": goal}


def generation_floor(shape, load, bytes_per_s, flops_per_s):
    """Tokens a second if the bytes of decoding (weights once a step, each sequence's cache for each token) and the products of prefilling took all the time."""
    layers, hidden, heads, kv_heads, inner, _ = SHAPES[shape]
    weights = layers * hidden * HEAD_DIM * (2 * heads + 2 * kv_heads) + layers * 3 * hidden * inner
    cache = 2 * layers * kv_heads * HEAD_DIM * 2  # bytes of a token's keys and values
    jobs = lengths(load)
    read = sum(cache * (prompt * new + new * (new + 1) / 2) for prompt, new in jobs) + max(new for _, new in jobs) * 2 * (weights + hidden * VOCAB)
    prefilled = sum(prompt for prompt, _ in jobs)
    return sum(new for _, new in jobs) / (read / bytes_per_s + 2 * weights * prefilled / flops_per_s)


def label(line):
    return line.get("rival", line.get("numerics")) + (f", {line['sequences']} sequences" if line["sequences"] != 256 else "")


def generation_rows(shape, load, lines, ceilings, rate):
    """lines: what ran at this shape and load: bf16, vendor, rivals. Rates are of the whole: prompts are in the time, and not in the tokens."""
    def speed(line):
        return line.get("tokens_per_s") or line["perf/rollout_tokens_per_s"]

    name, ours = f"generation, {shape} on {load}", next((line for line in lines if line.get("numerics") == "bf16"), None)
    others = sorted((line for line in lines if line is not ours), key=speed)
    told = f"{speed(ours):,.0f} tok/s" if ours else ""

    def row(against, ratio, must, goal):
        return {"section": "generation", "what": name, "ours": told, "against": against, "ratio": ratio, "must": must, "goal": goal}

    floor = generation_floor(shape, load, *ceilings) if ceilings else 0
    share = f" {floor:,.0f} tok/s: {speed(ours) / floor:.2f} of it" if floor and ours else ""
    yield row("floor" + share, speed(ours) if ours else None, *rate)
    if not others:
        yield row("vendor and rivals", None, 0.95, 1.0)
    for place, line in enumerate(reversed(others)):
        against = f"{label(line)} {speed(line):,.0f} tok/s"
        yield row("fastest of all others: " + against if place == 0 else against, speed(ours) / speed(line) if ours else None, 0.95, 1.0)


def busy_row(what, line):
    """The share of the time in which the device had a step to work on; the host may cost five hundredths."""
    busy = 1 - line["engine/host_fraction"] if line else None
    mixed = (f"{line['engine/steps'] - line['engine/graph_steps']} of {line['engine/steps']} steps with prompts, {line.get('engine/late_steps', 0)} queued late"
             if line else "")
    return {"section": "host", "what": what, "ours": mixed, "against": "device busy", "ratio": busy, "must": 0.95, "goal": 0.99}


def trained_row(shape, sequences, rows, lines):
    """Tokens a second of a step against PyTorch's of the same batch."""
    ours = rows.get((f"train {shape} bf16", f"step {sequences} x 4096"))
    theirs = next((line for line in lines if (line["shape"], line["sequences"], line["length"]) == (shape, sequences, 4096)), None)
    against = f"PyTorch, {theirs['attention']} attention, {theirs['tokens_per_s']:,.0f} tok/s, MFU {theirs['mfu']:.2f}" if theirs else "PyTorch"
    return {"section": "training", "what": f"step of {shape}, {sequences} x 4096", "ours": f"{ours['rate']:,.0f} tok/s" if ours else "", "against": against,
            "ratio": ours["rate"] / theirs["tokens_per_s"] if ours and theirs else None, "must": 1.0, "goal": 1.3}


def judge(rows, generation, ceilings, trained=()):
    """rows: of `zerokl bench` by (operation, shape); generation: {piece: line}; ceilings: bytes and flops a second; trained: lines of rival_train.py.
    All rows with their verdicts."""
    table = [bench_row(target, rows) for target in (*bench_targets(), *training_targets())]
    table += [trained_row(shape, sequences, rows, trained) for shape, sequences, _, _ in TRAINED[:3]]
    for shape, load, *rate in RATES:
        table += generation_rows(shape, load, [line for (s, l, _), line in generation.items() if (s, l) == (shape, load)], ceilings, rate)
    table.append(busy_row("generation, 0.6B on shared", generation.get(("0.6B", "shared", "bf16"))))
    table.append(busy_row("the same, prompts in chunks of 128", generation.get(("0.6B", "chunks", "bf16"))))
    for row in table:
        row["verdict"] = verdict(row["ratio"], row["must"], row["goal"])
    return table
