// What needs no model: prompts from the task, why completions ended, what they earned, and the advantages of that.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/math.h"
#include "trainer/advantage.h"
#include "trainer/reward_shaping.h"
#include "trainer/verify_impl.h"

// The task index of a prompt row: the id that is stored, where dynamic sampling may have come to it (ascending, and one of the step's), else the row's own.
static uint64_t task_index(zk_auditor *a, const zk_verify_step *s, int64_t row) {
  const zk_config *c = &a->session.config;
  const uint64_t stored = s->stored.prompt_id[row];
  if (!c->algorithm.dynamic_sampling) return zk_step_index(c, s->step, row);
  if (zk_step_may_have(c, s->step, row, stored) && (!row || stored > s->stored.prompt_id[row - 1])) return stored;
  zk_verify_differ(a->once, ZK_VERIFY_PROMPTS, row, -1, "step %" PRId64 ", prompt row %" PRId64 ": prompt id %" PRIu64 " is stored, which cannot be",
                   s->step, row, stored);
  return zk_step_index(c, s->step, row);
}

// Dynamic sampling keeps no group whose rewards are all equal. That those between were such is seen by --replay.
static void check_kept(zk_auditor *a, const zk_verify_step *s, const zk_trajectory *mine) {
  const int64_t group = a->session.config.rollout.samples_per_prompt;
  if (!a->session.config.algorithm.dynamic_sampling) return;
  zk_verify_count(a->once, ZK_VERIFY_REWARDS, mine->num_prompts);
  for (int64_t p = 0; p < mine->num_prompts; p++)
    if (zk_group_is_flat(mine, p * group, (p + 1) * group))
      zk_verify_differ(a->once, ZK_VERIFY_REWARDS, p * group, 0, "step %" PRId64 ", prompt %" PRIu32 ": its rewards are all equal, and it was kept", s->step,
                       s->prompt_id[p]);
}

static bool same_bits(float a, float b) { return zk_float_bits(a) == zk_float_bits(b) && a == a; }

// ---- prompts --------------------------------------------------------------------------------------------------------

static void compare_prompt(zk_auditor *a, const zk_verify_step *s, int64_t p, const zk_tokens *expected) {
  const zk_trajectory *t = &s->stored;
  const int32_t *stored = t->prompt_tokens + t->prompt_offsets[p];
  int64_t n = t->prompt_offsets[p + 1] - t->prompt_offsets[p], wanted = (int64_t)expected->num_tokens;
  zk_verify_count(a->once, ZK_VERIFY_PROMPTS, n + 1);
  if (t->prompt_id[p] != s->prompt_id[p])
    zk_verify_differ(a->once, ZK_VERIFY_PROMPTS, p, -1,
                     "step %" PRId64 ", prompt row %" PRId64 ": prompt id %" PRIu64
                     " is stored, the task gives %" PRIu32,
                     s->step, p, t->prompt_id[p], s->prompt_id[p]);
  for (int64_t k = 0; k < n && k < wanted; k++)
    if (stored[k] != expected->ids[k])
      zk_verify_differ(a->once, ZK_VERIFY_PROMPTS, p, k,
                       "step %" PRId64 ", prompt %" PRIu32 ", position %" PRId64
                       ": token %d is stored, the task gives %d",
                       s->step, s->prompt_id[p], k, stored[k], expected->ids[k]);
  if (n != wanted)
    zk_verify_differ(a->once, ZK_VERIFY_PROMPTS, p, n,
                     "step %" PRId64 ", prompt %" PRIu32 ": %" PRId64 " tokens are stored, the task gives %" PRId64,
                     s->step, s->prompt_id[p], n, wanted);
}

zk_status zk_verify_prompts(zk_auditor *a, zk_verify_step *s) {
  const zk_session *session = &a->session;
  for (int64_t p = 0; p < s->t.num_prompts; p++) {
    zk_task_item item;
    zk_tokens tokens = {0};
    ZK_TRY(zk_task_get(session->task, ZK_SPLIT_TRAIN, task_index(a, s, p), &item));
    s->prompt_id[p] = item.prompt_id;
    zk_status st = zk_task_encode_prompt(session->task, session->tokenizer, session->chat, &item, &tokens);
    if (st == ZK_OK) compare_prompt(a, s, p, &tokens);
    zk_tokens_free(&tokens);
    zk_task_item_free(&item);
    ZK_TRY(st);
  }
  return ZK_OK;
}

// ---- finish reasons -------------------------------------------------------------------------------------------------

static bool is_eos(const zk_session *s, int32_t token) {
  for (int32_t i = 0; i < s->num_eos; i++)
    if (s->eos_ids[i] == token) return true;
  return false;
}

