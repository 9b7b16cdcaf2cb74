"""Compares a model folder with transformers.

    python check.py model MODEL_DIR --gguf FILE --expected DIR [--write]
        the converted folder: weights and token ids against transformers' own GGUF reader and against a second tokenizer, chat template,
        greedy texts; then all of it against expected/*.json, or writes those files (--write)
    python check.py greedy RUN_DIR MODEL_DIR
        the completions in RUN_DIR/trajectories/step_000001.h5, which `zerokl rollout` sampled greedily, against transformers in float32
"""
import argparse
import json
import pathlib
import sys

import gguf_tokenizer

# [(question, a word that every sound answer has)]
QUESTIONS = [(row["prompt"], row["label"]) for row in map(json.loads, (pathlib.Path(__file__).parent / "questions.jsonl").open())]
SCORED_TEXTS = [
    "The quick brown fox jumps over the lazy dog. 12 + 34 = 46, and 7 * 8 = 56.",
    "<|im_start|>user\nWhat is 12+34?<|im_end|>\n<|im_start|>assistant\n46<|im_end|>\n",
    "def reverse(text):\n    return text[::-1]\n\n\nprint(reverse('r\u00e9sum\u00e9 \U0001f642'))\n",
]
MAX_NEW_TOKENS = 32


def require(condition, message):
    if not condition:
        sys.exit(f"check.py: {message}")


def load(model_dir):
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(2)
    model = transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    return torch, model.eval(), transformers.AutoTokenizer.from_pretrained(model_dir)


def log_probs(torch, model, tokens):
    """Log-probability of each token from the second on, at temperature 1, in the model's precision."""
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0, :-1]
        return torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0].tolist()


def greedy(torch, model, prompt, max_new_tokens, stop):
    """Token ids, the end token included, and the least distance between the best and the second-best logit on the way."""
    tokens, margin = [], float("inf")
    with torch.no_grad():
        out = model(torch.tensor([prompt]), use_cache=True)
        while len(tokens) < max_new_tokens and stop not in tokens:
            best, second = torch.topk(out.logits[0, -1], 2).values.tolist()
            margin = min(margin, best - second)
            tokens.append(int(out.logits[0, -1].argmax()))
            out = model(torch.tensor([tokens[-1:]]), past_key_values=out.past_key_values, use_cache=True)
    return tokens, margin


def check_weights(torch, model, gguf_path):
    import transformers
    path = pathlib.Path(gguf_path)
    reference = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).state_dict()
    ours = model.state_dict()
    require(set(ours) == set(reference), f"tensors differ in name: {sorted(set(ours) ^ set(reference))[:4]}")
    for name, values in ours.items():
        require(torch.equal(values, reference[name]), f"{name} differs from transformers' GGUF reader")
    return len(ours)


def check_tokenizer(tokenizer, model_dir, gguf_path):
    """Ids against transformers' GGUF reader. It leaves the Digits step out, so digits behind a space or more are left to the
    second, plain implementation in gguf_tokenizer, which reads varied text with everything in it."""
    import transformers
    path = pathlib.Path(gguf_path)
    reference = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    texts = [q for q, _ in QUESTIONS] + SCORED_TEXTS + ["  two  spaces\n\n\nlines\t", "na\u00efve \u4f60\u597d \U0001f468\u200d\U0001f469\u200d\U0001f467", "<|im_start|><|endoftext|>"]
    for text in texts:
        require(tokenizer.encode(text) == reference.encode(text), f"token ids differ for {text!r}")
    return len(texts) + gguf_tokenizer.check(model_dir)


def describe_model(torch, model, tokenizer):
    """What the model says, as the contents of expected/greedy.json and expected/score.json."""
    said, scored = [], []
    for question, word in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        prompt = tokenizer.encode(text, add_special_tokens=False)
        tokens, margin = greedy(torch, model, prompt, MAX_NEW_TOKENS, tokenizer.eos_token_id)
        answer = tokenizer.decode(tokens, skip_special_tokens=True)
        require(word in answer, f"{question!r} is answered {answer!r}, without {word!r}: the weights are in the wrong places")
        said.append({"prompt": question, "prompt_text": text, "prompt_tokens": prompt, "tokens": tokens, "text": answer, "least_margin": margin})
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in SCORED_TEXTS]
    single = [log_probs(torch, model, tokens) for tokens in ids]
    double_model = model.double()
    double = [log_probs(torch, double_model, tokens) for tokens in ids]
    for text, tokens, low, high in zip(SCORED_TEXTS, ids, single, double):
        scored.append({"text": text, "tokens": tokens, "logprob": low, "logprob_float64": high})
    return {"greedy.json": said, "score.json": scored}


def same(got, want):
    if isinstance(want, float):
        return abs(got - want) <= 1e-4 * max(1.0, abs(want))
    if isinstance(want, list):
        return len(got) == len(want) and all(map(same, got, want))
    if isinstance(want, dict):
        return got.keys() == want.keys() and all(same(got[k], want[k]) for k in want)
    return got == want


def check_model(args):
    torch, model, tokenizer = load(args.model)
    print(f"{check_weights(torch, model, args.gguf)} tensors equal transformers' own GGUF reader, bit for bit")
    print(f"{check_tokenizer(tokenizer, args.model, args.gguf)} texts have the reference's token ids")
    for name, content in describe_model(torch, model, tokenizer).items():
        path = pathlib.Path(args.expected) / name
        if args.write:
            path.parent.mkdir(exist_ok=True)
            path.write_text("[\n" + ",\n".join(json.dumps(row) for row in content) + "\n]\n", encoding="utf-8")
        require(same(content, json.loads(path.read_text(encoding="utf-8"))), f"{path} says something else")
        print(f"{name}: {len(content)} as expected")


def check_greedy(args):
    import h5py
    torch, model, tokenizer = load(args.model)
    with h5py.File(pathlib.Path(args.run) / "trajectories" / "step_000001.h5") as file:
        prompt_at, prompts = file["prompt/offsets"][:], file["prompt/tokens"][:]
        sample_at, samples, owner = file["sample/offsets"][:], file["sample/tokens"][:], file["sample/prompt_index"][:]
    for i, prompt_idx in enumerate(owner):
        prompt = prompts[prompt_at[prompt_idx]:prompt_at[prompt_idx + 1]].tolist()
        got = samples[sample_at[i]:sample_at[i + 1]].tolist()
        want, margin = greedy(torch, model, prompt, len(got), tokenizer.eos_token_id)
        texts = [tokenizer.decode(t, skip_special_tokens=True) for t in (got, want)]
        require(got == want, f"sample {i}: {texts[0]!r}, but transformers says {texts[1]!r} (least margin {margin:.2g})")
        print(f"same as transformers: {texts[0]!r}")
    require(len(owner) > 0, "the run has no samples")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    model = commands.add_parser("model")
    model.add_argument("model")
    model.add_argument("--gguf", required=True)
    model.add_argument("--expected", required=True)
    model.add_argument("--write", action="store_true")
    model.set_defaults(run_command=check_model)
    run = commands.add_parser("greedy")
    run.add_argument("run")
    run.add_argument("model")
    run.set_defaults(run_command=check_greedy)
    args = parser.parse_args()
    args.run_command(args)


if __name__ == "__main__":
    main()
