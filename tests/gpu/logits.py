"""Log-probabilities of random models of real widths: what transformers computes, and whether zerokl's are as good.

logits.py make MODEL cuda|cpu real|small    writes the folder MODEL: a Hugging Face model with bf16 weights, in.jsonl (random tokens), f32.npy and
                                            bf16.npy (transformers' log-probabilities of each token but the first)
logits.py compare MODEL                     reads MODEL/f32.jsonl and MODEL/bf16.jsonl (what `zerokl score` printed); exit code 1 when
  f32   is more than 1e-4 away from transformers' float32 anywhere: two orders of summation over thousands of terms, a hundred times f32's epsilon
        at log-probabilities near -10
  bf16  is further from transformers' float32 than transformers' own bf16 is, by mean or by root mean square
"""
import json
import pathlib
import sys

import numpy as np

SEQUENCES, LENGTH = 8, 512
# The widths of Llama 3.2 1B, Qwen2.5 0.5B and Qwen3 0.6B, with four layers.
REAL = {
    "llama": dict(hidden_size=2048, num_attention_heads=32, num_key_value_heads=8, head_dim=64, intermediate_size=8192, vocab_size=128256),
    "qwen2": dict(hidden_size=896, num_attention_heads=14, num_key_value_heads=2, intermediate_size=4864, vocab_size=151936),
    "qwen3": dict(hidden_size=1024, num_attention_heads=16, num_key_value_heads=8, head_dim=128, intermediate_size=3072, vocab_size=151936),
}
SMALL = dict(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96, vocab_size=300)


def build(name, size):
    import torch
    import transformers
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM
    config_class, model_class = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM),
                                 "qwen3": (Qwen3Config, Qwen3ForCausalLM)}[name]
    widths = REAL[name] if size == "real" else dict(SMALL, **({"head_dim": 16} if name != "qwen2" else {}))
    theta = 1e6
    rope = dict(rope_parameters=dict(rope_type="default", rope_theta=theta)) if int(transformers.__version__.split(".")[0]) >= 5 else dict(rope_theta=theta)
    config = config_class(**widths, **rope, num_hidden_layers=4 if size == "real" else 2, tie_word_embeddings=name != "llama",
                          max_position_embeddings=1024, rms_norm_eps=1e-6, hidden_act="silu", bos_token_id=0, eos_token_id=1)
    torch.manual_seed(11)
    model = model_class(config)
    with torch.no_grad():
        for parameter_name, p in model.named_parameters():   # logits of order 1
            if parameter_name.endswith("norm.weight"):
                p.copy_(1 + 0.2 * torch.randn(p.shape))
            elif parameter_name.endswith("bias"):
                p.copy_(0.5 * torch.randn(p.shape))
            else:
                p.copy_(torch.randn(p.shape) * 1.5 / p.shape[-1] ** 0.5)
    return model.to(torch.bfloat16), model_class


def logprobs(model_class, folder, dtype, device, tokens):
    import torch
    import transformers
    version = tuple(int(v) for v in transformers.__version__.split(".")[:2])
    model = model_class.from_pretrained(folder, **{"dtype" if version >= (4, 56) else "torch_dtype": dtype}).to(device).eval()
    rows = []
    with torch.no_grad():
        for row in tokens:   # one at a time: the logits of a real vocabulary are large
            ids = torch.tensor(row, device=device)
            logits = model(input_ids=ids[None]).logits[0, :-1].float()
            rows.append(torch.log_softmax(logits, -1).gather(1, ids[1:, None])[:, 0].cpu().numpy())
    return np.stack(rows)


def make(name, device, size):
    import torch
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    folder = pathlib.Path(name)
    model, model_class = build(name, size)
    model.save_pretrained(folder)
    length = LENGTH if size == "real" else 40
    tokens = np.random.default_rng(5).integers(0, model.config.vocab_size, (SEQUENCES, length))
    (folder / "in.jsonl").write_text("".join(json.dumps({"tokens": row.tolist()}) + "\n" for row in tokens))
    for label, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        np.save(folder / label, logprobs(model_class, folder, dtype, device, tokens))


def compare(name):
    folder = pathlib.Path(name)
    exact = np.load(folder / "f32.npy").astype(np.float64)
    ours = {label: np.array([json.loads(line)["logprob"] for line in open(folder / f"{label}.jsonl")]) for label in ("f32", "bf16")}

    def error(values):
        d = np.abs(values - exact)
        return dict(mean=d.mean(), rms=np.sqrt((d * d).mean()), max=d.max())

    rows = {"zerokl f32": error(ours["f32"]), "zerokl bf16": error(ours["bf16"]), "transformers bf16": error(np.load(folder / "bf16.npy"))}
    print(f"{name}: {exact.size} log-probabilities, mean {exact.mean():.3f}; distance from transformers float32")
    for label, e in rows.items():
        print(f"  {label:18} mean {e['mean']:.3e}  rms {e['rms']:.3e}  max {e['max']:.3e}")
    half, theirs = rows["zerokl bf16"], rows["transformers bf16"]
    good = rows["zerokl f32"]["max"] <= 1e-4 < half["max"]   # and the bar of f32 is one that bf16 does not pass
    return 0 if good and half["mean"] <= theirs["mean"] and half["rms"] <= theirs["rms"] else 1


if __name__ == "__main__":
    sys.exit(make(*sys.argv[2:]) if sys.argv[1] == "make" else compare(sys.argv[2]))
