"""How far each bf16 operation is from float64, beside PyTorch's own bf16 on the same device.

precision.py OPERATE cuda|cpu real|small     OPERATE is the program of that name; exit code 1 when one of zerokl's operations is further from
float64 than PyTorch's is. Distance: |out - exact| / |exact|, over all outputs; both sides round the same number of outputs, so a tie may fall
either way by the noise of that many roundings: 1%. Each row is shown to be able to fail: without the last bit of its outputs it must.

PyTorch's side is what a model on it runs: F.linear, F.rms_norm, transformers' RoPE and SwiGLU in bf16, scaled_dot_product_attention as it
chooses, bf16 logits and their log_softmax in float32.
"""
import subprocess
import sys

import numpy as np
import torch
import torch.nn.functional as F

OPERATE, DEVICE, SIZE = sys.argv[1:]
SLACK = 1.01
REAL = dict(linear=(512, 4096, 4096), rmsnorm=(2048, 4096), rope=(2048, 32, 128), attention=(2048, 32, 8, 128), swiglu=(1 << 22,),
            lmhead=(512, 2048, 32768))
SMALL = dict(linear=(33, 300, 64), rmsnorm=(64, 576), rope=(64, 3, 64), attention=(200, 4, 2, 64), swiglu=(1 << 16,), lmhead=(40, 128, 1000))


def write(name, tensor):
    raw = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
    raw.cpu().numpy().tofile(f"{name}.bin")


def read(name, shape, dtype=torch.bfloat16):
    raw = torch.from_numpy(np.fromfile(f"{name}.bin", dtype=np.int16 if dtype == torch.bfloat16 else np.float32))
    return raw.view(dtype).reshape(shape).to(DEVICE)


def draw(seed, *shape, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * scale).to(torch.bfloat16).to(DEVICE)


def linear(rows, in_features, out_features):
    x, weight = draw(1, rows, in_features), draw(2, out_features, in_features, scale=in_features ** -0.5)
    return dict(x=x, weight=weight), F.linear, "y"


def rmsnorm(rows, width):
    x, weight = draw(1, rows, width), (1 + draw(2, width, scale=0.2).float()).to(torch.bfloat16)
    return dict(x=x, weight=weight), lambda x, weight: F.rms_norm(x, (width,), weight, 1e-6), "y"


def rope(rows, heads, dim):
    def turn(x):
        frequency = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=DEVICE) / dim)
        # The angle is a float32 in every implementation: the position times the rounded frequency.
        angle = torch.arange(rows, dtype=torch.float32, device=DEVICE)[:, None] * frequency.float()[None]
        angle = torch.cat([angle, angle], -1).to(torch.float64)[:, None]
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        turned = torch.cat([-x[..., dim // 2:], x[..., :dim // 2]], -1)
        return x * cos + turned * sin
    return dict(x=draw(1, rows, heads, dim)), turn, "y"


def attention(rows, heads, kv_heads, dim):
    def attend(q, k, v):
        q, k, v = (t.transpose(0, 1)[None] for t in (q, k, v))
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)[0].transpose(0, 1)
    return dict(q=draw(1, rows, heads, dim), k=draw(2, rows, kv_heads, dim), v=draw(3, rows, kv_heads, dim)), attend, "out"


def swiglu(n):
    return dict(gate=draw(1, n), up=draw(2, n)), lambda gate, up: F.silu(gate) * up, "out"


def lmhead(rows, hidden, vocab):
    target = torch.randint(vocab, (rows,), generator=torch.Generator().manual_seed(3)).to(torch.int32).to(DEVICE)

    def logprob(x, weight, target):
        logits = F.linear(x, weight)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return torch.log_softmax(logits, -1).gather(1, target[:, None].long())[:, 0]
    return dict(x=draw(1, rows, hidden), weight=draw(2, vocab, hidden, scale=2 * hidden ** -0.5), target=target), logprob, "logprob"


def distance(out, exact):
    return ((out.double() - exact).norm() / exact.norm()).item()


def without_last_bit(out):
    integers = torch.int16 if out.dtype == torch.bfloat16 else torch.int32
    bits = 1 if out.dtype == torch.bfloat16 else 17   # of an f32 output, what bf16 would not keep either
    return (out.view(integers) >> bits << bits).view(out.dtype)


def main():
    print(f"{'operation':10} {'sizes':22} {'zerokl':>10} {'PyTorch':>10} {'control':>10}")
    bad = 0
    for make in (linear, rmsnorm, rope, attention, swiglu, lmhead):
        sizes = (REAL if SIZE == "real" else SMALL)[make.__name__]
        inputs, compute, result = make(*sizes)
        for name, tensor in inputs.items():
            write(name, tensor)
        subprocess.run([OPERATE, DEVICE, make.__name__, *map(str, sizes)], check=True)
        exact = compute(*(t.double() if t.is_floating_point() else t for t in inputs.values()))
        theirs = compute(*inputs.values())
        ours = read(result, exact.shape, torch.float32 if result == "logprob" else torch.bfloat16)
        errors = [distance(out, exact) for out in (ours, theirs, without_last_bit(ours))]
        good = errors[0] <= errors[1] * SLACK < errors[2]
        bad += not good
        print(f"{make.__name__:10} {'x'.join(map(str, sizes)):22} {errors[0]:10.3e} {errors[1]:10.3e} {errors[2]:10.3e}{'' if good else '  FAILED'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
