"""Rebuilds a Hugging Face tokenizer (tokenizer.json and tokenizer_config.json) from the metadata of a GGUF file.

GGUF keeps the vocabulary, the token types, the merges and the chat template, but of the pre-tokeniser only a name. The names known
here and what they stand for are in PRE_TOKENIZERS; any other is refused.

    from gguf_tokenizer import write_tokenizer
    write_tokenizer(gguf.GGUFReader("model.gguf"), "out_dir")

    python gguf_tokenizer.py model.gguf out_dir [--check]     # --check: compare with a second, plain implementation
"""
import json
import pathlib
import sys

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # gguf.TokenType

PRE_TOKENIZERS = {
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ],
    },
}


def field(reader, key, default=None):
    found = reader.get_field(key)
    return default if found is None else found.contents()


def tokenizer_json(reader):
    """The content of tokenizer.json as a dict."""
    model, pre = field(reader, "tokenizer.ggml.model"), field(reader, "tokenizer.ggml.pre")
    if model != "gpt2" or pre not in PRE_TOKENIZERS:
        raise ValueError(f"tokenizer model {model!r} with pre-tokeniser {pre!r} is not known here")
    tokens, types = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [{"id": i, "content": t, **flags, "special": types[i] == CONTROL}
             for i, t in enumerate(tokens) if types[i] in (CONTROL, USER_DEFINED)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": PRE_TOKENIZERS[pre],
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {t: i for i, t in enumerate(tokens)},
            "merges": field(reader, "tokenizer.ggml.merges"),
        },
    }


def tokenizer_config(reader):
    """The content of tokenizer_config.json as a dict."""
    tokens = field(reader, "tokenizer.ggml.tokens")

    def named(key):
        idx = field(reader, f"tokenizer.ggml.{key}_token_id")
        return None if idx is None else tokens[idx]

    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # the class that takes the file as it is: GPT2Tokenizer would drop the Digits step
        "add_prefix_space": False, "clean_up_tokenization_spaces": False,
        "bos_token": named("bos"), "eos_token": named("eos"), "pad_token": named("padding"), "unk_token": named("unknown"),
        "model_max_length": field(reader, "llama.context_length", 8192),
        "chat_template": field(reader, "tokenizer.chat_template"),
    }


def write_tokenizer(reader, out_dir):
    """Writes both files into out_dir (which exists)."""
    out = pathlib.Path(out_dir)
    for name, content in (("tokenizer.json", tokenizer_json(reader)), ("tokenizer_config.json", tokenizer_config(reader))):
        (out / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def plain_bpe(content):
    """A second implementation, straight from the definition and with another regex engine: text -> ids."""
    import regex
    alphabet = {}
    for b in range(256):
        printable = 33 <= b <= 126 or 161 <= b <= 172 or b >= 174
        alphabet[b] = chr(b) if printable else chr(256 + sum(1 for i in range(b) if not (33 <= i <= 126 or 161 <= i <= 172 or i >= 174)))
    vocab = content["model"]["vocab"]
    rank = {tuple(m.split(" ")): i for i, m in enumerate(content["model"]["merges"])}
    words = regex.compile(r"\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", regex.V1)
    special = regex.compile("|".join(regex.escape(t["content"]) for t in sorted(content["added_tokens"], key=lambda t: -len(t["content"]))))

    def word_ids(word):
        parts = [alphabet[b] for b in word.encode("utf-8")]
        while len(parts) > 1:
            best = min(range(len(parts) - 1), key=lambda i: (rank.get((parts[i], parts[i + 1]), 1 << 60), i))
            if (parts[best], parts[best + 1]) not in rank:
                break
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        return [vocab[p] for p in parts if p in vocab]

    def text_ids(text):
        # digits are split off first, so the words around them do not see them: split there before the word pattern runs
        ids = []
        for piece in regex.split(r"(\p{N})", text):
            for word in words.findall(piece):
                ids += word_ids(word)
        return ids

    def encode(text):
        ids, at = [], 0
        for m in special.finditer(text):
            ids += text_ids(text[at:m.start()]) + [vocab[m.group()]]
            at = m.end()
        return ids + text_ids(text[at:])

    return encode


def check(out_dir):
    """Compares the written tokenizer, as the tokenizers library reads it, with plain_bpe on varied text; returns the number of texts."""
    import random
    import tokenizers
    path = pathlib.Path(out_dir) / "tokenizer.json"
    reference, plain = tokenizers.Tokenizer.from_file(str(path)), plain_bpe(json.loads(path.read_text(encoding="utf-8")))
    rng = random.Random(7)
    bits = ["Hello", " world", "'s", "'LL", " ", "  ", "\n", "\r\n", "\t", "12345", "3.14", "é", "e\u0301", "你好", "🙂", "👩‍👩‍👧", "ض", "<|im_start|>",
            "<|im_end|>", "def f(x):", "    return x", "==", "\u00a0", "\u3000", "½", "Ⅷ", "٣", "__init__", "http://a.b/c?d=e", "A", "z", "!", "…"]
    texts = ["", *bits] + ["".join(rng.choice(bits) for _ in range(rng.randint(2, 30))) for _ in range(3000)]
    for text in texts:
        got, want = reference.encode(text, add_special_tokens=False).ids, plain(text)
        if got != want:
            raise AssertionError(f"{text!r}: tokenizers gives {got}, the plain implementation {want}")
    return len(texts)


if __name__ == "__main__":
    import gguf
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    write_tokenizer(gguf.GGUFReader(sys.argv[1]), sys.argv[2])
    if sys.argv[3:] == ["--check"]:
        print(f"{check(sys.argv[2])} texts agree")
