// One engine step: the planned rows through the decoder, one token drawn for every sample whose last token was among them.
#include <stdlib.h>
#include <string.h>

#include "kernels/reduce.h"
#include "rollout/engine_impl.h"

// What the host knows of the step while it fills the arrays.
typedef struct {
  int32_t num_rows, num_seqs, num_samples, num_draws;
  zk_sequence **samples; // [num_samples] drawn from at their last token, and at each drafted one behind it
} batch_shape;

static void fill_arrays(zk_engine *e, batch_shape *shape) {
  zk_step_arrays *a = &e->arrays;
  int32_t *h = a->host;
#define HOST(member) (h + (a->member - a->device))
  int32_t row = 0, s = 0, n = 0;
  HOST(seq_row_start)[0] = 0;
  for (int32_t i = 0; i < e->num_running; i++) {
    zk_sequence *seq = e->running[i];
    if (!seq->batch_rows) continue;
    for (int32_t r = 0; r < seq->batch_rows; r++, row++) {
      HOST(tokens)[row] = seq->tokens[seq->num_cached + r];
      HOST(positions)[row] = seq->num_cached + r;
    }
    HOST(seq_first_pos)[s] = seq->num_cached;
    memcpy(HOST(page_table) + (size_t)s * (size_t)e->max_pages, seq->pages, (size_t)seq->num_pages * sizeof(int32_t));
    if (!seq->is_prefix && seq->num_cached + seq->batch_rows == seq->num_tokens + seq->num_draft) {
      shape->samples[shape->num_samples++] = seq;
      for (int32_t i = 0; i <= seq->num_draft; i++, n++) {
        HOST(rows)[n] = row - 1 - seq->num_draft + i;
        HOST(step)[n] = (int32_t)seq->group->step;
        HOST(prompt_id)[n] = (int32_t)seq->group->prompt_id;
        HOST(sample_idx)[n] = seq->sample;
        HOST(position)[n] = seq->num_tokens + i;
      }
    }
    if (seq->batch_rows == 1 + seq->num_draft) e->stats.decode_rows += (uint64_t)seq->batch_rows;
    else e->stats.prefill_rows += (uint64_t)seq->batch_rows;
    HOST(seq_row_start)[++s] = row;
  }
#undef HOST
  shape->num_rows = row, shape->num_seqs = s, shape->num_draws = n;
}

static zk_status forward(zk_engine *e, const batch_shape *shape) {
  const zk_policy *p = e->policy;
  zk_step_arrays *a = &e->arrays;
  ZK_TRY(zk_copy_to_device(e->stream, a->device, a->host, a->num_words * sizeof(int32_t)));
  zk_decoder_batch batch = {{shape->num_rows, shape->num_seqs, e->max_pages, a->seq_row_start, a->seq_first_pos, a->page_table}, a->positions};
  ZK_TRY(zk_decoder_embed(p, e->stream, a->tokens, shape->num_rows, e->activations.x));
  for (int l = 0; l < p->config.num_layers; l++)
    ZK_TRY(zk_decoder_layer_forward(p, e->stream, l, e->options.page_tokens, &batch, &e->activations, e->k_cache[l], e->v_cache[l],
                                    e->activations.x));
  return ZK_OK;
}

