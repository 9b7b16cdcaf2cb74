#!/usr/bin/env python3
"""A training step of Qwen3's shapes in PyTorch, as fast as its users make it: torch.compile of a layer and of head and loss, cuDNN's attention, fused AdamW.

What `zerokl bench train` does in a step: forward, a policy's loss of every token, backward, global norm and clipping, AdamW. bf16 weights and products, fp32 master
weights and moments, fp32 sums over microbatches where there are several, no recomputation; q, k, v and gate, up are one product each; the logits are stored. One
function is compiled for all layers, so that compiling takes seconds and not minutes. Random weights and tokens. One JSON object a shape on standard output.
"""
import argparse
import json
import math
import statistics
import time

import torch
import torch.nn.functional as F

from workload import DEVICE, HEAD_DIM, ROPE_THETA, SHAPES, VOCAB, gpu_name

PEAK_FLOPS = 989e12
BACKENDS = ("cudnn", "flash")


def flops(shape, sequences, length):
    """Of a step: 6 for each weight of a product and token (the head's too, the embedding's look-up not), 12 for each layer, query width and pair of tokens."""
    layers, hidden, heads, kv_heads, inner, _ = SHAPES[shape]
    weights = layers * hidden * (HEAD_DIM * (2 * heads + 2 * kv_heads) + 3 * inner) + hidden * VOCAB
    return sequences * length * (6 * weights + 12 * layers * heads * HEAD_DIM * length / 2)


def only_backend(name):
    """Attention by this backend or not at all."""
    cuda = torch.backends.cuda
    cuda.enable_cudnn_sdp(name == "cudnn"), cuda.enable_flash_sdp(name == "flash"), cuda.enable_mem_efficient_sdp(False), cuda.enable_math_sdp(DEVICE != "cuda")


def norm(x, weight):
    return F.rms_norm(x, x.shape[-1:], weight, 1e-6)


def rotate(x, cos, sin):
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


@torch.compile(dynamic=False)
def layer(x, cos, sin, heads, kv_heads, norm1, qkv_weight, q_norm, k_norm, o_weight, norm2, gate_up_weight, down_weight):
    batch, length, _ = x.shape
    qkv = F.linear(norm(x, norm1), qkv_weight).view(batch, length, heads + 2 * kv_heads, HEAD_DIM)
    q, k, v = qkv.split((heads, kv_heads, kv_heads), 2)
    q, k = rotate(norm(q, q_norm), cos, sin), rotate(norm(k, k_norm), cos, sin)
    a = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, enable_gqa=True)
    x = x + F.linear(a.transpose(1, 2).reshape(batch, length, heads * HEAD_DIM), o_weight)
    gate, up = F.linear(norm(x, norm2), gate_up_weight).chunk(2, -1)
    return x + F.linear(F.silu(gate) * up, down_weight)


@torch.compile(dynamic=False)
def head_and_loss(x, final_norm, head, targets, sampler_logprob, advantage):
    """The sum over targets of -ratio x advantage; logits in bf16, their softmax in fp32."""
    logits = F.linear(norm(x, final_norm).flatten(0, 1), head)
    logprob = -F.cross_entropy(logits.float(), targets.flatten(), reduction="none")
    return -(torch.exp(logprob - sampler_logprob.flatten()) * advantage.flatten()).sum()


