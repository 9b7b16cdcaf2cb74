#!/usr/bin/env python3
"""Offline generation with a decode step built by hand in PyTorch: CUDA graphs, cuBLAS products with q, k, v and gate, up fused, a static cache that
FlashAttention-2 reads to each sequence's length, and what lies between compiled into few kernels (--eager: not compiled).

Sequences are sorted by the tokens they want, longest first, so that those still running are always the first rows of the cache; a graph is
captured for each size of batch (multiples of 32, and a few small ones) and each length of cache (multiples of 256). Prompts are prefilled sixteen at
a time, those of like length together. Everything has run once before the clock starts. Gumbel-max sampling on the device, no host synchronisation
in the loop. One JSON object on standard output.
"""
import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from workload import DEVICE, HEAD_DIM, ROPE_THETA, SHAPES, VOCAB, add_arguments, gpu_name, line, synchronize, workload

PREFILL_BATCH, PREFILL_ROUND, LENGTH_ROUND = 16, 64, 256
compiled = torch.compile(dynamic=True)


@compiled
def norm(x, weight):
    return F.rms_norm(x, x.shape[-1:], weight, 1e-6)


@compiled
def add_norm(x, y, weight):
    x = x + y
    return x, F.rms_norm(x, x.shape[-1:], weight, 1e-6)


@compiled
def swiglu(gate_up):
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


@compiled
def rotate_and_store(qkv, heads, kv_heads, weight, cos, sin, places, cache_k, cache_v):
    """Normed and rotated queries; keys and values go to their places of the cache [places, kv_heads, HEAD_DIM]."""
    q, k, v = qkv.view(qkv.shape[0], -1, HEAD_DIM).split((heads, kv_heads, kv_heads), 1)

    def rope(x):
        x = F.rms_norm(x, (HEAD_DIM,), weight, 1e-6)
        a, b = x.chunk(2, -1)
        return x * cos[:, None] + torch.cat((-b, a), -1) * sin[:, None]

    q, k = rope(q), rope(k)
    cache_k[places] = k
    cache_v[places] = v
    return q.contiguous(), k.contiguous(), v.contiguous()


@compiled
def choose(logits, exponential):
    """Gumbel-max with noise -log(exponential), and the log-probability of what it chooses."""
    logits = logits.float()
    chosen = (logits - exponential.log()).argmax(-1)
    return chosen, logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(-1)


class Model:
    def __init__(self, shape, max_batch, max_length):
        self.layers, self.hidden, self.heads, self.kv_heads, self.inner, tied = SHAPES[shape]
        self.max_length = max_length
        self.embed = self.weight(VOCAB, self.hidden)
        self.head = self.embed if tied else self.weight(VOCAB, self.hidden)
        rows = (self.heads + 2 * self.kv_heads) * HEAD_DIM
        self.weights = [(self.weight(rows, self.hidden), self.weight(self.hidden, self.heads * HEAD_DIM), self.weight(2 * self.inner, self.hidden),
                         self.weight(self.hidden, self.inner)) for _ in range(self.layers)]
        self.norm, self.head_norm = (torch.ones(n, device=DEVICE, dtype=torch.bfloat16) for n in (self.hidden, HEAD_DIM))
        angle = torch.arange(max_length, device=DEVICE)[:, None] * ROPE_THETA ** (-torch.arange(0, HEAD_DIM, 2, device=DEVICE) / HEAD_DIM)
        self.cos, self.sin = (f(torch.cat((angle, angle), 1)).to(torch.bfloat16) for f in (torch.cos, torch.sin))
        self.cache = torch.zeros(self.layers, 2, max_batch * max_length, self.kv_heads, HEAD_DIM, device=DEVICE, dtype=torch.bfloat16)
        self.starts = torch.arange(max_batch + 1, device=DEVICE, dtype=torch.int32)  # of queries; x max_length of caches

    @staticmethod
    def weight(*size):
        return torch.empty(*size, device=DEVICE, dtype=torch.bfloat16).normal_(0, 0.03)

    def forward(self, tokens, positions, places, attend):
        """Rows, one token each, through all layers; attend(layer, q, k, v) gives their attention."""
        x = self.embed[tokens]
        y = norm(x, self.norm)
        cos, sin = self.cos[positions], self.sin[positions]
        for layer, (qkv, o, gate_up, down) in enumerate(self.weights):
            q, k, v = rotate_and_store(F.linear(y, qkv), self.heads, self.kv_heads, self.head_norm, cos, sin, places, *self.cache[layer])
            x, y = add_norm(x, F.linear(attend(layer, q, k, v).reshape(len(x), -1), o), self.norm)
            x, y = add_norm(x, F.linear(swiglu(F.linear(y, gate_up)), down), self.norm)
        return y

    def sample(self, hidden):
        logits = F.linear(hidden, self.head)
        return choose(logits, torch.empty_like(logits, dtype=torch.float32).exponential_())

    def prefill(self, slots, prompts, length):
        """Right-padded prompts; what padding leaves in the cache is overwritten before a length reaches it. Returns a token for each."""
        ids = torch.zeros(len(prompts), length, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, :len(prompt)] = torch.tensor(prompt)
        ids, slots = ids.to(DEVICE), torch.tensor(slots, device=DEVICE)
        ends = torch.tensor([row * length + len(prompt) - 1 for row, prompt in enumerate(prompts)], device=DEVICE)
        positions = torch.arange(length, device=DEVICE)

        def attend(_, q, k, v):
            q, k, v = (t.view(len(prompts), length, -1, HEAD_DIM).transpose(1, 2) for t in (q, k, v))
            with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH], set_priority=True):
                return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2)

        places = slots[:, None] * self.max_length + positions
        return self.sample(self.forward(ids.view(-1), positions.repeat(len(prompts)), places.view(-1), attend)[ends])[0]

    def decode(self, tokens, lengths, batch, longest):
        """One step of the first `batch` rows, in place; every cache is shorter than `longest`. Returns log-probabilities."""
        starts = self.starts[:batch + 1]
        places, caches, used = starts[:-1].long() * self.max_length + lengths[:batch], starts * self.max_length, (lengths[:batch] + 1).int()

        def attend(layer, q, _k, _v):
            return torch.ops.aten._flash_attention_forward(q, *self.cache[layer], starts, caches, 1, longest, 0.0, False, False, seqused_k=used)[0]

        chosen, logprob = self.sample(self.forward(tokens[:batch], lengths[:batch], places, attend))
        tokens[:batch] = chosen
        lengths[:batch] += 1
        return logprob