// Whether one of the stop texts ends in the last `bytes` bytes of text[0..num).
static bool meets_stop(const zk_config_list *stop, const char *text, size_t num, size_t bytes) {
  for (int i = 0; i < stop->num; i++) {
    size_t n = strlen(stop->text[i]);
    for (size_t end = num - bytes + 1; n && end <= num; end++)
      if (end >= n && !memcmp(text + end - n, stop->text[i], n)) return true;
  }
  return false;
}

// Walks the tokens until something ends the completion: *reason and how many tokens it then has; -1 when nothing does.
static void find_end(const zk_session *s, const int32_t *tokens, int64_t n, int64_t most, char *text, int64_t *length,
                     int *reason) {
  const zk_config *c = &s->config;
  size_t used = 0;
  *reason = -1;
  for (*length = 1; *length <= n; ++*length) {
    int32_t token = tokens[*length - 1];
    size_t bytes = 0;
    const char *piece = c->rollout.stop.num ? zk_tokenizer_token_bytes(s->tokenizer, token, &bytes) : NULL;
    if (bytes) memcpy(text + used, piece, bytes);
    used += bytes;
    if (!c->rollout.ignore_eos && is_eos(s, token)) *reason = ZK_FINISH_EOS;
    else if (meets_stop(&c->rollout.stop, text, used, bytes)) *reason = ZK_FINISH_STOP;
    else if (*length >= most) *reason = ZK_FINISH_LENGTH;
    if (*reason >= 0) return;
  }
  *length = n;
}

static size_t text_bytes(const zk_session *s, const int32_t *tokens, int64_t n) {
  size_t total = 0, bytes = 0;
  for (int64_t k = 0; k < n && s->config.rollout.stop.num; k++) {
    (void)zk_tokenizer_token_bytes(s->tokenizer, tokens[k], &bytes);
    total += bytes;
  }
  return total;
}

static int64_t run_of(const uint8_t *mask, int64_t from, int64_t end) {
  int64_t k = from;
  while (k < end && mask[k] == mask[from]) k++;
  return k;
}

// Where the sample's last turn begins, in its tokens. A reply stands behind a turn that ended on its own, at a stop text or an eos token, and before another
// turn, as often as command.turns allows; anything else is a difference.
static int64_t check_turns(zk_auditor *a, const zk_verify_step *s, int64_t i, char *text) {
  const zk_trajectory *t = &s->t;
  const int32_t *tokens = t->sample_tokens + t->sample_offsets[i];
  const uint8_t *mask = t->loss_mask + t->sample_offsets[i];
  const int64_t n = t->sample_offsets[i + 1] - t->sample_offsets[i];
  int64_t start = 0, turn = 1;
  for (int64_t end; (end = run_of(mask, start, n)) < n; turn++) {
    int64_t length, next = run_of(mask, end, n);
    int reason = -1;
    if (mask[start]) find_end(&a->session, tokens + start, end - start, INT64_MAX, text, &length, &reason);
    if (!mask[start] || next == n || turn >= a->session.config.command.turns || length < end - start || (reason != ZK_FINISH_EOS && reason != ZK_FINISH_STOP)) {
      zk_verify_differ(a->once, ZK_VERIFY_FINISH, i, end, "%s, position %" PRId64 ": loss_mask says that a reply begins, where none can", zk_verify_place_of(s, i).s, end);
      return start;
    }
    start = next;
  }
  if (n > 0 && !mask[start])
    zk_verify_differ(a->once, ZK_VERIFY_FINISH, i, start, "%s: loss_mask says that nothing was sampled", zk_verify_place_of(s, i).s);
  return start;
}

