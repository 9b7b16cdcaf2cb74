// Four arrays of one length.
#include "rollout/dialogue.h"

#include <stdlib.h>
#include <string.h>

#include "shared/json_text.h"

void zk_dialogue_free(zk_dialogue *d) {
  free(d->tokens);
  free(d->logprob);
  free(d->lse);
  free(d->mask);
  json_decref(d->history);
  *d = (zk_dialogue){0};
}

static zk_status reserve(zk_dialogue *d, int32_t more) {
  const size_t n = (size_t)d->num_tokens + (size_t)more + 1;
  if (n <= (size_t)d->capacity) return ZK_OK;
  int32_t *tokens = realloc(d->tokens, n * sizeof *tokens);
  if (tokens) d->tokens = tokens;
  float *logprob = realloc(d->logprob, n * sizeof *logprob);
  if (logprob) d->logprob = logprob;
  float *lse = realloc(d->lse, n * sizeof *lse);
  if (lse) d->lse = lse;
  uint8_t *mask = realloc(d->mask, n);
  if (mask) d->mask = mask;
  if (!tokens || !logprob || !lse || !mask) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a sample of %zu tokens", n);
  d->capacity = (int32_t)n;
  return ZK_OK;
}

zk_status zk_dialogue_add_turn(zk_dialogue *d, const zk_completion *done) {
  const size_t n = (size_t)done->num_tokens;
  ZK_TRY(reserve(d, done->num_tokens));
  if (n) memcpy(d->tokens + d->num_tokens, done->tokens, n * sizeof *d->tokens);
  if (n) memcpy(d->logprob + d->num_tokens, done->logprob, n * sizeof *d->logprob);
  if (n) memcpy(d->lse + d->num_tokens, done->lse, n * sizeof *d->lse);
  memset(d->mask + d->num_tokens, 1, n);
  d->turn_start = d->num_tokens;
  d->num_tokens += done->num_tokens, d->turn++;
  d->finish = done->finish, d->finish_detail = done->finish_detail;
  return ZK_OK;
}

zk_status zk_dialogue_add_reply(zk_dialogue *d, const int32_t *tokens, int32_t num_tokens) {
  const size_t n = (size_t)num_tokens;
  ZK_TRY(reserve(d, num_tokens));
  memcpy(d->tokens + d->num_tokens, tokens, n * sizeof *d->tokens);
  memset(d->logprob + d->num_tokens, 0, n * sizeof *d->logprob);
  memset(d->lse + d->num_tokens, 0, n * sizeof *d->lse);
  memset(d->mask + d->num_tokens, 0, n);
  d->num_tokens += num_tokens;
  return ZK_OK;
}

zk_status zk_dialogue_remember(zk_dialogue *d, const char *role, const char *text, size_t num_bytes) {
  if (!d->history) d->history = json_array();
  if (json_array_append_new(d->history, json_pack("{s:s, s:o}", "role", role, "content", zk_json_text_string(text, num_bytes))) == 0) return ZK_OK;
  return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a turn of %zu bytes", num_bytes);
}