static zk_status draw(zk_engine *e, const batch_shape *shape, int32_t *tokens, float *logprobs, uint64_t *hashes) {
  const zk_policy *p = e->policy;
  const zk_engine_options *o = &e->options;
  const zk_step_arrays *a = &e->arrays;
  int32_t n = shape->num_draws;
  ZK_TRY(zk_decoder_gather_norm(p, e->stream, e->activations.x, shape->num_rows, a->rows, n, e->gathered, e->normed, NULL));
  zk_lmhead_desc desc = zk_decoder_lmhead_desc(p, n, o->temperature, o->top_k, o->top_p);
  zk_sample_ids ids = {o->seed, (const uint32_t *)a->step, (const uint32_t *)a->prompt_id, (const uint32_t *)a->sample_idx,
                       (const uint32_t *)a->position};
  zk_lmhead_out out = {.logprob = e->logprob_out, .logits_hash = e->hash_out};
  ZK_TRY(zk_lmhead_sample(e->stream, &desc, &ids, e->normed, zk_policy_weight(p, ZK_PARAM_LM_HEAD, 0), zk_policy_packed(p, ZK_PARAM_LM_HEAD, 0),
                          e->token_out, &out));
  ZK_TRY(zk_copy_to_host(e->stream, tokens, e->token_out, (size_t)n * sizeof *tokens));
  ZK_TRY(zk_copy_to_host(e->stream, logprobs, e->logprob_out, (size_t)n * sizeof *logprobs));
  if (e->hash_out) ZK_TRY(zk_copy_to_host(e->stream, hashes, e->hash_out, (size_t)n * sizeof *hashes));
  return zk_stream_wait(e->stream);
}

static bool is_eos(const zk_engine_options *o, int32_t token) {
  for (int32_t i = 0; i < o->num_eos; i++)
    if (o->eos_ids[i] == token) return true;
  return false;
}

// Appends the token's bytes and looks for a stop text that ends inside them.
static zk_status meets_stop(zk_engine *e, zk_sequence *seq, int32_t token, bool *met) {
  *met = false;
  if (!e->options.num_stop) return ZK_OK;
  size_t bytes = 0, before = seq->text_bytes;
  const char *text = zk_tokenizer_token_bytes(e->options.tokenizer, token, &bytes);
  if (before + bytes + 1 > seq->text_capacity) {
    size_t capacity = 2 * (before + bytes + 64);
    char *grown = realloc(seq->text, capacity);
    if (!grown) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a completion of %zu bytes", capacity);
    seq->text = grown, seq->text_capacity = capacity;
  }
  if (bytes) memcpy(seq->text + before, text, bytes);
  seq->text_bytes += bytes;
  for (int i = 0; i < e->options.num_stop; i++) {
    size_t n = strlen(e->options.stop[i]);
    for (size_t end = before + 1; n && end <= seq->text_bytes; end++)
      if (end >= n && !memcmp(seq->text + end - n, e->options.stop[i], n)) *met = true;
  }
  return ZK_OK;
}

// Takes a drawn token in. Sets *finish to a reason when the sample is done, else -1.
static zk_status append(zk_engine *e, zk_sequence *seq, int32_t drawn, float logprob, uint64_t hash, int *finish) {
  const zk_engine_options *o = &e->options;
  int32_t at = seq->num_tokens - seq->group->num_prompt; // index in the completion
  *finish = -1;
  if (drawn < 0) {
    *finish = ZK_FINISH_NOT_FINITE;
    return zk_engine_find_not_finite(e, seq->tokens, seq->num_tokens, &seq->finish_detail);
  }
  zk_schedule_publish(e, seq, seq->group->num_prompt + at);
  int32_t token = seq->forced ? seq->forced[at] : drawn;
  seq->drawn[at] = drawn, seq->logprob[at] = logprob;
  if (seq->logits_hash) seq->logits_hash[at] = hash;
  seq->tokens[seq->num_tokens++] = token;
  bool stop = false;
  ZK_TRY(meets_stop(e, seq, token, &stop));
  if (seq->forced) {
    if (at + 1 == seq->max_new) *finish = ZK_FINISH_LENGTH;
  } else if (!o->ignore_eos && is_eos(o, token)) *finish = ZK_FINISH_EOS;
  else if (stop) *finish = ZK_FINISH_STOP;
  else if (at + 1 == seq->max_new) *finish = ZK_FINISH_LENGTH;
  return ZK_OK;
}