static void check_finish(zk_auditor *a, const zk_verify_step *s, int64_t i, char *text) {
  const zk_trajectory *t = &s->t;
  if (t->finish_reason[i] == ZK_FINISH_PROMPT) { // a sound step says so of prompts that do not fit only, and of all of those
    zk_verify_count(a->once, ZK_VERIFY_FINISH, 1);
    return;
  }
  const int64_t turn = check_turns(a, s, i, text);
  const int32_t *tokens = t->sample_tokens + t->sample_offsets[i] + turn;
  int64_t n = t->sample_offsets[i + 1] - t->sample_offsets[i] - turn, length, p = t->prompt_index[i];
  int64_t most = a->session.policy.num_positions - (t->prompt_offsets[p + 1] - t->prompt_offsets[p]);
  if (most > a->session.config.rollout.max_new_tokens) most = a->session.config.rollout.max_new_tokens;
  most -= turn;
  int reason;
  find_end(&a->session, tokens, n, most, text, &length, &reason);
  zk_verify_count(a->once, ZK_VERIFY_FINISH, 1);
  zk_verify_place place = zk_verify_place_of(s, i);
  if (reason < 0 && t->finish_reason[i] == ZK_FINISH_NOT_FINITE)
    zk_verify_skip(a->once, ZK_VERIFY_FINISH, 1, "%s: only --replay shows whether the next logits are not finite", place.s);
  else if (reason < 0)
    zk_verify_differ(a->once, ZK_VERIFY_FINISH, i, n,
                     "%s, position %" PRId64 ": nothing ends the completion there; %s is stored", place.s, n - 1,
                     zk_finish_reason_text(t->finish_reason[i]));
  else if (length < n)
    zk_verify_differ(a->once, ZK_VERIFY_FINISH, i, length,
                     "%s, position %" PRId64 ": the completion should end there (%s), but goes on to %" PRId64, place.s,
                     length - 1, zk_finish_reason_text(reason), n - 1);
  else if (reason != t->finish_reason[i])
    zk_verify_differ(a->once, ZK_VERIFY_FINISH, i, n, "%s: finish_reason %s is stored, the tokens say %s", place.s,
                     zk_finish_reason_text(t->finish_reason[i]), zk_finish_reason_text(reason));
}

zk_status zk_verify_finish(zk_auditor *a, const zk_verify_step *s) {
  const zk_trajectory *t = &s->t;
  char *text = malloc(text_bytes(&a->session, t->sample_tokens, t->num_sample_tokens) + 1);
  if (!text) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the completions of step %" PRId64, s->step);
  for (int64_t i = 0; i < t->num_samples; i++) check_finish(a, s, i, text);
  free(text);
  return ZK_OK;
}

// ---- rewards and advantages -----------------------------------------------------------------------------------------

// The tokens of the sample's last turn, which built-in graders look at.
static size_t last_turn(const zk_trajectory *t, int64_t i) {
  int64_t k = t->sample_offsets[i + 1];
  while (k > t->sample_offsets[i] && t->loss_mask[k - 1]) k--;
  return (size_t)k;
}

// A program's answer can be missing only where one is asked, and the run goes on without.
static bool may_miss(const zk_auditor *a) {
  return zk_task_asks(a->session.task) && a->session.config.command.on_error == ZK_CONFIG_COMMAND_ZERO;
}

// What a program gave of sample i is an input, taken as it is stored, where it is a number; zeros where it gave nothing.
static void put_recorded(const zk_auditor *a, const zk_trajectory *t, int64_t i, zk_reward *value) {
  float recorded[ZK_REWARD_MAX_COMPONENTS] = {0};
  const float *stored = t->reward_component + i * t->num_components;
  for (int32_t k = 0; k < t->num_components && !t->reward_detail[i]; k++) recorded[k] = isfinite(stored[k]) ? stored[k] : 0;
  zk_task_put_recorded(a->session.task, recorded, value);
}

// Grades every completion into `mine`; verify runs no program.
static zk_status grade(const zk_auditor *a, const zk_verify_step *s, zk_trajectory *mine) {
  const zk_session *session = &a->session;
  const zk_trajectory *t = &s->t;
  for (int64_t i = 0; i < t->num_samples; i++) {
    zk_task_item item;
    ZK_TRY(zk_task_get_by_id(session->task, s->prompt_id[t->prompt_index[i]], &item));
    size_t bytes = 0, first = last_turn(t, i), n = (size_t)t->sample_offsets[i + 1] - first;
    char *text = NULL;
    zk_status st = zk_tokenizer_decode(session->tokenizer, t->sample_tokens + first, n, 1, &text, &bytes);
    zk_reward value = {0};
    if (st == ZK_OK && !zk_finish_is_error(t->finish_reason[i])) {
      zk_task_reward(session->task, &item, text, bytes, &value);
      put_recorded(a, t, i, &value);
    }
    mine->reward[i] = value.total;
    for (int32_t k = 0; k < t->num_components; k++)
      mine->reward_component[i * t->num_components + k] = value.component[k];
    free(text);
    zk_task_item_free(&item);
    ZK_TRY(st);
  }
  return ZK_OK;
}

static void compare(zk_auditor *a, const zk_verify_step *s, zk_verify_check check, const char *name, int64_t i,
                    int64_t position, float stored, float mine) {
  zk_verify_count(a->once, check, 1);
  if (!same_bits(stored, mine))
    zk_verify_differ(a->once, check, i, position, "%s: %s %.9g (0x%08x) is stored, %.9g (0x%08x) comes out",
                     zk_verify_place_of(s, i).s, name, (double)stored, zk_float_bits(stored), (double)mine,
                     zk_float_bits(mine));
}