def padded(batch):
    return next((size for size in (2, 4, 8, 16) if batch <= size), -(-batch // 32) * 32)


def plan(jobs):
    """The (batch, longest) of each step: how many still run, and how long their caches are."""
    steps = []
    for step in range(1, jobs[0][1]):
        alive = [len(prompt) for prompt, wanted in jobs if wanted > step]
        steps.append((min(padded(len(alive)), len(jobs)), -(-(max(alive) + step + 1) // LENGTH_ROUND) * LENGTH_ROUND))
    return steps


def prefill_all(model, jobs, tokens, lengths, each_size_once=False):
    order, sizes = sorted(range(len(jobs)), key=lambda slot: len(jobs[slot][0])), set()
    for i in range(0, len(order), PREFILL_BATCH):
        slots = order[i:i + PREFILL_BATCH]
        prompts = [jobs[slot][0] for slot in slots]
        size = len(prompts), -(-len(prompts[-1]) // PREFILL_ROUND) * PREFILL_ROUND
        if not each_size_once or size not in sizes:
            tokens[slots] = model.prefill(slots, prompts, size[1])
        sizes.add(size)
    lengths.copy_(torch.tensor([len(prompt) for prompt, _ in jobs]))


def capture(model, keys, tokens, lengths):
    graphs, pool = {}, None
    for key in sorted(keys, reverse=True):
        model.decode(tokens, lengths, *key)
        graphs[key] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graphs[key], pool=pool):
            model.decode(tokens, lengths, *key)
        pool = graphs[key].pool()
    return graphs


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--eager", action="store_true", help="what lies between products and attention is not compiled")
    args = parser.parse_args()
    if args.eager:
        torch.compiler.set_stance("force_eager")
    jobs = sorted(workload(args.sequences, args.min, args.max), key=lambda job: -job[1])
    steps, length = plan(jobs), -(-(2 * args.max + 1) // LENGTH_ROUND) * LENGTH_ROUND
    model = Model(args.shape, len(jobs), length)
    tokens = torch.zeros(len(jobs), device=DEVICE, dtype=torch.long)
    lengths = torch.zeros_like(tokens)
    prefill_all(model, jobs, tokens, lengths, each_size_once=True)
    graphs = capture(model, set(steps), tokens, lengths)
    synchronize()
    start = time.perf_counter()
    prefill_all(model, jobs, tokens, lengths)
    for key in steps:
        graphs[key].replay()
    synchronize()
    seconds = time.perf_counter() - start
    name = "CUDA graphs in PyTorch" + ("" if args.eager else ", compiled")
    print(json.dumps(line(name, args, sum(wanted for _, wanted in jobs), seconds, graphs=len(graphs), torch=torch.__version__,
                          gpu=gpu_name())))


if __name__ == "__main__":
    main()
