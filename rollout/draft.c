// Guesses by look-up: the last ZK_DRAFT_GRAM tokens, hashed, say where they stood before, and what followed them there is the draft.
#include "rollout/draft.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t h, uint64_t value) {
  h = (h ^ value) * UINT64_C(0x9e3779b97f4a7c15);
  return h ^ (h >> 29);
}

static uint32_t gram_hash(uint64_t salt, const int32_t *last) {
  for (int i = 0; i < ZK_DRAFT_GRAM; i++) salt = mix(salt, (uint32_t)last[i]);
  return (uint32_t)(salt >> 20);
}

static bool same_gram(const int32_t *a, const int32_t *b) { return !memcmp(a, b, ZK_DRAFT_GRAM * sizeof *a); }

uint64_t zk_draft_prompt(const int32_t *tokens, int32_t num) {
  uint64_t h = (uint64_t)num;
  for (int32_t i = 0; i < num; i++) h = mix(h, (uint32_t)tokens[i]);
  return h;
}

// ---- earlier completions ------------------------------------------------------------------------------------------------------

zk_status zk_draft_memory_open(zk_draft_memory *out) {
  *out = (zk_draft_memory){0};
  out->tokens = malloc(ZK_DRAFT_MEMORY_TOKENS * sizeof *out->tokens);
  out->ends = calloc(ZK_DRAFT_MEMORY_TOKENS, sizeof *out->ends);
  if (out->tokens && out->ends) return ZK_OK;
  zk_draft_memory_close(out);
  return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to remember %d tokens to draft from", ZK_DRAFT_MEMORY_TOKENS);
}

void zk_draft_memory_close(zk_draft_memory *m) {
  free(m->tokens);
  free(m->ends);
  *m = (zk_draft_memory){0};
}

void zk_draft_memory_add(zk_draft_memory *m, uint64_t prompt, const int32_t *tokens, int32_t num_prompt, int32_t num_tokens) {
  // From the gram that ends with the prompt on, so that a completion's first token can be guessed too.
  const int32_t from = num_prompt > ZK_DRAFT_GRAM ? num_prompt - ZK_DRAFT_GRAM : 0, num = num_tokens - from;
  if (num <= ZK_DRAFT_GRAM || num >= ZK_DRAFT_MEMORY_TOKENS) return;
  if (m->used + num + 1 > ZK_DRAFT_MEMORY_TOKENS) m->used = 0;
  int32_t *at = m->tokens + m->used;
  memcpy(at, tokens + from, (size_t)num * sizeof *at);
  at[num] = -1;
  for (int32_t end = ZK_DRAFT_GRAM; end < num; end++)
    m->ends[gram_hash(prompt, at + end - ZK_DRAFT_GRAM) & (ZK_DRAFT_MEMORY_TOKENS - 1)] = m->used + end;
  m->used += num + 1;
}

// What an entry points to may have been overwritten by anything since: it is compared, and stays inside what was ever written.
static int32_t propose_remembered(const zk_draft_memory *m, uint64_t prompt, const int32_t *last, int32_t most, int32_t *out) {
  const int32_t end = m->ends[gram_hash(prompt, last) & (ZK_DRAFT_MEMORY_TOKENS - 1)];
  if (!end || !same_gram(m->tokens + end - ZK_DRAFT_GRAM, last)) return 0;
  int32_t n = 0;
  for (; n < most && end + n < ZK_DRAFT_MEMORY_TOKENS && m->tokens[end + n] >= 0; n++) out[n] = m->tokens[end + n];
  return n;
}

// ---- the sequence itself --------------------------------------------------------------------------------------------------------

void zk_gram_index_free(zk_gram_index *index) {
  free(index->ends);
  *index = (zk_gram_index){0};
}

static zk_status index_own(zk_gram_index *x, const int32_t *tokens, int32_t num_tokens, int32_t capacity) {
  if (!x->ends) {
    uint32_t size = 64;
    while (size < (uint32_t)capacity) size *= 2;
    x->ends = calloc(size, sizeof *x->ends);
    if (!x->ends) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to draft for a sequence of %d tokens", capacity);
    x->mask = size - 1;
  }
  // All but the last gram, which is the one looked for.
  for (int32_t end = x->num_indexed < ZK_DRAFT_GRAM ? ZK_DRAFT_GRAM : x->num_indexed; end < num_tokens; end++) {
    x->ends[gram_hash(0, tokens + end - ZK_DRAFT_GRAM) & x->mask] = end;
    x->num_indexed = end + 1;
  }
  return ZK_OK;
}

// A short period repeats: what followed may be what is being guessed.
static int32_t propose_own(const zk_gram_index *x, int32_t *tokens, int32_t num_tokens, int32_t most) {
  const int32_t *last = tokens + num_tokens - ZK_DRAFT_GRAM, end = x->ends[gram_hash(0, last) & x->mask];
  if (!end || !same_gram(tokens + end - ZK_DRAFT_GRAM, last)) return 0;
  for (int32_t i = 0; i < most; i++) tokens[num_tokens + i] = tokens[end + i];
  return most;
}

zk_status zk_draft_propose(const zk_draft_memory *memory, uint64_t prompt, zk_gram_index *own, int32_t *tokens, int32_t num_tokens, int32_t capacity,
                           int32_t most, int32_t *num) {
  *num = 0;
  if (num_tokens < ZK_DRAFT_GRAM || most <= 0) return ZK_OK;
  ZK_TRY(index_own(own, tokens, num_tokens, capacity));
  *num = propose_remembered(memory, prompt, tokens + num_tokens - ZK_DRAFT_GRAM, most, tokens + num_tokens);
  if (!*num) *num = propose_own(own, tokens, num_tokens, most);
  return ZK_OK;
}
