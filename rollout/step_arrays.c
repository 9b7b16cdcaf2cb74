// The arrays of one step: where they lie, and what the scheduler's plan puts into them.
#include <string.h>

#include "rollout/engine_impl.h"

// Hands out pieces of whole cache lines.
static int32_t *take(int32_t *base, size_t *used, size_t words) {
  int32_t *at = base + *used;
  *used += (words + 15) & ~(size_t)15;
  return at;
}

zk_step_arrays zk_step_layout(const zk_engine *e, const zk_step *step, int32_t *base) {
  const size_t t = (size_t)step->num_rows, s = (size_t)step->num_seqs, d = (size_t)step->num_draws;
  zk_step_arrays a = {0};
  a.tokens = take(base, &a.num_words, t), a.positions = take(base, &a.num_words, t);
  a.seq_row_start = take(base, &a.num_words, s + 1), a.seq_first_pos = take(base, &a.num_words, s);
  a.seq_shared_pages = take(base, &a.num_words, s);
  a.rows = take(base, &a.num_words, d), a.step = take(base, &a.num_words, d), a.prompt_id = take(base, &a.num_words, d);
  a.sample_idx = take(base, &a.num_words, d), a.position = take(base, &a.num_words, d);
  a.page_table = take(base, &a.num_words, s * (size_t)step->max_pages);
  return a;
}

static zk_step largest(const zk_engine *e) {
  return (zk_step){.num_rows = e->max_rows, .num_seqs = e->options.max_batch, .num_draws = e->max_draws, .max_pages = e->max_pages};
}

size_t zk_step_words(const zk_engine *e) {
  const zk_step step = largest(e);
  int32_t none;
  return zk_step_layout(e, &step, &none).num_words;
}

static size_t rounded(const zk_step *step) { return ((size_t)step->num_draws + 15) & ~(size_t)15; }
size_t zk_step_result_bytes(const zk_engine *e) {
  const zk_step step = largest(e);
  return rounded(&step) * (sizeof(int32_t) + 2 * sizeof(float) + sizeof(uint64_t));
}
int32_t *zk_step_tokens(const zk_step *step, char *results) { return (void)step, (int32_t *)(void *)results; }
float *zk_step_logprobs(const zk_step *step, char *results) { return (float *)(void *)(results + rounded(step) * sizeof(int32_t)); }
float *zk_step_lses(const zk_step *step, char *results) { return zk_step_logprobs(step, results) + rounded(step); }
uint64_t *zk_step_hashes(const zk_step *step, char *results) {
  return (uint64_t *)(void *)(results + rounded(step) * (sizeof(int32_t) + 2 * sizeof(float)));
}

// How many of each the step has, and pages of keys its longest sequence. It decodes when every sequence has one row, that of its last token.
static void count(const zk_engine *e, zk_step *step) {
  int32_t rows = 0, seqs = 0, draws = 0, longest = 0;
  for (int32_t i = 0; i < e->num_running; i++) {
    const zk_sequence *seq = e->running[i];
    if (!seq->batch_rows) continue;
    rows += seq->batch_rows, seqs++;
    if (longest < seq->num_cached + seq->batch_rows) longest = seq->num_cached + seq->batch_rows;
    if (!seq->is_prefix && seq->num_cached + seq->batch_rows == seq->num_tokens + seq->num_draft) draws += 1 + seq->num_draft;
  }
  step->is_decode = rows == seqs && draws == seqs && rows > 0;
  step->num_rows = rows, step->num_seqs = seqs, step->num_draws = draws;
  step->max_pages = (longest + e->options.page_tokens - 1) / e->options.page_tokens;
}

// Rows from `row` on belong to sequences of one token each, whose keys go to a page that nobody reads: whatever they draw is not looked at.
static void fill_padding(const zk_engine *e, const zk_step *step, int32_t row, const zk_step_arrays *a) {
  for (; row < step->num_rows; row++) {
    a->tokens[row] = a->positions[row] = a->seq_first_pos[row] = a->seq_shared_pages[row] = 0;
    a->seq_row_start[row + 1] = row + 1;
    a->page_table[(size_t)row * (size_t)step->max_pages] = e->padding_page;
    a->rows[row] = row;
    a->step[row] = a->prompt_id[row] = a->sample_idx[row] = 0;
    a->position[row] = 1;
  }
}

// How many first pages two sequences have in common: samples of a prompt begin with its pages, and attention reads them once.
static int32_t shared_pages(const zk_sequence *a, const zk_sequence *b) {
  int32_t n = 0;
  while (n < a->num_pages && n < b->num_pages && a->pages[n] == b->pages[n]) n++;
  return n;
}

void zk_step_fill(zk_engine *e, zk_step *step) {
  count(e, step);
  const int32_t real_rows = step->num_rows;
  if (step->is_decode && e->padding_page >= 0) step->num_rows = step->num_seqs = step->num_draws = zk_step_padded(e, real_rows);
  step->max_pages = step->is_decode ? zk_step_width(e, step->num_rows, step->max_pages) : e->max_pages;
  const zk_step_arrays a = zk_step_layout(e, step, step->host);
  int32_t row = 0, s = 0, n = 0;
  const zk_sequence *before = NULL; // in the step
  step->num_samples = 0;
  a.seq_row_start[0] = 0;
  for (int32_t i = 0; i < e->num_running; i++) {
    zk_sequence *seq = e->running[i];
    if (!seq->batch_rows) continue;
    for (int32_t r = 0; r < seq->batch_rows; r++, row++) {
      a.tokens[row] = seq->tokens[seq->num_cached + r];
      a.positions[row] = seq->num_cached + r;
    }
    if (seq->pending && seq->num_cached + seq->batch_rows == seq->num_tokens) a.tokens[row - 1] = -seq->pending; // zk_tokens_follow
    a.seq_first_pos[s] = seq->num_cached;
    a.seq_shared_pages[s] = before == NULL ? 0 : shared_pages(before, seq);
    before = seq;
    const int32_t pages = seq->num_pages < step->max_pages ? seq->num_pages : step->max_pages;
    memcpy(a.page_table + (size_t)s * (size_t)step->max_pages, seq->pages, (size_t)pages * sizeof(int32_t));
    if (!seq->is_prefix && seq->num_cached + seq->batch_rows == seq->num_tokens + seq->num_draft) {
      step->samples[step->num_samples++] = (zk_sample_draw){.seq = seq, .at = seq->num_tokens - seq->group->num_prompt};
      for (int32_t d = 0; d <= seq->num_draft; d++, n++) {
        a.rows[n] = row - 1 - seq->num_draft + d;
        a.step[n] = (int32_t)seq->group->step;
        a.prompt_id[n] = (int32_t)seq->group->prompt_id;
        a.sample_idx[n] = seq->sample;
        a.position[n] = seq->num_tokens + d;
      }
    }
    if (seq->batch_rows == 1 + seq->num_draft) e->stats.decode_rows += (uint64_t)seq->batch_rows;
    else e->stats.prefill_rows += (uint64_t)seq->batch_rows;
    a.seq_row_start[++s] = row;
  }
  e->stats.rows += (uint64_t)real_rows;
  if (step->num_rows > real_rows) fill_padding(e, step, real_rows, &a);
}