static void finish_sample(zk_engine *e, zk_sequence *seq, int reason) {
  if (e->options.speculate) zk_draft_memory_add(&e->drafts, seq->group->name, seq->tokens, seq->group->num_prompt, seq->num_tokens);
  zk_schedule_release(e, seq);
  for (int32_t i = 0; i < e->num_running; i++)
    if (e->running[i] == seq) {
      zk_schedule_remove_running(e, i);
      break;
    }
  seq->finish = (zk_finish_reason)reason;
  zk_queue_push(&e->done, seq);
}

// Takes in what was drawn at a sample's last token, and behind it as long as the guesses were right: a drawn token that is the drafted one has
// its row in the cache already, and the next draw was made from the right prefix. The rest is forgotten; later rows overwrite what it cached.
static zk_status take_draws(zk_engine *e, zk_sequence *seq, const int32_t *drawn, const float *logprob, const uint64_t *hash) {
  const int32_t drafted = seq->num_draft;
  seq->num_draft = 0;
  for (int32_t i = 0;; i++) {
    const int32_t guess = i < drafted ? seq->tokens[seq->num_tokens] : -1;
    int finish = -1;
    if (drafted && drawn[i] < 0) { // a guess behind this row may have infinite values, and a masked infinity times 0 is a NaN: once more, alone
      seq->num_cached--, seq->draft_most = 0;
      return ZK_OK;
    }
    ZK_TRY(append(e, seq, drawn[i], logprob[i], hash[i], &finish));
    const bool right = finish < 0 && i < drafted && seq->tokens[seq->num_tokens - 1] == guess;
    if (right) {
      seq->num_cached++;
      continue;
    }
    e->stats.drafted += (uint64_t)drafted, e->stats.accepted += (uint64_t)i;
    if (drafted) seq->draft_most = 2 * i + 1 < e->options.speculate ? 2 * i + 1 : e->options.speculate;
    if (finish >= 0) finish_sample(e, seq, finish);
    return ZK_OK;
  }
}

// The cache now holds all rows of the step but those of guesses, which count when they turn out right.
static void advance(zk_engine *e) {
  for (int32_t i = 0; i < e->num_running;) {
    zk_sequence *seq = e->running[i];
    seq->num_cached += seq->batch_rows - seq->num_draft;
    seq->batch_rows = 0;
    if (seq->is_prefix && seq->num_cached == seq->num_tokens) {
      seq->group->prefix_state = ZK_PREFIX_READY;
      zk_schedule_remove_running(e, i);
    } else i++;
  }
}

zk_status zk_engine_run_batch(zk_engine *e) {
  size_t n = (size_t)e->max_draws;
  batch_shape shape = {.samples = malloc((size_t)e->options.max_batch * sizeof *shape.samples)};
  int32_t *tokens = malloc(n * sizeof *tokens);
  float *logprobs = malloc(n * sizeof *logprobs);
  uint64_t *hashes = calloc(n, sizeof *hashes);
  zk_status st = ZK_OK;
  if (!shape.samples || !tokens || !logprobs || !hashes) {
    st = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a step of %d sequences", e->options.max_batch);
    goto done;
  }
  fill_arrays(e, &shape);
  if (!shape.num_rows) goto done;
  e->stats.steps++;
  e->stats.rows += (uint64_t)shape.num_rows;
  ZK_TRY_GOTO(st, done, forward(e, &shape));
  if (shape.num_draws) ZK_TRY_GOTO(st, done, draw(e, &shape, tokens, logprobs, hashes));
  else ZK_TRY_GOTO(st, done, zk_stream_wait(e->stream)); // the next step fills the same arrays
  advance(e);
  for (int32_t i = 0, at = 0; i < shape.num_samples; i++) {
    const int32_t num_draws = 1 + shape.samples[i]->num_draft;
    ZK_TRY_GOTO(st, done, take_draws(e, shape.samples[i], tokens + at, logprobs + at, hashes + at));
    at += num_draws;
  }
done:
  free(shape.samples);
  free(tokens);
  free(logprobs);
  free(hashes);
  return st;
}
