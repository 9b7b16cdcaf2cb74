// The vocabulary, the merges and the added tokens of tokenizer.json, checked against each other.
#include <stdlib.h>
#include <string.h>

#include "shared/tokenizer_internal.h"
#include "shared/utf8.h"

// An id table much larger than the number of tokens is a damaged file, not a vocabulary.
static int64_t id_limit(size_t num_tokens) { return (int64_t)num_tokens * 4 + 65536; }

// Enters one token. The same text with the same id again is fine (added tokens usually stand in the vocabulary too).
static zk_status put_token(zk_tokenizer *tok, const char *text, int32_t id) {
  zk_token *token = &tok->tokens[id];
  size_t n = strlen(text), num_bytes = 0;
  int32_t known = zk_tok_map_find(&tok->by_text, text, n);
  if (known == id) return ZK_OK;
  if (known >= 0) return ZK_FAIL(ZK_BAD_INPUT, "token '%.100s' has id %d and id %d", text, (int)known, (int)id);
  if (token->text) return ZK_FAIL(ZK_BAD_INPUT, "id %d is both '%.100s' and '%.100s'", (int)id, token->text, text);
  if (n > UINT32_MAX / 2) return ZK_FAIL(ZK_BAD_INPUT, "token %d is %zu bytes long", (int)id, n);
  token->text = zk_tok_arena_copy(&tok->arena, text, n);
  char *bytes = zk_tok_arena_copy(&tok->arena, text, n);
  if (!token->text || !bytes) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate the vocabulary");
  token->in_alphabet = zk_tok_alphabet_bytes(text, n, bytes, &num_bytes);
  if (!token->in_alphabet) { // it stands for itself
    memcpy(bytes, text, n);
    num_bytes = n;
  }
  token->bytes = bytes;
  token->text_bytes = (uint32_t)n;
  token->num_bytes = (uint32_t)num_bytes;
  return zk_tok_map_put(&tok->by_text, token->text, n, id);
}

static zk_status check_id(const json_t *value, const char *text, int64_t limit, int32_t *out) {
  if (!json_is_integer(value)) return ZK_FAIL(ZK_BAD_INPUT, "the id of token '%.100s' is not an integer", text);
  int64_t id = json_integer_value(value);
  if (id < 0 || id >= limit)
    return ZK_FAIL(ZK_BAD_INPUT, "the id of token '%.100s' is %lld, out of range for this vocabulary", text,
                   (long long)id);
  *out = (int32_t)id;
  return ZK_OK;
}

static zk_status size_table(zk_tokenizer *tok, const json_t *vocab, const json_t *added) {
  int64_t limit = id_limit(json_object_size(vocab) + json_array_size(added));
  int32_t id, largest = -1;
  const char *text;
  json_t *value;
  size_t i;
  json_object_foreach((json_t *)vocab, text, value) {
    ZK_TRY(check_id(value, text, limit, &id));
    if (id > largest) largest = id;
  }
  json_array_foreach(added, i, value) {
    text = json_string_value(json_object_get(value, "content"));
    if (!text || !*text) return ZK_FAIL(ZK_BAD_INPUT, "added_tokens[%zu] has no content", i);
    ZK_TRY(check_id(json_object_get(value, "id"), text, limit, &id));
    if (id > largest) largest = id;
  }
  tok->num_ids = largest + 1;
  tok->tokens = calloc((size_t)tok->num_ids + 1, sizeof *tok->tokens);
  tok->added = calloc(json_array_size(added) + 1, sizeof *tok->added);
  return tok->tokens && tok->added ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate %d tokens", (int)tok->num_ids);
}

static zk_status parse_vocab(zk_tokenizer *tok, const json_t *vocab) {
  const char *text;
  json_t *value;
  json_object_foreach((json_t *)vocab, text, value) {
    int32_t id = (int32_t)json_integer_value(value);
    ZK_TRY(put_token(tok, text, id));
    const zk_token *token = &tok->tokens[id];
    if (!token->in_alphabet || !token->num_bytes) continue;
    ZK_TRY(zk_tok_map_put(&tok->by_bytes, token->bytes, token->num_bytes, id));
    if (token->num_bytes == 1) tok->byte_ids[(unsigned char)token->bytes[0]] = id;
  }
  return ZK_OK;
}

// The two texts of merges[i]: "a b" or ["a", "b"]. A string is copied into `scratch` (room for it) to be cut there.
static zk_status merge_texts(const json_t *merge, size_t i, char *scratch, const char **left, const char **right) {
  if (json_is_array(merge) && json_array_size(merge) == 2) {
    *left = json_string_value(json_array_get(merge, 0));
    *right = json_string_value(json_array_get(merge, 1));
    if (*left && *right) return ZK_OK;
  }
  const char *text = json_string_value(merge), *space = text ? strchr(text, ' ') : NULL;
  if (!space || strchr(space + 1, ' '))
    return ZK_FAIL(ZK_BAD_INPUT, "merges[%zu] is neither \"a b\" nor [\"a\", \"b\"]", i);
  memcpy(scratch, text, strlen(text) + 1);
  scratch[space - text] = 0;
  *left = scratch;
  *right = scratch + (space - text) + 1;
  return ZK_OK;
}

