// What a trajectory file says of itself: read even when its digests are stale, compared with the config and the chain.
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/numerics.h"
#include "trainer/verify_impl.h"

zk_verify_place zk_verify_place_of(const zk_verify_step *s, int64_t sample) {
  zk_verify_place p;
  snprintf(p.s, sizeof p.s, "step %" PRId64 ", prompt %" PRIu32 ", sample %d", s->step,
           s->prompt_id[s->t.prompt_index[sample]], s->t.sample_index[sample]);
  return p;
}

// ---- reading --------------------------------------------------------------------------------------------------------

static zk_status unsound(zk_verify_step *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static zk_status unsound(zk_verify_step *s, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(s->why_unsound, sizeof s->why_unsound, fmt, args);
  va_end(args);
  return ZK_OK;
}

// Sets is_sound. The file's own consistency (offsets ascending, ends within columns) was checked by reading it.
static zk_status check_shape(const zk_auditor *a, zk_verify_step *s) {
  const zk_trajectory *t = &s->stored;
  const zk_config *c = &a->session.config;
  int64_t group = c->rollout.samples_per_prompt, components = zk_task_num_components(a->session.task);
  if (t->num_prompts != c->rollout.prompts_per_step || t->num_samples != t->num_prompts * group ||
      t->num_components != components)
    return unsound(
        s, "%" PRId64 " prompts, %" PRId64 " samples and %d reward components; the config says %d, %d and %" PRId64,
        t->num_prompts, t->num_samples, t->num_components, c->rollout.prompts_per_step,
        c->rollout.prompts_per_step * (int)group, components);
  for (int64_t i = 0; i < t->num_samples; i++) {
    int64_t p = i / group, prompt = t->prompt_offsets[p + 1] - t->prompt_offsets[p],
            length = t->sample_offsets[i + 1] - t->sample_offsets[i];
    const int32_t positions = a->session.policy.num_positions, reason = t->finish_reason[i];
    // A prompt that does not fit has nothing behind it; logits that are not finite may have ended a completion before its first token.
    const bool fits = prompt >= 1 && prompt < positions;
    const bool can_be = reason == ZK_FINISH_PROMPT ? !fits && !length
                                                   : fits && prompt + length <= positions && (length > 0 || reason == ZK_FINISH_NOT_FINITE);
    if (!can_be)
      return unsound(s,
                     "prompt %" PRIu64 ", sample %" PRId64 ": %" PRId64 " tokens of prompt and %" PRId64
                     " of completion cannot be",
                     t->prompt_id[p], i % group, prompt, length);
  }
  s->is_sound = true;
  return ZK_OK;
}

static void copy_tokens(const int32_t *from, int64_t n, int32_t vocab, int32_t *to) {
  for (int64_t i = 0; i < n; i++) to[i] = from[i] >= 0 && from[i] < vocab ? from[i] : 0;
}

// Makes s->t of what was read.
static zk_status clean(const zk_auditor *a, zk_verify_step *s) {
  const zk_trajectory *t = &s->stored;
  s->tokens = malloc(((size_t)t->num_prompt_tokens + (size_t)t->num_sample_tokens + 1) * sizeof *s->tokens);
  s->index = malloc((2 * (size_t)t->num_samples + 1) * sizeof *s->index);
  s->prompt_id = calloc((size_t)t->num_prompts + 1, sizeof *s->prompt_id);
  if (!s->tokens || !s->index || !s->prompt_id)
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to audit step %" PRId64, s->step);
  s->t = *t;
  s->t.step = s->step, s->t.prompt_tokens = s->tokens, s->t.sample_tokens = s->tokens + t->num_prompt_tokens;
  copy_tokens(t->prompt_tokens, t->num_prompt_tokens, a->session.policy.config.vocab, s->t.prompt_tokens);
  copy_tokens(t->sample_tokens, t->num_sample_tokens, a->session.policy.config.vocab, s->t.sample_tokens);
  ZK_TRY(check_shape(a, s));
  if (!s->is_sound) return ZK_OK;
  s->t.prompt_index = s->index, s->t.sample_index = s->index + t->num_samples;
  for (int64_t i = 0; i < t->num_samples; i++) {
    s->t.prompt_index[i] = (int32_t)(i / a->session.config.rollout.samples_per_prompt);
    s->t.sample_index[i] = (int32_t)(i % a->session.config.rollout.samples_per_prompt);
  }
  return ZK_OK;
}

// All ranks go on alike: the worst of their statuses, without a word.
static zk_status worst(const zk_auditor *a, zk_status *st) {
  uint64_t code = (uint64_t)*st;
  ZK_TRY(zk_comm_max_u64(a->comm, &code, 1));
  *st = (zk_status)code;
  return ZK_OK;
}

zk_status zk_verify_step_open(zk_auditor *a, int64_t step, zk_verify_step *s, bool *found) {
  memset(s, 0, sizeof *s);
  s->step = step;
  *found = false;
  zk_path path = zk_run_dir_trajectory_path(&a->dir, step);
  bool sealed = true;
  zk_status st = zk_trajectory_read_unsealed(path.s, &s->stored, &sealed), mine = st;
  ZK_TRY(worst(a, &st));
  if (st != ZK_OK) {
    const char *why = mine != ZK_OK ? zk_status_message() : "another worker cannot read it";
    if (zk_file_exists(path.s)) zk_verify_differ(a->once, ZK_VERIFY_RECORD, -1, 0, "%s", why);
    zk_verify_skip(a->once, ZK_VERIFY_RECORD, 1,
                   zk_file_exists(path.s) ? "step %" PRId64 ": its trajectory cannot be read"
                                          : "step %" PRId64 ": its trajectory is missing",
                   step);
    return ZK_OK;
  }
  zk_verify_count(a->once, ZK_VERIFY_DIGESTS, 1);
  if (!sealed) zk_verify_differ(a->once, ZK_VERIFY_DIGESTS, -1, 1, "%s: the values do not match content_hash", path.s);
  *found = true;
  return zk_comm_agree(a->comm, clean(a, s));
}

void zk_verify_step_close(zk_verify_step *s) {
  zk_trajectory_free(&s->stored);
  free(s->tokens);
  free(s->index);
  free(s->reference);
  free(s->prompt_id);
  memset(s, 0, sizeof *s);
}

// ---- attributes -----------------------------------------------------------------------------------------------------

static void check_int(zk_auditor *a, int64_t step, const char *name, int64_t stored, int64_t expected) {
  zk_verify_count(a->once, ZK_VERIFY_RECORD, 1);
  if (stored != expected)
    zk_verify_differ(a->once, ZK_VERIFY_RECORD, -1, 0, "step %" PRId64 ": attribute %s is %" PRId64 ", not %" PRId64,
                     step, name, stored, expected);
}

static void check_text(zk_auditor *a, int64_t step, const char *name, const char *stored, const char *expected) {
  zk_verify_count(a->once, ZK_VERIFY_RECORD, 1);
  if (strcmp(stored, expected))
    zk_verify_differ(a->once, ZK_VERIFY_RECORD, -1, 0, "step %" PRId64 ": %s is \"%.80s\", not \"%.80s\"", step, name,
                     stored, expected);
}

static void check_hash(zk_auditor *a, int64_t step, const char *name, const char *what, uint64_t stored,
                       uint64_t expected) {
  zk_verify_count(a->once, ZK_VERIFY_RECORD, 1);
  if (stored != expected)
    zk_verify_differ(a->once, ZK_VERIFY_RECORD, -1, 0,
                     "step %" PRId64 ": attribute %s is %016" PRIx64 ", %s %016" PRIx64, step, name, stored, what,
                     expected);
}

static void check_config(zk_auditor *a, const zk_verify_step *s) {
  zk_verify_count(a->once, ZK_VERIFY_RECORD, 1);
  if (!strcmp(s->stored.config, a->identity)) return;
  const char *key = zk_config_compare_identity("the trajectory", s->stored.config, "config.yaml", a->identity) == ZK_OK
                        ? "not the text of config.yaml's keys"
                        : zk_status_message();
  zk_verify_differ(a->once, ZK_VERIFY_RECORD, -1, 0, "step %" PRId64 ": attribute config: %s", s->step, key);
}

static void check_indices(zk_auditor *a, const zk_verify_step *s) {
  const zk_trajectory *t = &s->stored;
  zk_verify_count(a->once, ZK_VERIFY_RECORD, 2 * t->num_samples);
  for (int64_t i = 0; i < t->num_samples; i++) {
    if (t->prompt_index[i] != s->t.prompt_index[i])
      zk_verify_differ(a->once, ZK_VERIFY_RECORD, i, 0, "%s: prompt_index is %d, not %d", zk_verify_place_of(s, i).s,
                       t->prompt_index[i], s->t.prompt_index[i]);
    if (t->sample_index[i] != s->t.sample_index[i])
      zk_verify_differ(a->once, ZK_VERIFY_RECORD, i, 1, "%s: sample_index is %d", zk_verify_place_of(s, i).s,
                       t->sample_index[i]);
  }
}

void zk_verify_record(zk_auditor *a, zk_verify_step *s) {
  const zk_trajectory *t = &s->stored;
  const zk_session *session = &a->session;
  char tokenizer[17], chat[17];
  zk_session_hashes(session, tokenizer, chat);
  check_int(a, s->step, "step", t->step, s->step);
  check_hash(a, s->step, "seed", "the config's is", t->seed, session->config.seed);
  check_int(a, s->step, "contract_version", t->contract_version, ZK_CONTRACT_VERSION);
  check_text(a, s->step, "numerics", t->numerics, zk_config_describe_numerics(&session->config).s);
  check_text(a, s->step, "tokenizer_hash", t->tokenizer_hash, tokenizer);
  check_text(a, s->step, "template_hash", t->template_hash, chat);
  check_config(a, s);
  if (a->step == s->step - 1)
    check_hash(a, s->step, "weights_hash", "the weights give", t->weights_hash, a->weights_hash);
  zk_verify_count(a->once, ZK_VERIFY_RECORD, 1);
  if (!s->is_sound) {
    zk_verify_differ(a->once, ZK_VERIFY_RECORD, 0, 0, "step %" PRId64 ": %s", s->step, s->why_unsound);
    return;
  }
  for (int k = 0; k < t->num_components; k++)
    check_text(a, s->step, "a reward component", t->component_names[k], zk_task_component(session->task, k));
  check_indices(a, s);
}
