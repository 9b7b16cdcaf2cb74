// Ids -> bytes, at once or token by token with only whole characters let out.
#include <stdlib.h>
#include <string.h>

#include "shared/tokenizer_internal.h"
#include "shared/utf8.h"

static const zk_token *token_at(const zk_tokenizer *tok, int32_t id) {
  return id >= 0 && id < tok->num_ids && tok->tokens[id].text ? &tok->tokens[id] : NULL;
}

const char *zk_tokenizer_token_bytes(const zk_tokenizer *tok, int32_t id, size_t *out_bytes) {
  const zk_token *token = token_at(tok, id);
  *out_bytes = token ? token->num_bytes : 0;
  return token ? token->bytes : NULL;
}

const char *zk_tokenizer_token_text(const zk_tokenizer *tok, int32_t id) {
  const zk_token *token = token_at(tok, id);
  return token ? token->text : NULL;
}

int zk_tokenizer_is_special(const zk_tokenizer *tok, int32_t id) {
  const zk_token *token = token_at(tok, id);
  return token && token->special;
}

int32_t zk_tokenizer_vocab_size(const zk_tokenizer *tok) { return tok->num_ids; }
int32_t zk_tokenizer_find(const zk_tokenizer *tok, const char *text) {
  return zk_tok_map_find(&tok->by_text, text, strlen(text));
}
int32_t zk_tokenizer_bos(const zk_tokenizer *tok) { return tok->bos; }
int32_t zk_tokenizer_eos(const zk_tokenizer *tok) { return tok->eos; }
int32_t zk_tokenizer_pad(const zk_tokenizer *tok) { return tok->pad; }
const char *zk_tokenizer_chat_template(const zk_tokenizer *tok) { return tok->chat_template; }
uint64_t zk_tokenizer_hash(const zk_tokenizer *tok) { return tok->hash; }

// The bytes of one id as decode sees it: none for a hole, none for a special token to be skipped.
static zk_status visible(const zk_tokenizer *tok, int32_t id, int skip_special, const char **out, size_t *out_bytes) {
  if (id < 0) return ZK_FAIL(ZK_BAD_INPUT, "token id %d is negative", (int)id);
  const zk_token *token = token_at(tok, id);
  bool shown = token && !(skip_special && token->special);
  *out = shown ? token->bytes : "";
  *out_bytes = shown ? token->num_bytes : 0;
  return ZK_OK;
}

zk_status zk_tokenizer_decode(const zk_tokenizer *tok, const int32_t *ids, size_t num_ids, int skip_special,
                              char **out_text, size_t *out_bytes) {
  size_t total = 0, n;
  const char *bytes;
  for (size_t i = 0; i < num_ids; i++) {
    ZK_TRY(visible(tok, ids[i], skip_special, &bytes, &n));
    total += n;
  }
  char *text = malloc(total + 1), *to = text;
  if (!text) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate %zu bytes of text", total + 1);
  for (size_t i = 0; i < num_ids; i++) {
    if (visible(tok, ids[i], skip_special, &bytes, &n) != ZK_OK) break; // cannot: checked above
    memcpy(to, bytes, n);
    to += n;
  }
  *to = 0;
  *out_text = text;
  *out_bytes = total;
  return ZK_OK;
}

// ---- streaming
static zk_status stream_reserve(zk_decode_stream *stream, size_t num_bytes) {
  if (num_bytes <= stream->capacity) return ZK_OK;
  char *bigger = realloc(stream->text, num_bytes * 2);
  if (!bigger) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate %zu bytes of text", num_bytes * 2);
  stream->text = bigger;
  stream->capacity = num_bytes * 2;
  return ZK_OK;
}

static void stream_put(zk_decode_stream *stream, int32_t c) {
  stream->text_bytes += zk_utf8_put(c < 0 ? 0xFFFD : c, stream->text + stream->text_bytes);
}

zk_status zk_decode_stream_push(zk_decode_stream *stream, const zk_tokenizer *tok, int32_t id, int skip_special,
                                const char **out_text, size_t *out_bytes) {
  const char *bytes;
  size_t n;
  ZK_TRY(visible(tok, id, skip_special, &bytes, &n));
  ZK_TRY(stream_reserve(stream, 3 * (n + sizeof stream->pending) + 1)); // each byte may become U+FFFD
  stream->text_bytes = 0;
  for (size_t i = 0; i < n; i++) {
    stream->pending[stream->pending_bytes++] = bytes[i];
    for (size_t used = 1;
         used && stream->pending_bytes;) { // an ill-formed part may leave a byte that begins the next character
      int32_t c;
      used = zk_utf8_next(stream->pending, stream->pending_bytes, &c);
      if (c == -2) break;
      stream_put(stream, c);
      stream->pending_bytes -= used;
      memmove(stream->pending, stream->pending + used, stream->pending_bytes);
    }
  }
  stream->text[stream->text_bytes] = 0;
  *out_text = stream->text;
  *out_bytes = stream->text_bytes;
  return ZK_OK;
}

zk_status zk_decode_stream_end(zk_decode_stream *stream, const char **out_text, size_t *out_bytes) {
  ZK_TRY(stream_reserve(stream, 4));
  stream->text_bytes = 0;
  if (stream->pending_bytes) stream_put(stream, -1); // an unfinished character is one maximal part
  stream->pending_bytes = 0;
  stream->text[stream->text_bytes] = 0;
  *out_text = stream->text;
  *out_bytes = stream->text_bytes;
  return ZK_OK;
}

void zk_decode_stream_free(zk_decode_stream *stream) {
  free(stream->text);
  *stream = (zk_decode_stream){0};
}
