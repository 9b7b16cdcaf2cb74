#!/usr/bin/env python3
"""Offline generation with a decode step built by hand in PyTorch: cuBLAS products with q, k, v and gate, up fused, a static cache, CUDA graphs.

Sequences are sorted by the tokens they want, longest first, so that those still running are always the first rows of the cache; a graph is
captured for each size of batch (multiples of 32, and a few small ones) and each length of cache (multiples of 256), before the clock starts.
Attention is flash_attn_with_kvcache where flash_attn is installed, else SDPA over the cache with a mask. Gumbel-max sampling on the device, no
host synchronisation in the loop. One JSON object on standard output.
"""
import argparse
import json
import time

import torch
import torch.nn.functional as F

from workload import HEAD_DIM, ROPE_THETA, SHAPES, VOCAB, add_arguments, line, workload

try:
    from flash_attn import flash_attn_with_kvcache
except ImportError:
    flash_attn_with_kvcache = None


class Model:
    def __init__(self, shape, max_batch, max_length):
        self.layers, self.hidden, self.heads, self.kv_heads, self.inner, tied = SHAPES[shape]
        def weight(*size):
            return torch.empty(*size, device="cuda", dtype=torch.bfloat16).normal_(0, 0.03)
        self.embed = weight(VOCAB, self.hidden)
        self.head = self.embed if tied else weight(VOCAB, self.hidden)
        rows = (self.heads + 2 * self.kv_heads) * HEAD_DIM
        self.weights = [(weight(rows, self.hidden), weight(self.hidden, self.heads * HEAD_DIM), weight(2 * self.inner, self.hidden),
                         weight(self.hidden, self.inner)) for _ in range(self.layers)]
        self.norm = torch.ones(self.hidden, device="cuda", dtype=torch.bfloat16)
        self.head_norm = torch.ones(HEAD_DIM, device="cuda", dtype=torch.bfloat16)
        angle = torch.arange(max_length, device="cuda")[:, None] * ROPE_THETA ** (-torch.arange(0, HEAD_DIM, 2, device="cuda") / HEAD_DIM)
        self.cos, self.sin = (f(torch.cat((angle, angle), 1)).to(torch.bfloat16) for f in (torch.cos, torch.sin))
        self.cache = torch.zeros(self.layers, 2, max_batch, max_length, self.kv_heads, HEAD_DIM, device="cuda", dtype=torch.bfloat16)

    def rms(self, x, w):
        return F.rms_norm(x, x.shape[-1:], w, 1e-6)

    def rope(self, x, positions):
        cos, sin = self.cos[positions].unsqueeze(-2), self.sin[positions].unsqueeze(-2)
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat((-b, a), -1) * sin

    def forward(self, tokens, positions, attend):
        """tokens, positions: [batch, rows]; attend(layer, q, k, v) writes the cache and reads it. Returns the last row's hidden state."""
        x = self.embed[tokens]
        batch, rows = tokens.shape
        for layer, (qkv, o, gate_up, down) in enumerate(self.weights):
            y = F.linear(self.rms(x, self.norm), qkv).view(batch, rows, -1, HEAD_DIM)
            q, k, v = y.split((self.heads, self.kv_heads, self.kv_heads), 2)
            q, k = self.rope(self.rms(q, self.head_norm), positions), self.rope(self.rms(k, self.head_norm), positions)
            x = x + F.linear(attend(layer, q, k, v).reshape(batch, rows, -1), o)
            gate, up = F.linear(self.rms(x, self.norm), gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, down)
        return self.rms(x[:, -1], self.norm)

    def sample(self, hidden):
        logits = F.linear(hidden, self.head).float()
        chosen = (logits - torch.empty_like(logits).exponential_().log()).argmax(-1)
        return chosen, logits.log_softmax(-1).gather(-1, chosen[:, None])

    def prefill(self, slot, prompt):
        n = len(prompt)
        def attend(layer, q, k, v):
            self.cache[layer, 0, slot, :n], self.cache[layer, 1, slot, :n] = k[0], v[0]
            q, k, v = (t.transpose(1, 2) for t in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2)
        tokens = torch.tensor([prompt], device="cuda")
        return self.sample(self.forward(tokens, torch.arange(n, device="cuda")[None], attend))[0]

    def decode(self, tokens, lengths, batch, longest):
        """One step of the first `batch` rows, in place; every cache is shorter than `longest`."""
        rows = torch.arange(batch, device="cuda")
        seen = torch.arange(longest, device="cuda")[None] <= lengths[:batch, None]
        def attend(layer, q, k, v):
            cache_k, cache_v = self.cache[layer, 0, :batch, :longest], self.cache[layer, 1, :batch, :longest]
            if flash_attn_with_kvcache:
                return flash_attn_with_kvcache(q, cache_k, cache_v, k, v, cache_seqlens=lengths[:batch].int(), causal=True)
            cache_k[rows, lengths[:batch]], cache_v[rows, lengths[:batch]] = k[:, 0], v[:, 0]
            return F.scaled_dot_product_attention(q.transpose(1, 2), cache_k.transpose(1, 2), cache_v.transpose(1, 2), attn_mask=seen[:, None, None],
                                                  enable_gqa=True).transpose(1, 2)
        chosen, logprob = self.sample(self.forward(tokens[:batch, None], lengths[:batch, None], attend))
        tokens[:batch] = chosen
        lengths[:batch] += 1
        return logprob


def padded(batch):
    return batch if batch <= 2 else next((size for size in (4, 8, 16) if batch <= size), -(-batch // 32) * 32)


def plan(jobs):
    """The (batch, longest) of each step: how many still run, and how long their caches are."""
    steps = []
    for step in range(1, jobs[0][1]):
        alive = [len(prompt) for prompt, wanted in jobs if wanted > step]
        steps.append((min(padded(len(alive)), len(jobs)), -(-(max(alive) + step + 1) // 256) * 256))
    return steps


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    args = parser.parse_args()
    jobs = sorted(workload(args.sequences, args.min, args.max), key=lambda job: -job[1])
    steps, length = plan(jobs), -(-(2 * args.max + 1) // 256) * 256
    model = Model(args.shape, len(jobs), length)
    tokens = torch.zeros(len(jobs), device="cuda", dtype=torch.long)
    lengths = torch.zeros_like(tokens)
    graphs, pool = {}, None
    for key in sorted(set(steps), reverse=True):
        model.decode(tokens, lengths, *key)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            model.decode(tokens, lengths, *key)
        graphs[key], pool = graph, graph.pool()
        lengths.zero_()
    model.prefill(0, jobs[0][0])
    torch.cuda.synchronize()
    start = time.perf_counter()
    for slot, (prompt, _) in enumerate(jobs):
        tokens[slot] = model.prefill(slot, prompt)[0]
        lengths[slot] = len(prompt)
    for key in steps:
        graphs[key].replay()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    attention = "flash_attn" if flash_attn_with_kvcache else "SDPA"
    print(json.dumps(line("CUDA graphs in PyTorch", args, sum(wanted for _, wanted in jobs), seconds, attention=attention, graphs=len(graphs),
                          torch=torch.__version__, gpu=torch.cuda.get_device_name())))


if __name__ == "__main__":
    main()
