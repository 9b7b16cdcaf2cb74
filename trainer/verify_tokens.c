// Every stored token through both sides again: the trainer's forward over the sequences in another order and other
// pieces, and the engine, forced along the stored tokens, which says at each what it would have drawn. Ranks share the
// prompts.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/math.h"
#include "shared/log.h"
#include "trainer/verify_impl.h"

#define PIECE_TOKENS 1500 // at most, in one forward pass, unless one sequence has more

// Samples [first, first + num) of one prompt: all of them, or those of --sample that are neighbours.
typedef struct {
  int64_t prompt, first, num;
  int64_t start; // sequences in the requests before
} token_request;

// This rank's sequences, last request first, last sample first, and what both sides say of each of their target tokens.
typedef struct {
  int64_t group; // samples of a prompt
  int64_t num_requests;
  token_request *requests; // of prompts rank, rank + num_ranks, ... of the step
  int64_t *sample;         // [num sequences] which sample of the step
  zk_sequences seqs;
  float *trainer, *sampler; // log-probability of the stored token; of the drawn one
  uint64_t *trainer_hash, *sampler_hash;
  int32_t *drawn; // -1: nothing could be drawn
} token_audit;

static void free_audit(token_audit *x) {
  zk_sequences_free(&x->seqs);
  free(x->requests);
  free(x->sample);
  free(x->trainer);
  free(x->sampler);
  free(x->trainer_hash);
  free(x->sampler_hash);
  free(x->drawn);
}

// Sequence of sample g of request k.
static int64_t sequence_of(const token_audit *x, int64_t k, int64_t g) {
  return x->seqs.num_seqs - 1 - (x->requests[k].start + g - x->requests[k].first);
}

// ---- sequences ------------------------------------------------------------------------------------------------------

static zk_status allocate(token_audit *x, int64_t num_seqs, int64_t num_tokens, int64_t num_targets) {
  size_t n = (size_t)num_seqs + 1, targets = (size_t)num_targets + 1;
  x->sample = calloc(n, sizeof *x->sample);
  x->seqs =
      (zk_sequences){(int64_t)n - 1, calloc(n, sizeof(int64_t)), malloc(((size_t)num_tokens + 1) * sizeof(int32_t)),
                     calloc(n, sizeof(int32_t)), calloc(n, sizeof(int64_t)), NULL, NULL};
  x->trainer = malloc(targets * sizeof *x->trainer);
  x->sampler = malloc(targets * sizeof *x->sampler);
  x->trainer_hash = malloc(targets * sizeof *x->trainer_hash);
  x->sampler_hash = malloc(targets * sizeof *x->sampler_hash);
  x->drawn = malloc(targets * sizeof *x->drawn);
  bool ok = x->sample && x->seqs.offsets && x->seqs.tokens && x->seqs.first_target && x->seqs.target_offsets &&
            x->trainer && x->sampler && x->trainer_hash && x->sampler_hash && x->drawn;
  if (!ok) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to audit %" PRId64 " tokens", num_tokens);
  memset(x->drawn, 0xff, targets * sizeof *x->drawn);
  return ZK_OK;
}

static int64_t prompt_length(const zk_trajectory *t, int64_t p) {
  return t->prompt_offsets[p + 1] - t->prompt_offsets[p];
}
static int64_t sample_length(const zk_trajectory *t, int64_t i) {
  return t->sample_offsets[i + 1] - t->sample_offsets[i];
}

// A sample whose logits were not finite in the end is only seen by --replay: beside infinite values rows promise nothing.
static bool is_wanted(const zk_trajectory *t, const bool *picked, int64_t i) {
  return sample_length(t, i) > 0 && t->finish_reason[i] != ZK_FINISH_NOT_FINITE && (!picked || picked[i]);
}