class Trainer:
    def __init__(self, shape, sequences, length, microbatch):
        self.layers, hidden, self.heads, self.kv_heads, inner, tied = SHAPES[shape]
        self.batch, self.microbatch = sequences, microbatch
        self.weights = []
        one_layer = ((hidden,), ((self.heads + 2 * self.kv_heads) * HEAD_DIM, hidden), (HEAD_DIM,), (HEAD_DIM,), (hidden, self.heads * HEAD_DIM), (hidden,),
                     (2 * inner, hidden), (hidden, inner))
        self.blocks = [[self.weight(*size) for size in one_layer] for _ in range(self.layers)]
        self.final_norm, self.embed = self.weight(hidden), self.weight(VOCAB, hidden)
        self.head = self.embed if tied else self.weight(VOCAB, hidden)
        self.master = [w.detach().float() for w in self.weights]
        for m in self.master:
            m.grad = torch.zeros_like(m)
        self.optimizer = torch.optim.AdamW(self.master, lr=1e-6, betas=(0.9, 0.95), weight_decay=0.01, fused=DEVICE == "cuda")
        angle = torch.arange(length, device=DEVICE)[:, None] * ROPE_THETA ** (-torch.arange(0, HEAD_DIM, 2, device=DEVICE) / HEAD_DIM)
        self.cos, self.sin = angle.cos()[:, None], angle.sin()[:, None]
        self.tokens = torch.randint(VOCAB, (sequences, length + 1), device=DEVICE)
        self.sampler_logprob = torch.full((sequences, length), -math.log(VOCAB), device=DEVICE)
        self.advantage = torch.ones(sequences, length, device=DEVICE)

    def weight(self, *size):
        w = torch.ones(size, device=DEVICE, dtype=torch.bfloat16) if len(size) == 1 else torch.randn(size, device=DEVICE, dtype=torch.bfloat16) * 0.02
        self.weights.append(w.requires_grad_())
        return w

    def forward_backward(self):
        """Gradients of the mean loss over all tokens, added up in fp32 in master.grad."""
        masters = [m.grad for m in self.master]
        for first in range(0, self.batch, self.microbatch):
            tokens = self.tokens[first : first + self.microbatch]
            x = F.embedding(tokens[:, :-1], self.embed)
            for block in self.blocks:
                x = layer(x, self.cos, self.sin, self.heads, self.kv_heads, *block)
            sampled = self.sampler_logprob[first : first + self.microbatch], self.advantage[first : first + self.microbatch]
            loss = head_and_loss(x, self.final_norm, self.head, tokens[:, 1:], *sampled) / (self.tokens.numel() - self.batch)
            loss.backward()
            grads = [w.grad for w in self.weights]
            torch._foreach_copy_(masters, grads) if first == 0 else torch._foreach_add_(masters, grads)
            for w in self.weights:
                w.grad = None
        return loss

    def update(self):
        torch.nn.utils.clip_grad_norm_(self.master, 1.0, foreach=True)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(self.weights, self.master)

    def step(self):
        loss = self.forward_backward()
        self.update()
        return loss


def median_s(run, repeats):
    times = []
    for _ in range(repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop) * 1e-3)
    return statistics.median(times)


def open_trainer(shape, sequences, length, microbatch):
    """With the first backend that takes the shape, compiled and warm: it, the backend, seconds of compilation."""
    for backend in BACKENDS:
        torch._dynamo.reset()
        only_backend(backend)
        begun = time.monotonic()
        try:
            trainer = Trainer(shape, sequences, length, microbatch)
            for _ in range(3):
                trainer.step().item()
            return trainer, backend, time.monotonic() - begun
        except RuntimeError as error:
            if backend == BACKENDS[-1] or isinstance(error, torch.OutOfMemoryError):
                raise
            print(f"{shape}, {backend}: {str(error).splitlines()[0]}", flush=True)


def measure(shape, args):
    torch.cuda.reset_peak_memory_stats()
    trainer, backend, compiling = open_trainer(shape, args.sequences, args.length, args.microbatch or args.sequences)
    step = median_s(trainer.step, args.repeats)
    both = median_s(trainer.forward_backward, args.repeats)
    tokens = args.sequences * args.length
    return {"rival": "PyTorch", "torch": torch.__version__, "gpu": gpu_name(), "shape": shape, "attention": backend, "sequences": args.sequences, "length": args.length,
            "microbatch": trainer.microbatch, "step_us": step * 1e6, "forward_backward_us": both * 1e6, "tokens_per_s": tokens / step,
            "mfu": flops(shape, args.sequences, args.length) / step / PEAK_FLOPS, "memory_peak_bytes": torch.cuda.max_memory_allocated(), "compile_s": compiling}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="0.6B", help="of " + ", ".join(SHAPES) + ", with commas between")
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--length", type=int, default=4096, help="tokens of a sequence")
    parser.add_argument("--microbatch", type=int, default=0, help="sequences in one forward and backward pass (default: all)")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    for shape in args.shapes.split(","):
        print(json.dumps(measure(shape, args)), flush=True)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
