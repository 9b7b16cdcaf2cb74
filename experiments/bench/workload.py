"""The workload of `zerokl rollout --bench`, for rivals in Python: prompts and lengths that random.seed(0) draws."""
from random import randint, seed

DEVICE = "cuda"


def workload(num_sequences, least, most):
    """[(prompt ids, tokens to generate)]; 256 sequences of 100 to 1024 are 133,966 tokens to generate."""
    seed(0)
    prompts = [[randint(0, 10000) for _ in range(randint(least, most))] for _ in range(num_sequences)]
    return [(prompt, randint(least, most)) for prompt in prompts]


LOADS = {"shared": (100, 1024), "1k": (1024, 1024)}  # fewest and most tokens, in and out


def lengths(load):
    """[(tokens in, tokens out)] of its 256 sequences."""
    return [(len(prompt), wanted) for prompt, wanted in workload(256, *LOADS[load])]


SHAPES = {  # of Qwen3: layers, hidden, query heads, KV heads, intermediate, tied embeddings
    "0.6B": (28, 1024, 16, 8, 3072, True),
    "1.7B": (28, 2048, 16, 8, 6144, True),
    "4B": (36, 2560, 32, 8, 9728, True),
    "8B": (36, 4096, 32, 8, 12288, False),
}
HEAD_DIM, VOCAB, ROPE_THETA = 128, 151936, 1e6


def add_arguments(parser):
    parser.add_argument("--shape", choices=SHAPES, default="0.6B")
    parser.add_argument("--sequences", type=int, default=256, help="drawn as the workload draws them")
    parser.add_argument("--min", type=int, default=100)
    parser.add_argument("--max", type=int, default=1024)


def synchronize():
    if DEVICE == "cuda":
        import torch
        torch.cuda.synchronize()


def gpu_name():
    if DEVICE != "cuda":
        return DEVICE
    import torch
    return torch.cuda.get_device_name()


def line(rival, args, tokens, seconds, **more):
    """One object of the rows that generation.sh collects: what was generated, not what a longer run would have been."""
    return {"rival": rival, "shape": args.shape, "sequences": args.sequences, "min": args.min, "max": args.max, "tokens": tokens,
            "seconds": seconds, "tokens_per_s": tokens / seconds, **more}
