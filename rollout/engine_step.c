// One engine step: the planned rows through the decoder, one token drawn for every sample whose last token was among them. A step is queued,
// and what it drew is taken in once the device has it; with steps_ahead the next one is queued in between.
//
// A step queued ahead takes the tokens it does not know from the device (zk_tokens_follow), and knows everything else: positions, pages, names
// of random numbers. That a sample has reached its length is known ahead, too. What is not is that its last token ends it: then its row in
// the step in flight is thrown away. Pages given back meanwhile may be handed out at once: the stream writes them only after it has read them.
#include <stdlib.h>
#include <string.h>

#include "kernels/embedding.h"
#include "rollout/engine_impl.h"
#include "shared/clock.h"

static const double DONE_ALREADY_S = 10e-6; // a wait that is shorter found the device done

// Those in flight in the order they were queued, then the one to fill.
static zk_step *step_at(zk_engine *e, int32_t i) { return &e->steps[(e->oldest + i) % (e->options.steps_ahead + 1)]; }

static zk_status forward(zk_engine *e, const zk_step *step, const zk_step_arrays *a) {
  const zk_policy *p = e->policy;
  zk_decoder_batch batch = {{step->num_rows, step->num_seqs, step->max_pages, a->seq_row_start, a->seq_first_pos, a->page_table, a->seq_shared_pages},
                            a->positions};
  if (e->options.steps_ahead) ZK_TRY(zk_tokens_follow(e->stream, step->num_rows, zk_step_tokens(step, e->results_memory), a->tokens));
  ZK_TRY(zk_decoder_embed(p, e->stream, a->tokens, step->num_rows, e->activations.x));
  bool done = false;
  if (e->resident && step->num_rows == 1) ZK_TRY(zk_resident_run(e->resident, &batch.attention, a->positions, e->activations.x, &done));
  for (int l = 0; !done && l < p->config.num_layers; l++)
    ZK_TRY(zk_decoder_layer_forward(p, e->stream, l, e->options.page_tokens, &batch, &e->activations, e->k_cache[l], e->v_cache[l],
                                    e->activations.x));
  return ZK_OK;
}

static zk_status draw(zk_engine *e, const zk_step *step, const zk_step_arrays *a) {
  const zk_policy *p = e->policy;
  const zk_engine_options *o = &e->options;
  int32_t n = step->num_draws;
  ZK_TRY(zk_decoder_gather_norm(p, e->stream, e->activations.x, step->num_rows, a->rows, n, e->gathered, e->normed, NULL));
  zk_lmhead_desc desc = zk_decoder_lmhead_desc(p, n, o->temperature, o->top_k, o->top_p);
  zk_sample_ids ids = {o->seed, (const uint32_t *)a->step, (const uint32_t *)a->prompt_id, (const uint32_t *)a->sample_idx,
                       (const uint32_t *)a->position};
  zk_lmhead_out out = {.logprob = zk_step_logprobs(step, e->results_memory), .lse = zk_step_lses(step, e->results_memory),
                       .logits_hash = o->want_logits_hash ? zk_step_hashes(step, e->results_memory) : NULL};
  return zk_lmhead_sample(e->stream, &desc, &ids, e->normed, zk_policy_weight(p, ZK_PARAM_LM_HEAD, 0), zk_policy_packed(p, ZK_PARAM_LM_HEAD, 0),
                          zk_step_tokens(step, e->results_memory), &out);
}

