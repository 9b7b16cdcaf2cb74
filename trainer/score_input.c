// One line at a time, so that a file of any size is read in the memory of its longest line and one batch.
#include "trainer/score_input.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "shared/model.h"

void zk_score_batch_free(zk_score_batch *batch) {
  zk_tokens_free(&batch->tokens);
  free(batch->offsets);
  memset(batch, 0, sizeof *batch);
}

static zk_status read_ids(const zk_score_input *in, const json_t *array, zk_tokens *out) {
  const int32_t vocab = in->session->policy.config.vocab;
  if (!json_is_array(array)) return ZK_FAIL(ZK_BAD_INPUT, "\"tokens\" is not an array of token ids");
  for (size_t i = 0; i < json_array_size(array); i++) {
    const json_t *id = json_array_get(array, i);
    if (!json_is_integer(id)) return ZK_FAIL(ZK_BAD_INPUT, "\"tokens\"[%zu] is not an integer", i);
    if (json_integer_value(id) < 0 || json_integer_value(id) >= vocab)
      return ZK_FAIL(ZK_BAD_INPUT, "\"tokens\"[%zu] is %" JSON_INTEGER_FORMAT "; the model's ids are 0 to %d", i, json_integer_value(id), vocab - 1);
    ZK_TRY(zk_tokens_push(out, (int32_t)json_integer_value(id)));
  }
  return ZK_OK;
}

static zk_status encode(const zk_score_input *in, const json_t *text, zk_tokens *out) {
  zk_session *s = in->session;
  if (!json_is_string(text)) return ZK_FAIL(ZK_BAD_INPUT, "\"text\" is not a string");
  if (!s->tokenizer) {
    zk_tokenizer *tokenizer;
    ZK_TRY(zk_tokenizer_load(s->model_dir, &tokenizer));
    s->tokenizer = tokenizer;
    ZK_TRY(zk_model_check_tokenizer(&s->policy.config, s->model_dir, tokenizer));
  }
  return zk_tokenizer_encode(s->tokenizer, json_string_value(text), json_string_length(text), ZK_ENCODE_PARSE_SPECIAL | ZK_ENCODE_ADD_SPECIAL, out);
}

static zk_status read_object(const zk_score_input *in, const json_t *root, zk_tokens *out) {
  if (!json_is_object(root)) return ZK_FAIL(ZK_BAD_INPUT, "is not an object {\"tokens\": [...]} or {\"text\": \"...\"}");
  const json_t *tokens = json_object_get(root, "tokens"), *text = json_object_get(root, "text");
  if (!tokens == !text) return ZK_FAIL(ZK_BAD_INPUT, "has %s of \"tokens\" and \"text\"; give one", tokens ? "both" : "neither");
  const size_t before = out->num_tokens;
  ZK_TRY(tokens ? read_ids(in, tokens, out) : encode(in, text, out));
  const size_t n = out->num_tokens - before;
  if (n > (size_t)in->session->policy.num_positions)
    return ZK_FAIL(ZK_BAD_INPUT, "has %zu tokens; the model has %d positions", n, in->session->policy.num_positions);
  return ZK_OK;
}

static zk_status parse_line(const zk_score_input *in, size_t num_bytes, zk_tokens *out) {
  if (num_bytes && in->text[num_bytes - 1] == '\n') num_bytes--;
  if (num_bytes && in->text[num_bytes - 1] == '\r') num_bytes--;
  if (!num_bytes) return ZK_FAIL(ZK_BAD_INPUT, "is empty");
  json_error_t error;
  json_t *root = json_loadb(in->text, num_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
  if (!root) return ZK_FAIL(ZK_BAD_INPUT, "is not valid JSON: %s (column %d)", error.text, error.column);
  zk_status st = read_object(in, root, out);
  json_decref(root);
  return st;
}

static zk_status reserve_line(zk_score_batch *b) {
  if (b->num_lines + 1 < b->capacity) return ZK_OK;
  int64_t capacity = 2 * b->capacity + 64;
  int64_t *grown = realloc(b->offsets, (size_t)capacity * sizeof *grown);
  if (!grown) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a batch of %" PRId64 " lines", capacity);
  b->offsets = grown, b->capacity = capacity;
  return ZK_OK;
}

zk_status zk_score_input_read(zk_score_input *in, int64_t min_tokens, zk_score_batch *b) {
  b->tokens.num_tokens = 0, b->num_lines = 0, b->first_line = in->line + 1;
  ZK_TRY(reserve_line(b));
  b->offsets[0] = 0;
  // A line counts as one token more than it has: so a file of empty sequences fills batches too.
  while ((int64_t)b->tokens.num_tokens + b->num_lines < min_tokens) {
    errno = 0;
    ssize_t got = getline(&in->text, &in->capacity, in->file);
    if (got < 0 && errno) return ZK_FAIL(errno == ENOMEM ? ZK_OUT_OF_MEMORY : ZK_IO, "%s:%" PRId64 ": %s", in->name, in->line + 1, strerror(errno));
    if (got < 0) break;
    in->line++;
    ZK_TRY(reserve_line(b));
    zk_status st = parse_line(in, (size_t)got, &b->tokens);
    if (st != ZK_OK) return zk_status_context(st, "%s:%" PRId64, in->name, in->line);
    b->offsets[++b->num_lines] = (int64_t)b->tokens.num_tokens;
  }
  return in->line ? ZK_OK : ZK_FAIL(ZK_BAD_INPUT, "%s: is empty; each line holds {\"tokens\": [...]} or {\"text\": \"...\"}", in->name);
}
