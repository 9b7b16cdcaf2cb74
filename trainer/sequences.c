// Leaves, chunks, microbatches: integer arithmetic on lengths.
#include "trainer/sequences.h"

#include <stdlib.h>
#include <string.h>

void zk_leaf_range(int64_t num_seqs, int32_t num_leaves, int32_t leaf, int64_t *first, int64_t *last) {
  // floor(i * L / S) = leaf  <=>  ceil(leaf * S / L) <= i < ceil((leaf + 1) * S / L)
  *first = ((int64_t)leaf * num_seqs + num_leaves - 1) / num_leaves;
  *last = (((int64_t)leaf + 1) * num_seqs + num_leaves - 1) / num_leaves;
}

void zk_rank_leaves(int32_t num_leaves, int rank, int num_ranks, int32_t *first, int32_t *last) {
  *first = (int32_t)((int64_t)num_leaves * rank / num_ranks);
  *last = (int32_t)((int64_t)num_leaves * (rank + 1) / num_ranks);
}

// A unit is the least that a microbatch can take: one chunk of whole sequences, or one long sequence in chunks of its own.
typedef struct {
  int64_t first_seq, last_seq, num_rows, num_targets;
} unit;

static int64_t length_of(const zk_sequences *s, int64_t i) { return s->offsets[i + 1] - s->offsets[i]; }
static int64_t targets_of(const zk_sequences *s, int64_t i) { return length_of(s, i) - s->first_target[i]; }

static unit next_unit(const zk_sequences *s, int64_t first, int64_t last) {
  unit u = {first, first, 0, 0};
  for (int64_t padded = 0; u.last_seq < last; u.last_seq++) {
    int64_t n = length_of(s, u.last_seq), p = (n + 15) / 16 * 16;
    if (u.last_seq > first && padded + p > ZK_CHUNK_TOKENS) break;
    padded += p;
    u.num_rows += n;
    u.num_targets += targets_of(s, u.last_seq);
  }
  return u;
}

static int32_t chunks_of(const unit *u) {
  return u->last_seq - u->first_seq == 1 ? (int32_t)((u->num_rows + ZK_CHUNK_TOKENS - 1) / ZK_CHUNK_TOKENS) : 1;
}

// Appends a unit's chunks to a microbatch whose arrays are large enough.
static void append_unit(zk_microbatch *m, const zk_sequences *s, const unit *u) {
  int32_t n = chunks_of(u);
  for (int32_t c = 1; c <= n; c++) {
    int64_t rows = n == 1 ? u->num_rows : (c < n ? (int64_t)c * ZK_CHUNK_TOKENS : u->num_rows);
    int64_t targets = u->num_targets;
    if (n > 1) { // one long sequence: row r predicts token r + 1, so targets of rows [0, rows) are tokens [first_target, rows]
      targets = rows + 1 - s->first_target[u->first_seq];
      if (targets < 0) targets = 0;
      if (targets > u->num_targets) targets = u->num_targets;
    }
    m->row_start[m->num_chunks + c] = (int32_t)(m->num_rows + rows);
    m->target_start[m->num_chunks + c] = (int32_t)(m->num_targets + targets);
  }
  m->num_chunks += n;
  m->num_rows += u->num_rows;
  m->num_targets += u->num_targets;
  m->last_seq = u->last_seq;
}

static zk_status begin_microbatch(zk_microbatch_plan *plan, const unit *u, int32_t max_chunks) {
  zk_microbatch *grown = realloc(plan->microbatches, (size_t)(plan->num + 1) * sizeof *grown);
  if (!grown) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %d microbatches", plan->num + 1);
  plan->microbatches = grown;
  zk_microbatch *m = &grown[plan->num++];
  *m = (zk_microbatch){.first_seq = u->first_seq, .last_seq = u->first_seq};
  m->row_start = calloc((size_t)max_chunks + 1, sizeof *m->row_start);
  m->target_start = calloc((size_t)max_chunks + 1, sizeof *m->target_start);
  return m->row_start && m->target_start ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %d chunks", max_chunks);
}