static zk_status parse_merge(zk_tokenizer *tok, const json_t *merge, size_t i, char *scratch) {
  const char *left = NULL, *right = NULL;
  ZK_TRY(merge_texts(merge, i, scratch, &left, &right));
  size_t left_bytes = strlen(left), right_bytes = strlen(right);
  int32_t left_id = zk_tok_map_find(&tok->by_text, left, left_bytes),
          right_id = zk_tok_map_find(&tok->by_text, right, right_bytes);
  if (left_id < 0 || right_id < 0)
    return ZK_FAIL(ZK_BAD_INPUT, "merges[%zu]: '%.100s' is not in the vocabulary", i, left_id < 0 ? left : right);
  char *joined = malloc(left_bytes + right_bytes + 1);
  if (!joined) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate the merges");
  memcpy(joined, left, left_bytes);
  memcpy(joined + left_bytes, right, right_bytes + 1);
  int32_t id = zk_tok_map_find(&tok->by_text, joined, left_bytes + right_bytes);
  zk_status st =
      id >= 0 ? ZK_OK : ZK_FAIL(ZK_BAD_INPUT, "merges[%zu] makes '%.100s', which is not in the vocabulary", i, joined);
  free(joined);
  if (st == ZK_OK) zk_tok_merges_put(&tok->merges, left_id, right_id, (uint32_t)i, id);
  return st;
}

static zk_status parse_merges(zk_tokenizer *tok, const json_t *merges) {
  size_t i, longest = 0;
  json_t *merge;
  if (json_array_size(merges) >= INT32_MAX)
    return ZK_FAIL(ZK_BAD_INPUT, "%zu merges are too many", json_array_size(merges));
  json_array_foreach(merges, i, merge) if (json_string_length(merge) > longest) longest = json_string_length(merge);
  ZK_TRY(zk_tok_merges_init(&tok->merges, json_array_size(merges)));
  char *scratch = malloc(longest + 1);
  if (!scratch) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate the merges");
  zk_status st = ZK_OK;
  for (i = 0; i < json_array_size(merges) && st == ZK_OK; i++)
    st = parse_merge(tok, json_array_get(merges, i), i, scratch);
  free(scratch);
  return st;
}

// Enters an added token into the trie that is walked before or after normalisation; its own text is normalised for the
// latter.
static zk_status put_added(zk_tokenizer *tok, const char *text, int32_t added_idx) {
  if (!tok->added[added_idx].normalized) return zk_tok_trie_put(&tok->added_raw, text, strlen(text), added_idx);
  if (!tok->nfc) return zk_tok_trie_put(&tok->added_normalized, text, strlen(text), added_idx);
  char *composed = NULL;
  size_t num_bytes = 0;
  ZK_TRY(zk_tok_nfc(text, strlen(text), &composed, &num_bytes));
  zk_status st = zk_tok_trie_put(&tok->added_normalized, composed, num_bytes, added_idx);
  free(composed);
  return st;
}

// The reference numbers added tokens itself: one that the vocabulary has keeps its id there, any other gets the next
// free one behind vocabulary and added tokens so far. A file that says otherwise has no agreed meaning.
static zk_status check_added_id(const zk_tokenizer *tok, const char *text, int32_t id, size_t num_vocab) {
  int32_t known = zk_tok_map_find(&tok->by_text, text, strlen(text));
  int64_t next = (int64_t)num_vocab;
  for (size_t i = 0; i < tok->num_added; i++) {
    if (tok->added[i].id == known) return ZK_FAIL(ZK_BAD_INPUT, "added_tokens: '%.100s' is there twice", text);
    if (tok->added[i].id >= next) next = (int64_t)tok->added[i].id + 1;
  }
  if (known < 0) known = (int32_t)next;
  if (id != known)
    return ZK_FAIL(ZK_BAD_INPUT, "added_tokens: '%.100s' has id %d where %d is due", text, (int)id, (int)known);
  return ZK_OK;
}

static zk_status parse_added(zk_tokenizer *tok, const json_t *node, size_t num_vocab) {
  const char *text = json_string_value(json_object_get(node, "content"));
  zk_tok_added *added = &tok->added[tok->num_added];
  added->id = (int32_t)json_integer_value(json_object_get(node, "id"));
  ZK_TRY(check_added_id(tok, text, added->id, num_vocab));
  ZK_TRY(zk_tok_json_bool(node, "added_tokens", "special", false, &added->special));
  ZK_TRY(zk_tok_json_bool(node, "added_tokens", "single_word", false, &added->single_word));
  ZK_TRY(zk_tok_json_bool(node, "added_tokens", "lstrip", false, &added->lstrip));
  ZK_TRY(zk_tok_json_bool(node, "added_tokens", "rstrip", false, &added->rstrip));
  ZK_TRY(zk_tok_json_bool(node, "added_tokens", "normalized", !added->special, &added->normalized));
  zk_status st = put_token(tok, text, added->id);
  if (st != ZK_OK) return zk_status_context(st, "added_tokens");
  if (added->special) tok->tokens[added->id].special = true;
  if (added->single_word && !tok->word_char) // \w of the Unicode standard's annex 18
    ZK_TRY(zk_tok_regex_compile("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]", &tok->word_char));
  ZK_TRY(put_added(tok, text, (int32_t)tok->num_added));
  tok->num_added++;
  return ZK_OK;
}

zk_status zk_tok_vocab_parse(zk_tokenizer *tok, const json_t *model, const json_t *added) {
  const json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
  if (!json_is_object(vocab)) return ZK_FAIL(ZK_BAD_INPUT, "model.vocab is not an object of tokens and ids");
  if (!json_is_array(merges)) return ZK_FAIL(ZK_BAD_INPUT, "model.merges is not a list");
  if (added && !json_is_null(added) && !json_is_array(added))
    return ZK_FAIL(ZK_BAD_INPUT, "added_tokens is not a list");
  ZK_TRY(size_table(tok, vocab, added));
  ZK_TRY(parse_vocab(tok, vocab));
  ZK_TRY(parse_merges(tok, merges));
  for (size_t i = 0; i < json_array_size(added); i++)
    ZK_TRY(parse_added(tok, json_array_get(added, i), json_object_size(vocab)));
  return ZK_OK;
}