zk_status zk_engine_queue_rows(zk_engine *e, const zk_step *step) {
  const zk_step_arrays a = zk_step_layout(e, step, e->arrays_memory);
  ZK_TRY(forward(e, step, &a));
  return step->num_draws ? draw(e, step, &a) : ZK_OK;
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

// What a step found at one of its draws.
typedef struct {
  const int32_t *token;
  const float *logprob, *lse;
  const uint64_t *hash;
} draws;

// Takes a drawn token in, number `at` of the completion. Sets *finish to a reason when the sample is done, else -1.
static zk_status append(zk_engine *e, zk_sequence *seq, int32_t at, const draws *found, int32_t i, int *finish) {
  const zk_engine_options *o = &e->options;
  const int32_t end = seq->group->num_prompt + at, drawn = found->token[i];
  *finish = -1;
  if (drawn < 0) {
    *finish = ZK_FINISH_NOT_FINITE;
    seq->num_tokens = end;
    return zk_engine_find_not_finite(e, seq->tokens, end, &seq->finish_detail);
  }
  zk_schedule_publish(e, seq, seq->group->num_prompt + at);
  int32_t token = seq->forced ? seq->forced[at] : drawn;
  seq->drawn[at] = drawn, seq->logprob[at] = found->logprob[i], seq->lse[at] = found->lse[i];
  if (seq->logits_hash) seq->logits_hash[at] = found->hash[i];
  seq->tokens[end] = token;
  if (seq->num_tokens == end) seq->num_tokens++; // a step queued ahead has counted it already
  if (seq->num_tokens == end + 1) seq->pending = 0;
  bool stop = false;
  ZK_TRY(meets_stop(e, seq, token, &stop));
  if (seq->forced) {
    if (at + 1 == seq->max_new) *finish = ZK_FINISH_LENGTH;
  } else if (!o->ignore_eos && is_eos(o, token)) *finish = ZK_FINISH_EOS;
  else if (stop) *finish = ZK_FINISH_STOP;
  else if (at + 1 == seq->max_new) *finish = ZK_FINISH_LENGTH;
  if (*finish >= 0) seq->num_tokens = end + 1;
  return ZK_OK;
}

// Its row in the step queued ahead, if any, is thrown away.
static void forget_row(zk_engine *e, const zk_sequence *seq) {
  if (!e->num_in_flight) return;
  zk_step *step = step_at(e, e->num_in_flight - 1);
  for (int32_t i = 0; i < step->num_samples; i++)
    if (step->samples[i].seq == seq) {
      step->samples[i].seq = NULL;
      e->stats.rows--, e->stats.decode_rows--, e->stats.thrown_rows++;
    }
}

static void finish_sample(zk_engine *e, zk_sequence *seq, int reason) {
  forget_row(e, seq);
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
static zk_status take_draws(zk_engine *e, zk_sequence *seq, int32_t at, const draws *found) {
  const int32_t drafted = seq->num_draft;
  seq->num_draft = 0;
  for (int32_t i = 0;; i++) {
    const int32_t guess = i < drafted ? seq->tokens[seq->num_tokens] : -1;
    int finish = -1;
    if (drafted && found->token[i] < 0) { // a guess behind this row may have infinite values, and a masked infinity times 0 is a NaN: once more, alone
      seq->num_cached--, seq->draft_most = 0;
      return ZK_OK;
    }
    ZK_TRY(append(e, seq, at + i, found, i, &finish));
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

// With a step in flight every sample's tokens are counted one further than the host knows them. The length is known: who has reached it goes
// out of the batch now, and lives on in the step.
static void count_ahead(zk_engine *e, zk_step *step) {
  for (int32_t i = 0; i < step->num_samples; i++) {
    zk_sample_draw *draw = &step->samples[i];
    zk_sequence *seq = draw->seq;
    if (seq->forced) seq->tokens[seq->num_tokens] = seq->forced[draw->at];
    else seq->pending = 1 + i;
    seq->num_tokens++;
    draw->last = draw->at + 1 == seq->max_new;
    if (!draw->last) continue;
    zk_schedule_release(e, seq);
    for (int32_t r = 0; r < e->num_running; r++)
      if (e->running[r] == seq) zk_schedule_remove_running(e, r);
  }
}

zk_status zk_engine_queue_step(zk_engine *e) {
  zk_step *step = step_at(e, e->num_in_flight);
  zk_step_fill(e, step);
  if (!step->num_rows) return ZK_OK;
  const size_t bytes = zk_step_layout(e, step, step->host).num_words * sizeof(int32_t);
  e->stats.steps++;
  ZK_TRY(zk_mark_set(step->begun));
  ZK_TRY(zk_copy_to_device(e->stream, e->arrays_memory, step->host, bytes));
  ZK_TRY(zk_step_run(e, step));
  if (step->num_draws) {
    const char *end = e->options.want_logits_hash ? (char *)(zk_step_hashes(step, e->results_memory) + step->num_draws)
                                                  : (char *)(zk_step_lses(step, e->results_memory) + step->num_draws);
    ZK_TRY(zk_copy_to_host(e->stream, step->results, e->results_memory, (size_t)(end - e->results_memory)));
  }
  ZK_TRY(zk_mark_set(step->done));
  e->num_in_flight++;
  advance(e);
  if (e->options.steps_ahead) count_ahead(e, step);
  return ZK_OK;
}

zk_status zk_engine_take_step(zk_engine *e) {
  zk_step *step = step_at(e, 0);
  const bool has_next = e->num_in_flight > 1;
  const double before = zk_clock_s();
  ZK_TRY(zk_mark_wait(step->done));
  if (has_next && zk_clock_s() - before < DONE_ALREADY_S) e->stats.late_steps++;
  e->oldest = (e->oldest + 1) % (e->options.steps_ahead + 1);
  e->num_in_flight--;
  e->stats.device_s += zk_mark_seconds(step->begun, step->done);
  const int32_t *tokens = zk_step_tokens(step, step->results);
  const float *logprobs = zk_step_logprobs(step, step->results), *lses = zk_step_lses(step, step->results);
  const uint64_t *hashes = zk_step_hashes(step, step->results);
  for (int32_t i = 0, n = 0; i < step->num_samples; i++) {
    const zk_sample_draw *draw = &step->samples[i];
    const int32_t num_draws = 1 + (draw->seq ? draw->seq->num_draft : 0);
    const draws found = {tokens + n, logprobs + n, lses + n, hashes + n};
    if (draw->seq) ZK_TRY(take_draws(e, draw->seq, draw->at, &found));
    n += num_draws;
  }
  step->num_samples = 0;
  return ZK_OK;
}
