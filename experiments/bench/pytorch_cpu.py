"""The rival of `zerokl bench model`'s training step: PyTorch eager on the CPU, float32, the same model, tokens and threads.

    python pytorch_cpu.py [--threads N] [--steps N] [--json FILE]

With one thread the time is that thread's on the CPU, as in `zerokl bench`, so that a busy machine does not lengthen it; else it is wall time.
A step is forward, mean cross-entropy of every token but the first, backward, clipping to global norm 1, AdamW. A plain Llama written with
torch's own operations (scaled_dot_product_attention, fused AdamW), so that no library around it costs time. Least time of all steps.
"""
import argparse
import json
import os
import time

import torch
import torch.nn.functional as F

LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, INNER, VOCAB = 30, 576, 9, 3, 64, 1536, 49152
SEQUENCES, LENGTH = 4, 256


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        linear = lambda i, o: torch.nn.Linear(i, o, bias=False)
        self.norm1, self.norm2 = torch.nn.RMSNorm(HIDDEN, 1e-5), torch.nn.RMSNorm(HIDDEN, 1e-5)
        self.q, self.k, self.v = linear(HIDDEN, HEADS * HEAD_DIM), linear(HIDDEN, KV_HEADS * HEAD_DIM), linear(HIDDEN, KV_HEADS * HEAD_DIM)
        self.o = linear(HEADS * HEAD_DIM, HIDDEN)
        self.gate, self.up, self.down = linear(HIDDEN, INNER), linear(HIDDEN, INNER), linear(INNER, HIDDEN)

    def forward(self, x, cos, sin):
        def heads(y, n):
            return y.view(SEQUENCES, LENGTH, n, HEAD_DIM).transpose(1, 2)

        def rope(y):
            a, b = y.chunk(2, -1)
            return y * cos + torch.cat((-b, a), -1) * sin

        h = self.norm1(x)
        q, k, v = rope(heads(self.q(h), HEADS)), rope(heads(self.k(h), KV_HEADS)), heads(self.v(h), KV_HEADS)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(SEQUENCES, LENGTH, HIDDEN))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(VOCAB, HIDDEN)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = torch.nn.RMSNorm(HIDDEN, 1e-5)

    def forward(self, tokens):
        angle = torch.arange(LENGTH)[:, None] * 100000.0 ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        cos, sin = torch.cat((angle, angle), -1).cos(), torch.cat((angle, angle), -1).sin()
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return F.linear(self.norm(x), self.embed.weight)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))))
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = Llama()
    for p in model.parameters():
        torch.nn.init.uniform_(p.data, -0.03, 0.03)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    tokens = (torch.arange(SEQUENCES * LENGTH) * 7919 % VOCAB).view(SEQUENCES, LENGTH)
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    least = float("inf")
    for i in range(args.steps + 1):
        start = clock()
        logits = model(tokens)[:, :-1]
        loss = F.cross_entropy(logits.reshape(-1, VOCAB), tokens[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if i:  # the first makes the optimiser's state
            least = min(least, clock() - start)
    rate = SEQUENCES * LENGTH / least
    row = {"operation": "train 135M f32", "shape": f"step {SEQUENCES} x {LENGTH}", "us": least * 1e6, "rate": rate, "unit": "tok/s",
           "rival": f"PyTorch {torch.__version__}", "threads": args.threads}
    print(f"{row['operation']:22} {row['shape']:24} {row['us']:12.1f} {rate:8.1f} tok/s   {row['rival']}, {args.threads} threads, loss {loss.item():.3f}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(row, f)


if __name__ == "__main__":
    main()