// Runs of picked samples (of all, without `picked`), prompt by prompt of this rank's. Returns the number of sequences.
static int64_t make_requests(const zk_auditor *a, const zk_trajectory *t, const bool *picked, token_audit *x) {
  int64_t num = 0;
  for (int64_t p = zk_comm_rank(a->comm); p < t->num_prompts; p += zk_comm_size(a->comm))
    for (int64_t g = 0, first; g < x->group; g++) {
      if (!is_wanted(t, picked, p * x->group + g)) continue;
      for (first = g; g < x->group && is_wanted(t, picked, p * x->group + g);) g++;
      x->requests[x->num_requests++] = (token_request){p, first, g - first, num};
      num += g - first;
    }
  return num;
}

static zk_status make_sequences(const zk_auditor *a, const zk_trajectory *t, const bool *picked, token_audit *x) {
  x->group = a->session.config.rollout.samples_per_prompt;
  x->requests = malloc(((size_t)t->num_samples + 1) * sizeof *x->requests);
  if (!x->requests) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to audit %" PRId64 " samples", t->num_samples);
  int64_t tokens = 0, targets = 0, num = make_requests(a, t, picked, x);
  for (int64_t k = 0; k < x->num_requests; k++)
    for (int64_t g = 0; g < x->requests[k].num; g++) {
      int64_t p = x->requests[k].prompt, length = sample_length(t, p * x->group + x->requests[k].first + g);
      targets += length, tokens += prompt_length(t, p) + length;
    }
  ZK_TRY(allocate(x, num, tokens, targets));
  for (int64_t k = 0; k < x->num_requests; k++)
    for (int64_t g = x->requests[k].first; g < x->requests[k].first + x->requests[k].num; g++)
      x->sample[sequence_of(x, k, g)] = x->requests[k].prompt * x->group + g;
  int64_t *offsets = (int64_t *)x->seqs.offsets, *target_offsets = (int64_t *)x->seqs.target_offsets;
  int32_t *ids = (int32_t *)x->seqs.tokens, *first = (int32_t *)x->seqs.first_target;
  for (int64_t q = 0; q < num; q++) {
    int64_t i = x->sample[q], p = i / x->group, prompt = prompt_length(t, p), n = sample_length(t, i);
    memcpy(ids + offsets[q], t->prompt_tokens + t->prompt_offsets[p], (size_t)prompt * sizeof *ids);
    memcpy(ids + offsets[q] + prompt, t->sample_tokens + t->sample_offsets[i], (size_t)n * sizeof *ids);
    first[q] = (int32_t)prompt;
    offsets[q + 1] = offsets[q] + prompt + n, target_offsets[q + 1] = target_offsets[q] + n;
  }
  return ZK_OK;
}

// ---- the trainer's side ---------------------------------------------------------------------------------------------

static zk_status run_trainer(zk_auditor *a, token_audit *x) {
  const zk_sequences *s = &x->seqs;
  zk_gradient_outputs out = {.logprob = x->trainer, .logits_hash = x->trainer_hash};
  for (int64_t first = 0, last; first < s->num_seqs; first = last) {
    for (last = first + 1; last < s->num_seqs && s->offsets[last + 1] - s->offsets[first] <= PIECE_TOKENS;) last++;
    ZK_TRY(zk_gradient_forward(a->updater.gradient, s, first, last, &out));
    zk_progress_update("verify: trainer's side", (long)last, (long)s->num_seqs, "sequences");
  }
  return ZK_OK;
}

// ---- the sampler's side ---------------------------------------------------------------------------------------------

