"""Turns a Llama GGUF file into a Hugging Face folder: config.json, model.safetensors (float32), generation_config.json, tokenizer.

    python convert.py model.gguf out_dir

Quantised tensors are dequantised to the float32 values that llama.cpp computes with. llama.cpp's converter permutes the rows of the
query and key projections, because its rotary embedding pairs neighbours (2i, 2i+1) where Hugging Face pairs (i, i + head_dim/2);
that is undone here. A model without an output matrix has its embedding tied to the head.
"""
import json
import pathlib
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

from gguf_tokenizer import field, write_tokenizer

LAYER_NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}


def hugging_face_name(name):
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    block, layer, part, kind = name.split(".")
    if block != "blk" or kind != "weight" or part not in LAYER_NAMES:
        raise ValueError(f"tensor {name} is not known here")
    return f"model.layers.{int(layer)}.{LAYER_NAMES[part]}.weight"


def undo_permutation(rows, num_heads):
    """[heads * head_dim, in]: in each head, from (pair, member of the pair) order back to (member, pair)."""
    head_dim = rows.shape[0] // num_heads
    return rows.reshape(num_heads, head_dim // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def model_config(reader, tied):
    def get(key, default=None):
        value = field(reader, f"llama.{key}", default)
        if value is None:
            raise ValueError(f"the file has no llama.{key}")
        return value

    if field(reader, "general.architecture") != "llama" or any(k.startswith("llama.rope.scaling") for k in reader.fields):
        raise ValueError("only Llama models without rope scaling are converted")
    heads, hidden = get("attention.head_count"), get("embedding_length")
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "hidden_size": hidden, "intermediate_size": get("feed_forward_length"), "num_hidden_layers": get("block_count"),
        "num_attention_heads": heads, "num_key_value_heads": get("attention.head_count_kv", heads), "head_dim": hidden // heads,
        "vocab_size": len(field(reader, "tokenizer.ggml.tokens")), "max_position_embeddings": get("context_length"),
        # GGUF keeps a float32; the shortest decimal that rounds to it is the number that was meant (1e-05)
        "rms_norm_eps": float(str(np.float32(get("attention.layer_norm_rms_epsilon")))),
        "rope_theta": float(get("rope.freq_base", 10000.0)), "rope_scaling": None,
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0,
        "tie_word_embeddings": tied, "torch_dtype": "float32",
    } | token_ids(reader)


def token_ids(reader):
    names = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    return {key: field(reader, f"tokenizer.ggml.{name}_token_id") for key, name in names.items()}


def tensors(reader, config):
    """Name -> float32 array in Hugging Face's layout, rows = outputs."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    result = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        shape = tuple(int(n) for n in reversed(tensor.shape))
        values = values.reshape(shape)
        part = tensor.name.split(".")[-2]
        if part in heads:
            values = undo_permutation(values, heads[part])
        result[hugging_face_name(tensor.name)] = np.ascontiguousarray(values)
    return result


def convert(gguf_path, out_dir):
    reader = gguf.GGUFReader(gguf_path)
    out = pathlib.Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    config = model_config(reader, tied=all(t.name != "output.weight" for t in reader.tensors))
    save_file(tensors(reader, config), out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # the library makes it private
    for name, content in (("config.json", config), ("generation_config.json", token_ids(reader))):
        (out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    write_tokenizer(reader, out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    convert(sys.argv[1], sys.argv[2])
