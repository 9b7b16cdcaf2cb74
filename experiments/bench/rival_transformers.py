#!/usr/bin/env python3
"""Offline generation with transformers: a static cache and a compiled decode step, random weights, sampling at temperature 1.

Sequences are sorted by the tokens they want and generated in left-padded batches that share one cache; a batch runs until its longest is done, and
only tokens that were asked for count. A few tokens of the first batch are generated before the clock starts, so that compiling is not measured.
`--sequences` makes it shorter: its attention copies the whole cache once for each query head of a group, in every layer of every step.
One JSON object on standard output.
"""
import argparse
import json
import time

import torch
import transformers
from transformers import Qwen3Config, Qwen3ForCausalLM, StaticCache

from workload import DEVICE, HEAD_DIM, ROPE_THETA, SHAPES, VOCAB, add_arguments, gpu_name, line, synchronize, workload

WARM_TOKENS = 8  # compiled at the second, recorded as a graph at the third


def build(shape):
    layers, hidden, heads, kv_heads, intermediate, tied = SHAPES[shape]
    config = Qwen3Config(vocab_size=VOCAB, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers, num_attention_heads=heads,
                         num_key_value_heads=kv_heads, head_dim=HEAD_DIM, rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
                         tie_word_embeddings=tied, max_position_embeddings=8192, bos_token_id=None, eos_token_id=None, pad_token_id=0,
                         dtype=torch.bfloat16)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(DEVICE):
        return Qwen3ForCausalLM(config).eval()


def pad(prompts, length):
    ids = torch.zeros(len(prompts), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt):] = torch.tensor(prompt)
        mask[row, length - len(prompt):] = 1
    return ids.to(DEVICE), mask.to(DEVICE)


@torch.inference_mode()
def generate(model, cache, batch, longest_prompt, most):
    ids, mask = pad([prompt for prompt, _ in batch], longest_prompt)
    cache.reset()
    out = model.generate(ids, attention_mask=mask, past_key_values=cache, max_new_tokens=most, min_new_tokens=most, do_sample=True, temperature=1.0,
                         top_k=0, top_p=1.0)
    assert out.shape == (len(batch), longest_prompt + most)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--batch", type=int, default=256)
    args = parser.parse_args()
    jobs = sorted(workload(args.sequences, args.min, args.max), key=lambda job: -job[1])
    batches = [jobs[i:i + args.batch] for i in range(0, len(jobs), args.batch)]
    model = build(args.shape)
    cache = StaticCache(config=model.config, max_cache_len=2 * args.max)
    generate(model, cache, batches[0], args.max, min(WARM_TOKENS, args.max))
    synchronize()
    start = time.perf_counter()
    for batch in batches:
        generate(model, cache, batch, args.max, batch[0][1])
    synchronize()
    seconds = time.perf_counter() - start
    tokens = sum(wanted for _, wanted in jobs)
    print(json.dumps(line("transformers static cache, compiled", args, tokens, seconds, batch=args.batch, torch=torch.__version__,
                          transformers=transformers.__version__, gpu=gpu_name())))


if __name__ == "__main__":
    main()