// Submits request k, its samples forced.
static zk_status submit(zk_auditor *a, const zk_verify_step *s, const token_audit *x, int64_t k) {
  const zk_trajectory *t = &s->t;
  const token_request *wanted = &x->requests[k];
  const int32_t **forced = malloc((size_t)wanted->num * sizeof *forced);
  int32_t *num_forced = malloc((size_t)wanted->num * sizeof *num_forced);
  zk_status st = forced && num_forced ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a group of %" PRId64, wanted->num);
  for (int64_t g = 0; g < wanted->num && st == ZK_OK; g++) {
    int64_t i = wanted->prompt * x->group + wanted->first + g;
    forced[g] = t->sample_tokens + t->sample_offsets[i], num_forced[g] = (int32_t)sample_length(t, i);
  }
  zk_request r = {.tag = (uint64_t)k,
                  .step = (uint32_t)s->step,
                  .prompt_id = s->prompt_id[wanted->prompt],
                  .prompt = t->prompt_tokens + t->prompt_offsets[wanted->prompt],
                  .num_prompt = (int32_t)prompt_length(t, wanted->prompt),
                  .first_sample = (int32_t)wanted->first,
                  .num_samples = (int32_t)wanted->num,
                  .forced = forced,
                  .num_forced = num_forced};
  if (st == ZK_OK) st = zk_engine_submit(a->engine, &r);
  free(forced);
  free(num_forced);
  return st;
}

static int64_t take_finished(zk_auditor *a, token_audit *x) {
  zk_completion done;
  int64_t num = 0;
  for (; zk_engine_take(a->engine, &done); num++) {
    size_t at = (size_t)x->seqs.target_offsets[sequence_of(x, (int64_t)done.tag, done.sample)],
           n = (size_t)done.num_tokens;
    memcpy(x->drawn + at, done.drawn,
           n * sizeof *x->drawn); // fewer than forced where logits are not finite: the rest stays -1
    memcpy(x->sampler + at, done.logprob, n * sizeof *x->sampler);
    memcpy(x->sampler_hash + at, done.logits_hash, n * sizeof *x->sampler_hash);
    zk_completion_free(&done);
  }
  return num;
}

static zk_status run_sampler(zk_auditor *a, const zk_verify_step *s, token_audit *x) {
  int64_t submitted = 0, finished = 0;
  while (submitted < x->num_requests || zk_engine_num_open(a->engine)) {
    while (submitted < x->num_requests && zk_engine_num_waiting(a->engine) < x->group)
      ZK_TRY(submit(a, s, x, x->num_requests - 1 - submitted++));
    ZK_TRY(zk_engine_step(a->engine));
    finished += take_finished(a, x);
    zk_progress_update("verify: sampler's side", (long)finished, (long)x->seqs.num_seqs, "sequences");
  }
  return ZK_OK;
}

// ---- comparison -----------------------------------------------------------------------------------------------------

static bool same_bits(float a, float b) { return zk_float_bits(a) == zk_float_bits(b) && a == a; }

const zk_verify_check zk_verify_token_checks[ZK_VERIFY_NUM_TOKEN_CHECKS] = {ZK_VERIFY_TOKENS, ZK_VERIFY_SAMPLER, ZK_VERIFY_TRAINER,
                                                                            ZK_VERIFY_LOGITS};

size_t zk_verify_num_token_checks(const zk_auditor *a) { return ZK_VERIFY_NUM_TOKEN_CHECKS - zk_config_is_off_policy(&a->session.config); }

typedef struct {
  zk_auditor *a;
  const zk_verify_step *s;
  int64_t sample, position;
} token_place;

static void differ(const token_place *at, zk_verify_check check, const char *name, float stored, const char *side,
                   float mine) {
  zk_verify_differ(&at->a->here, check, at->sample, at->position,
                   "%s, position %" PRId64 ": %s %.9g (0x%08x) is stored, the %s gives %.9g (0x%08x)",
                   zk_verify_place_of(at->s, at->sample).s, at->position, name, (double)stored, zk_float_bits(stored),
                   side, (double)mine, zk_float_bits(mine));
}