zk_status zk_microbatch_plan_create(const zk_sequences *s, int64_t first, int64_t last, int64_t microbatch_tokens, zk_microbatch_plan *out) {
  memset(out, 0, sizeof *out);
  int64_t rows = 0;
  for (int64_t i = first; i < last; i++) rows += length_of(s, i);
  int32_t max_chunks = (int32_t)(rows / ZK_CHUNK_TOKENS + (last - first) + 1);
  zk_microbatch *m = NULL;
  for (int64_t at = first; at < last;) {
    unit u = next_unit(s, at, last);
    if (!m || m->num_rows + u.num_rows > microbatch_tokens) {
      ZK_TRY(begin_microbatch(out, &u, max_chunks));
      m = &out->microbatches[out->num - 1];
    }
    append_unit(m, s, &u);
    at = u.last_seq;
  }
  for (int32_t i = 0; i < out->num; i++) {
    m = &out->microbatches[i];
    if (m->num_rows > out->max_rows) out->max_rows = m->num_rows;
    if (m->num_targets > out->max_targets) out->max_targets = m->num_targets;
    if (m->last_seq - m->first_seq > out->max_seqs) out->max_seqs = m->last_seq - m->first_seq;
  }
  return ZK_OK;
}

void zk_microbatch_plan_destroy(zk_microbatch_plan *plan) {
  for (int32_t i = 0; i < plan->num; i++) {
    free(plan->microbatches[i].row_start);
    free(plan->microbatches[i].target_start);
  }
  free(plan->microbatches);
  memset(plan, 0, sizeof *plan);
}

// A prompt that did not fit cannot be run: its samples, which have no targets, stand as one token that predicts nothing.
static size_t prompt_rows(const zk_trajectory *t, size_t sample) {
  const int64_t *prompt = t->prompt_offsets + t->prompt_index[sample];
  return t->finish_reason[sample] == ZK_FINISH_PROMPT ? 1 : (size_t)(prompt[1] - prompt[0]);
}

zk_status zk_sequences_from_trajectory(const zk_trajectory *t, zk_sequences *out) {
  size_t n = (size_t)t->num_samples, total = (size_t)t->num_sample_tokens;
  for (size_t i = 0; i < n; i++) total += prompt_rows(t, i);
  int64_t *offsets = calloc(n + 1, sizeof *offsets), *targets = calloc(n + 1, sizeof *targets);
  int32_t *tokens = malloc((total + 1) * sizeof *tokens), *first = malloc((n + 1) * sizeof *first);
  *out = (zk_sequences){(int64_t)n, offsets, tokens, first, targets, NULL, NULL};
  if (!offsets || !targets || !tokens || !first) {
    zk_sequences_free(out);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %zu sequences", n);
  }
  for (size_t i = 0; i < n; i++) {
    const int64_t *prompt = t->prompt_offsets + t->prompt_index[i], *sample = t->sample_offsets + i;
    size_t num_prompt = prompt_rows(t, i), num_sample = (size_t)(sample[1] - sample[0]);
    tokens[offsets[i]] = 0;
    if (prompt[1] > prompt[0]) memcpy(tokens + offsets[i], t->prompt_tokens + prompt[0], num_prompt * sizeof *tokens);
    memcpy(tokens + offsets[i] + num_prompt, t->sample_tokens + sample[0], num_sample * sizeof *tokens);
    first[i] = (int32_t)num_prompt;
    offsets[i + 1] = offsets[i] + (int64_t)(num_prompt + num_sample);
    targets[i + 1] = sample[1];
  }
  return ZK_OK;
}

void zk_sequences_free(zk_sequences *s) {
  free((void *)s->offsets);
  free((void *)s->tokens);
  free((void *)s->first_target);
  free((void *)s->target_offsets);
  memset(s, 0, sizeof *s);
}

zk_sequences zk_sequences_part(const zk_sequences *s, int64_t first, int64_t last) {
  return (zk_sequences){last - first, s->offsets + first, s->tokens, s->first_target + first, s->target_offsets + first, s->known, s->dentropy};
}

zk_status zk_sequences_share(zk_comm *comm, const zk_sequences *seqs, int64_t first, int64_t last, float *values) {
  if (zk_comm_size(comm) == 1) return ZK_OK;
  void *all = NULL;
  const int64_t begin = seqs->target_offsets[first], end = seqs->target_offsets[last];
  zk_status st = zk_comm_all_gather(comm, values + begin, (size_t)(end - begin) * sizeof *values, &all, NULL);
  const int64_t from = seqs->target_offsets[0], to = seqs->target_offsets[seqs->num_seqs];
  if (st == ZK_OK) memcpy(values + from, all, (size_t)(to - from) * sizeof *values);
  free(all);
  return st;
}
