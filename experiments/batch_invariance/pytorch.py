"""PyTorch's operations in bf16 on a GPU, each on rows alone and on the same rows in a batch: one JSON object a line, as tests/tools/row_alone.c has them.

Without PyTorch or a GPU: exit code 3.
"""
import json
import sys

try:
    import torch
except ImportError:
    sys.exit(3)
if not torch.cuda.is_available():
    sys.exit(3)
from torch.nn.functional import linear, log_softmax, rms_norm, scaled_dot_product_attention

BATCHES, LENGTHS, ALONE, VOCAB = (2, 3, 8, 17, 64, 256, 1024, 4096), (576, 1024, 4096, 12288), 8, 32768
HEADS, KV_HEADS, HEAD_DIM = 8, 2, 64


def random(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def compare(operation, run, most_rows, length):
    """run(first, rows): the results of rows [first, first + rows), one row a leading index."""
    alone = [run(row, 1) for row in range(ALONE)]
    for rows in (rows for rows in BATCHES if rows <= most_rows):
        batch, compared = run(0, rows), min(rows, ALONE)
        differing = sum(int((batch[row] != alone[row][0]).sum()) for row in range(compared))
        print(json.dumps({"operation": operation, "numerics": "pytorch", "rows": rows, "length": length, "elements": compared * batch[0].numel(), "differing": differing,
                          "version": torch.__version__}))


@torch.no_grad()
def main():
    torch.manual_seed(0)
    for k in LENGTHS:
        x, gain, weight = random(4096, k), random(k), random(min(k, 4096), k)
        compare("RMSNorm", lambda i, n: rms_norm(x[i:i + n], (k,), gain, 1e-5), 4096, k)
        compare("matrix product", lambda i, n: linear(x[i:i + n], weight), 4096, k)
        q, keys, values = random(256, HEADS, 1, HEAD_DIM), random(1, KV_HEADS, k, HEAD_DIM), random(1, KV_HEADS, k, HEAD_DIM)
        attend = lambda i, n: scaled_dot_product_attention(q[i:i + n], keys.expand(n, -1, -1, -1), values.expand(n, -1, -1, -1), enable_gqa=True)
        compare("decoding attention", attend, 256, k)
        if k <= 4096:
            head, target = random(VOCAB, k), torch.randint(VOCAB, (1024, 1), device="cuda")
            compare("LM head", lambda i, n: log_softmax(linear(x[i:i + n], head).float(), -1).gather(1, target[i:i + n]), 1024, k)


main()