// A reply's token was not drawn: it says no log-probability.
static void compare_reply(const token_place *at, int64_t k) {
  const zk_trajectory *t = &at->s->stored;
  if (zk_float_bits(t->sampler_logprob[k])) differ(at, ZK_VERIFY_SAMPLER, "sampler_logprob", t->sampler_logprob[k], "reply", 0);
  if (zk_float_bits(t->trainer_logprob[k])) differ(at, ZK_VERIFY_TRAINER, "trainer_logprob", t->trainer_logprob[k], "reply", 0);
}

// k: index of the token in the trajectory; j: in the audit.
static void compare_token(const token_place *at, const token_audit *x, int64_t k, int64_t j) {
  const zk_trajectory *t = &at->s->stored;
  zk_verify_report *report = &at->a->here;
  if (!t->loss_mask[k]) {
    compare_reply(at, k);
    return;
  }
  bool drawn = x->drawn[j] == t->sample_tokens[k];
  if (!drawn)
    zk_verify_differ(report, ZK_VERIFY_TOKENS, at->sample, at->position,
                     "%s, position %" PRId64 ": token %d is stored, the random numbers draw %d",
                     zk_verify_place_of(at->s, at->sample).s, at->position, t->sample_tokens[k], x->drawn[j]);
  if (!same_bits(t->trainer_logprob[k], x->trainer[j]))
    differ(at, ZK_VERIFY_TRAINER, "trainer_logprob", t->trainer_logprob[k], "trainer", x->trainer[j]);
  if (zk_config_is_off_policy(&at->a->session.config)) { // what the sampler says is its own, and no claim about the trainer
    if (drawn && !same_bits(t->sampler_logprob[k], x->sampler[j]))
      differ(at, ZK_VERIFY_SAMPLER, "sampler_logprob", t->sampler_logprob[k], "sampler", x->sampler[j]);
    return;
  }
  if (!same_bits(t->sampler_logprob[k], x->trainer[j]))
    differ(at, ZK_VERIFY_SAMPLER, "sampler_logprob", t->sampler_logprob[k], "trainer", x->trainer[j]);
  else if (drawn && !same_bits(t->sampler_logprob[k], x->sampler[j]))
    differ(at, ZK_VERIFY_SAMPLER, "sampler_logprob", t->sampler_logprob[k], "sampler", x->sampler[j]);
  if (x->drawn[j] >= 0 && x->sampler_hash[j] != x->trainer_hash[j])
    zk_verify_differ(report, ZK_VERIFY_LOGITS, at->sample, at->position,
                     "%s, position %" PRId64 ": the sampler's logits hash to %016" PRIx64
                     ", the trainer's to %016" PRIx64,
                     zk_verify_place_of(at->s, at->sample).s, at->position, x->sampler_hash[j], x->trainer_hash[j]);
}

static void compare(zk_auditor *a, const zk_verify_step *s, const token_audit *x) {
  const zk_trajectory *t = &s->t;
  for (size_t c = 0; c < zk_verify_num_token_checks(a); c++)
    zk_verify_count(&a->here, zk_verify_token_checks[c], x->seqs.target_offsets[x->seqs.num_seqs]);
  for (int64_t q = 0; q < x->seqs.num_seqs; q++)
    for (int64_t k = 0; k < sample_length(t, x->sample[q]); k++)
      compare_token(&(token_place){a, s, x->sample[q], k}, x, t->sample_offsets[x->sample[q]] + k,
                    x->seqs.target_offsets[q] + k);
}

zk_status zk_verify_tokens(zk_auditor *a, const zk_verify_step *s, const bool *picked) {
  token_audit x = {0};
  zk_status st = zk_turns_to(&a->turns, ZK_SIDE_TRAINER, make_sequences(a, &s->t, picked, &x));
  if (st == ZK_OK) st = run_trainer(a, &x);
  st = zk_turns_to(&a->turns, ZK_SIDE_SAMPLER, st);
  if (st == ZK_OK) st = run_sampler(a, s, &x);
  zk_progress_end();
  if (st == ZK_OK) compare(a, s, &x);
  free_audit(&x);
  return zk_comm_agree(a->comm, st);
}
