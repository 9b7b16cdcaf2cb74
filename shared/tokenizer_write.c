// Writing tokenizers: the byte tokenizer of models made from scratch, and copies of a folder's files.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "shared/file.h"
#include "shared/tokenizer_internal.h"
#include "shared/utf8.h"

static const char *const SPECIALS[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"};
enum { NUM_SPECIALS = sizeof SPECIALS / sizeof *SPECIALS };
_Static_assert(256 + NUM_SPECIALS == ZK_BYTE_TOKENIZER_VOCAB, "the byte tokenizer's vocabulary");

static json_t *byte_vocab(void) {
  json_t *vocab = json_object();
  for (int byte = 0; byte < 256; byte++) {
    char text[5] = {0};
    zk_utf8_put(zk_tok_alphabet_char((unsigned)byte), text);
    json_object_set_new(vocab, text, json_integer(byte));
  }
  return vocab;
}

static json_t *special_tokens(void) {
  json_t *list = json_array();
  for (int i = 0; i < NUM_SPECIALS; i++)
    json_array_append_new(list, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", 256 + i, "content", SPECIALS[i],
                                          "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1));
  return list;
}

static json_t *byte_level(void) {
  return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0, "use_regex",
                   0);
}

static json_t *byte_tokenizer(void) {
  json_t *model = json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:[]}", "type", "BPE", "dropout",
                            "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                            "byte_fallback", 0, "ignore_merges", 0, "vocab", byte_vocab(), "merges");
  return json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:n, s:o, s:o}", "version", "1.0", "truncation", "padding",
                   "added_tokens", special_tokens(), "normalizer", "pre_tokenizer", byte_level(), "post_processor",
                   "decoder", byte_level(), "model", model);
}

static json_t *byte_config(void) {
  return json_pack("{s:s, s:n, s:s, s:s, s:b, s:I}", "tokenizer_class", "PreTrainedTokenizerFast", "bos_token",
                   "eos_token", SPECIALS[0], "pad_token", SPECIALS[3], "clean_up_tokenization_spaces", 0,
                   "model_max_length", (json_int_t)1 << 30);
}

static zk_status write_json(const char *dir, const char *name, json_t *root) {
  char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL, *path = zk_file_join(dir, name);
  zk_status st =
      text && path ? zk_file_write(path, text, strlen(text)) : ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot write %s", name);
  free(text);
  free(path);
  json_decref(root);
  return st;
}

zk_status zk_tokenizer_write_bytes(const char *dir) {
  ZK_TRY(write_json(dir, "tokenizer.json", byte_tokenizer()));
  return write_json(dir, "tokenizer_config.json", byte_config());
}

static zk_status copy_file(const char *from, const char *to) {
  char *bytes = NULL;
  size_t num_bytes = 0;
  if (!zk_file_exists(from)) return ZK_OK;
  ZK_TRY(zk_file_read(from, (size_t)256 << 20, &bytes, &num_bytes));
  zk_status st = zk_file_write(to, bytes, num_bytes);
  free(bytes);
  return st;
}

zk_status zk_tokenizer_copy_files(const char *src_dir, const char *dst_dir) {
  static const char *const names[] = {"tokenizer.json",    "tokenizer_config.json", "special_tokens_map.json",
                                      "added_tokens.json", "chat_template.jinja",   "vocab.json",
                                      "merges.txt"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char *from = zk_file_join(src_dir, names[i]), *to = zk_file_join(dst_dir, names[i]);
    zk_status st = from && to ? copy_file(from, to) : ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot copy %s", names[i]);
    free(from);
    free(to);
    ZK_TRY(st);
  }
  return ZK_OK;
}
