#!/usr/bin/env python3
"""cuDNN's attention through PyTorch's SDPA, bf16, at the shapes that `zerokl bench attention --device cuda` names: one JSON object a line.

The first line says the versions. Forward runs as a replayed CUDA graph, backward (not deterministic, as users run it) as calls queued one behind
the other; each time is the median of several, by CUDA events. A shape that cuDNN refuses is told on stderr and left out.
"""
import argparse
import json
import statistics
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

HEADS, KV_HEADS, DIM = 32, 8, 128
ROTATED_BYTES = 192 << 20  # inputs take turns, so that no cache holds them


def random(*shape, grad=False):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16).requires_grad_(grad)


def median_us(run, calls, samples=11):
    """Median microseconds of one of the `calls` that run() makes."""
    times = []
    for _ in range(samples + 2):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop) * 1e3 / calls)
    return statistics.median(times[2:])


def graph_us(calls):
    """The time of one of several calls captured in one graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return median_us(graph.replay, len(calls))


def attend(q, k, v, causal):
    return scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)


def forward(batch, queries, keys):
    """One query row sees all keys; otherwise as many rows as keys, causal."""
    bytes_once = 4 * batch * keys * KV_HEADS * DIM
    copies = max(2, min(32, -(-ROTATED_BYTES // bytes_once))) if queries == 1 else 2
    q = random(batch, HEADS, queries, DIM)
    kv = [(random(batch, KV_HEADS, keys, DIM), random(batch, KV_HEADS, keys, DIM)) for _ in range(copies)]
    with torch.no_grad():
        return graph_us([lambda k=k, v=v: attend(q, k, v, queries > 1) for k, v in kv])


def backward(batch, keys):
    q, k, v = random(batch, HEADS, keys, DIM, grad=True), *(random(batch, KV_HEADS, keys, DIM, grad=True) for _ in range(2))
    out = attend(q, k, v, True)
    dout = torch.randn_like(out)

    def run():
        for _ in range(4):
            torch.autograd.grad(out, (q, k, v), dout, retain_graph=True)

    return median_us(run, 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("operations", nargs="*", metavar="forward|decode|backward", help="what to measure (default: all)")
    wanted = parser.parse_args().operations
    torch.manual_seed(0)
    version = torch.backends.cudnn.version()
    print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": version, "device": torch.cuda.get_device_name()}), flush=True)
    cases = [("attention forward", f"S {s} H {HEADS}/{KV_HEADS} D {DIM}", lambda s=s: forward(1, s, s)) for s in (1024, 8192)]
    cases += [("attention forward", f"S 4 x 4096 H {HEADS}/{KV_HEADS} D {DIM}", lambda: forward(4, 4096, 4096))]
    cases += [("attention decode", f"B {b} KV {n}", lambda b=b, n=n: forward(b, 1, n)) for b, n in ((1, 1024), (1, 4096), (1, 32768), (8, 1024), (8, 131072), (32, 4096), (64, 8192), (256, 1024), (512, 600))]
    cases += [("attention backward", f"S {s} H {HEADS}/{KV_HEADS} D {DIM}", lambda s=s: backward(1, s)) for s in (4096, 8192, 16384)]
    cases += [("attention backward", f"S {n} x {s} H {HEADS}/{KV_HEADS} D {DIM}", lambda n=n, s=s: backward(n, s)) for n, s in ((4, 4096), (32, 512))]
    for operation, shape, measure in cases:
        if wanted and operation.split()[1] not in wanted:
            continue
        try:
            with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
                us = measure()
        except RuntimeError as error:
            print(f"{operation} {shape}: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        print(json.dumps({"operation": operation, "shape": shape, "us": round(us, 3), "rival": "cuDNN"}), flush=True)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