static void check_detail(zk_auditor *a, const zk_verify_step *s, int64_t i) {
  const zk_trajectory *t = &s->t;
  if (t->reward_detail[i] && (!may_miss(a) || zk_finish_is_error(t->finish_reason[i])))
    zk_verify_differ(a->once, ZK_VERIFY_REWARDS, i, 0, "%s: reward_detail \"%s\" is stored, where no program can have failed", zk_verify_place_of(s, i).s,
                     zk_reward_detail_text(t->reward_detail[i]));
}

static void check_metrics(zk_auditor *a, const zk_trajectory *mine, const zk_advantage_stats *stats) {
  const zk_verify_metric values[] = {{"reward/mean", stats->reward_mean},
                                     {"reward/std", stats->reward_std},
                                     {"reward/zero_std_groups", (double)stats->zero_std_groups}};
  ZK_VERIFY_METRICS_OF(a, mine->step, values);
  const zk_verify_metric penalty = {"reward/penalty", stats->penalty_mean};
  if (zk_reward_is_shaped(&a->session.config)) zk_verify_metrics(a, mine->step, &penalty, 1);
  for (int32_t k = 0; k < mine->num_components; k++) {
    char key[96];
    double sum = 0;
    for (int64_t i = 0; i < mine->num_samples; i++) sum += (double)mine->reward_component[i * mine->num_components + k];
    snprintf(key, sizeof key, "reward/%s", zk_task_component(a->session.task, k));
    zk_verify_metrics(a, mine->step, &(zk_verify_metric){key, sum / (double)mine->num_samples}, 1);
  }
}

zk_status zk_verify_rewards(zk_auditor *a, const zk_verify_step *s) {
  const zk_trajectory *t = &s->t;
  const zk_config *c = &a->session.config;
  zk_trajectory mine;
  zk_advantage_stats stats;
  ZK_TRY(zk_trajectory_alloc(&mine, t->num_prompts, 0, t->num_samples, t->num_sample_tokens, t->num_components));
  mine.step = s->step;
  const size_t tokens = (size_t)t->num_sample_tokens; // what penalties are made of
  memcpy(mine.sample_offsets, t->sample_offsets, ((size_t)t->num_samples + 1) * sizeof *mine.sample_offsets);
  memcpy(mine.sampler_logprob, t->sampler_logprob, tokens * sizeof *mine.sampler_logprob);
  memcpy(mine.loss_mask, t->loss_mask, tokens * sizeof *mine.loss_mask);
  memcpy(mine.reference_logprob, t->reference_logprob, tokens * sizeof *mine.reference_logprob);
  memcpy(mine.prompt_index, t->prompt_index, (size_t)t->num_samples * sizeof *mine.prompt_index);
  memcpy(mine.sample_index, t->sample_index, (size_t)t->num_samples * sizeof *mine.sample_index);
  zk_status st = grade(a, s, &mine);
  for (int64_t i = 0; i < t->num_samples && st == ZK_OK; i++) check_detail(a, s, i);
  if (st == ZK_OK) check_kept(a, s, &mine);
  if (st == ZK_OK) st = zk_rewards_shuffle(c, &mine);
  if (st == ZK_OK) st = zk_advantage_compute(c, &mine, &stats);
  if (st == ZK_NOT_FINITE) { // no run goes on after such a step: it was altered
    zk_verify_differ(a->once, ZK_VERIFY_ADVANTAGES, -1, 0, "%s", zk_status_message());
    zk_trajectory_free(&mine);
    return ZK_OK;
  }
  for (int64_t i = 0; i < t->num_samples && st == ZK_OK; i++) {
    compare(a, s, ZK_VERIFY_REWARDS, "reward", i, 0, t->reward[i], mine.reward[i]);
    compare(a, s, ZK_VERIFY_ADVANTAGES, "advantage", i, 0, t->advantage[i], mine.advantage[i]);
    for (int32_t k = 0; k < t->num_components; k++) {
      int64_t at = i * t->num_components + k;
      if (zk_task_component_is_recorded(a->session.task, k) && isfinite(t->reward_component[at]) && !t->reward_detail[i]) continue; // an input
      compare(a, s, ZK_VERIFY_COMPONENTS, zk_task_component(a->session.task, k), i, k, t->reward_component[at],
              mine.reward_component[at]);
    }
  }
  if (st == ZK_OK) check_metrics(a, &mine, &stats);
  zk_trajectory_free(&mine);
  return st;
}
