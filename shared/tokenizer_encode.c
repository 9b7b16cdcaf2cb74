// Text -> ids: the order of the steps between text and words, and the list of ids.
#include <stdlib.h>
#include <string.h>

#include "shared/tokenizer_internal.h"
#include "shared/utf8.h"

void zk_tokens_free(zk_tokens *tokens) {
  free(tokens->ids);
  *tokens = (zk_tokens){0};
}

zk_status zk_tokens_push(zk_tokens *tokens, int32_t id) {
  if (tokens->num_tokens == tokens->capacity) {
    size_t capacity = tokens->capacity ? tokens->capacity * 2 : 64;
    int32_t *bigger = realloc(tokens->ids, capacity * sizeof *bigger);
    if (!bigger) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate %zu tokens", capacity);
    tokens->ids = bigger;
    tokens->capacity = capacity;
  }
  tokens->ids[tokens->num_tokens++] = id;
  return ZK_OK;
}

static zk_status push_all(zk_tokens *out, const zk_tokens *from) {
  for (size_t i = 0; i < from->num_tokens; i++) ZK_TRY(zk_tokens_push(out, from->ids[i]));
  return ZK_OK;
}

static zk_status encode_piece(zk_tokenizer *tok, const char *text, size_t num_bytes, unsigned flags, zk_tokens *out) {
  return zk_tok_pre_encode(tok, 0, text, num_bytes, out);
}

static bool is_ascii(const char *text, size_t num_bytes) {
  for (size_t i = 0; i < num_bytes; i++)
    if (text[i] & 0x80) return false;
  return true;
}

static zk_status normalise_piece(zk_tokenizer *tok, const char *text, size_t num_bytes, unsigned flags,
                                 zk_tokens *out) {
  if (!tok->nfc || is_ascii(text, num_bytes))
    return zk_tok_added_split(tok, &tok->added_normalized, text, num_bytes, flags, encode_piece, out);
  char *composed = NULL;
  size_t composed_bytes = 0;
  ZK_TRY(zk_tok_nfc(text, num_bytes, &composed, &composed_bytes));
  zk_status st = zk_tok_added_split(tok, &tok->added_normalized, composed, composed_bytes, flags, encode_piece, out);
  free(composed);
  return st;
}

static zk_status encode_all(zk_tokenizer *tok, const char *text, size_t num_bytes, unsigned flags, zk_tokens *out) {
  if (flags & ZK_ENCODE_ADD_SPECIAL) ZK_TRY(push_all(out, &tok->prefix));
  ZK_TRY(zk_tok_added_split(tok, &tok->added_raw, text, num_bytes, flags, normalise_piece, out));
  if (flags & ZK_ENCODE_ADD_SPECIAL) ZK_TRY(push_all(out, &tok->suffix));
  return ZK_OK;
}

zk_status zk_tokenizer_encode(const zk_tokenizer *tok, const char *text, size_t text_bytes, unsigned flags,
                              zk_tokens *out) {
  if (text_bytes > (size_t)1 << 29)
    return ZK_FAIL(ZK_BAD_INPUT, "text of %zu bytes is too long to tokenize (at most 512 MiB)", text_bytes);
  zk_tokenizer *mutable = (zk_tokenizer *)tok; // scratch only, under its lock
  char *valid = NULL;
  size_t num_tokens = out->num_tokens;
  if (!zk_utf8_is_valid(text, text_bytes)) ZK_TRY(zk_utf8_lossy(text, text_bytes, &valid, &text_bytes));
  pthread_mutex_lock(&mutable->lock);
  zk_status st = encode_all(mutable, valid ? valid : text, text_bytes, flags, out);
  pthread_mutex_unlock(&mutable->lock);
  free(valid);
  if (st != ZK_OK) out->num_tokens = num_tokens;
  return st;
}
