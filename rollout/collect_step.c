// Round after round until a step is full.
#include "rollout/collect_step.h"

#include <stdlib.h>

#include "shared/log.h"

#define FURTHER ((uint64_t)1 << 30) // task indices have 31 bits: the upper half is for further prompts

bool zk_group_is_flat(const zk_trajectory *t, int64_t first, int64_t last) {
  for (int64_t i = first + 1; i < last; i++)
    if (t->reward[i] != t->reward[first]) return false;
  return true;
}

uint64_t zk_step_index(const zk_config *c, int64_t step, int64_t row) { return (uint64_t)(step - 1) * (uint64_t)c->rollout.prompts_per_step + (uint64_t)row; }

// Of the step's further prompts, number n.
static uint64_t further_index(const zk_config *c, int64_t step, int64_t n) {
  return FURTHER + zk_step_index(c, step, 0) * (ZK_CONFIG_MOST_TRIED - 1) + (uint64_t)n;
}

bool zk_step_may_have(const zk_config *c, int64_t step, int64_t row, uint64_t index) {
  const int64_t prompts = c->rollout.prompts_per_step;
  if (!c->algorithm.dynamic_sampling) return index == zk_step_index(c, step, row);
  return (index >= zk_step_index(c, step, 0) && index < zk_step_index(c, step, prompts)) ||
         (index >= further_index(c, step, 0) && index < further_index(c, step, prompts * (ZK_CONFIG_MOST_TRIED - 1)));
}

int64_t zk_step_num_tried(const zk_config *c, int64_t step, uint64_t last_index) {
  const int64_t prompts = c->rollout.prompts_per_step;
  if (!c->algorithm.dynamic_sampling) return prompts;
  return last_index < FURTHER ? (int64_t)(last_index - zk_step_index(c, step, 0)) + 1 : prompts + (int64_t)(last_index - further_index(c, step, 0)) + 1;
}

static bool is_kept(const zk_trajectory *t, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; i++)
    if (t->finish_reason[i] == ZK_FINISH_NOT_FINITE) return true;
  return !zk_group_is_flat(t, first, last);
}

// A step being filled.
typedef struct {
  zk_session *session;
  zk_engine *engine;
  zk_collect_request request;
  zk_collect_stats *stats;
  zk_trajectory kept;
  int64_t num_sampled, num_tried; // prompts: in all rounds; up to the last one kept
} dynamic_step;

static void add_stats(zk_collect_stats *sum, const zk_collect_stats *round) {
  sum->drafted += round->drafted, sum->accepted += round->accepted;
  sum->rollout_s += round->rollout_s, sum->reward_s += round->reward_s, sum->balance = round->balance;
}

// Puts the round's groups that are kept, as many as are missing, behind those of the rounds before.
static zk_status keep(dynamic_step *x, const zk_trajectory *round) {
  const int64_t wanted = x->session->config.rollout.prompts_per_step, group = x->request.samples_per_prompt;
  zk_trajectory_group *groups = malloc(((size_t)wanted + 1) * sizeof *groups);
  if (!groups) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %lld groups", (long long)wanted);
  int64_t num = 0;
  for (; num < x->kept.num_prompts; num++) groups[num] = (zk_trajectory_group){&x->kept, num};
  for (int64_t p = 0; p < round->num_prompts && num < wanted; p++) {
    if (!is_kept(round, p * group, (p + 1) * group)) continue;
    groups[num++] = (zk_trajectory_group){round, p};
    x->num_tried = x->num_sampled + p + 1;
  }
  zk_trajectory joined;
  zk_status st = zk_trajectory_join(groups, num, &joined);
  free(groups);
  if (st != ZK_OK) return st;
  zk_trajectory_free(&x->kept);
  x->kept = joined;
  return ZK_OK;
}

// What ends a run: the limit is reached, or numbers run out.
static zk_status check_round(const dynamic_step *x, int64_t num) {
  const zk_config *c = &x->session->config;
  const int64_t step = x->request.step, prompts = c->rollout.prompts_per_step;
  if (num == 0)
    return ZK_FAIL(ZK_BAD_INPUT, "step %lld: of %lld prompts only %lld have samples whose rewards differ, and the step wants %lld: the task is too easy or "
                   "too hard for this policy. Raise algorithm.dynamic_limit (%d) or rollout.samples_per_prompt, change the task, or set "
                   "algorithm.dynamic_sampling: false",
                   (long long)step, (long long)x->num_sampled, (long long)x->kept.num_prompts, (long long)prompts, c->algorithm.dynamic_limit);
  if (zk_step_index(c, step, prompts) > FURTHER || further_index(c, step + 1, 0) > 2 * FURTHER)
    return ZK_FAIL(ZK_BAD_INPUT, "step %lld: dynamic sampling has no numbers left for further prompts: lower rollout.prompts_per_step", (long long)step);
  return ZK_OK;
}

// The next prompts: what is missing, and a quarter of a step at least, so that a round is worth its while. Changes no bit.
static zk_status next_round(dynamic_step *x) {
  const zk_config *c = &x->session->config;
  const int64_t step = x->request.step, prompts = c->rollout.prompts_per_step, left = prompts * c->algorithm.dynamic_limit - x->num_sampled;
  int64_t num = prompts - x->kept.num_prompts;
  if (num < (prompts + 3) / 4) num = (prompts + 3) / 4;
  if (num > left) num = left;
  ZK_TRY(zk_comm_agree(x->session->comm, check_round(x, num)));
  x->request.first_index = x->num_sampled == 0 ? zk_step_index(c, step, 0) : further_index(c, step, x->num_sampled - prompts);
  x->request.num_prompts = (int32_t)num;
  zk_trajectory round;
  zk_collect_stats stats;
  zk_status st = zk_collect(x->session, x->engine, &x->request, &round, &stats);
  add_stats(x->stats, &stats);
  if (st == ZK_OK) st = zk_comm_agree(x->session->comm, keep(x, &round));
  x->num_sampled += num;
  zk_trajectory_free(&round);
  return st;
}

zk_status zk_collect_step(zk_session *s, zk_engine *engine, uint32_t step, const char *what, bool may_stop, zk_trajectory *out, zk_collect_stats *stats,
                          int64_t *num_tried) {
  const zk_config *c = &s->config;
  const zk_collect_request request = {.split = ZK_SPLIT_TRAIN, .first_index = zk_step_index(c, step, 0), .num_prompts = c->rollout.prompts_per_step,
                                      .samples_per_prompt = c->rollout.samples_per_prompt, .step = step, .what = what, .may_stop = may_stop};
  *num_tried = c->rollout.prompts_per_step;
  if (!c->algorithm.dynamic_sampling) return zk_collect(s, engine, &request, out, stats);
  dynamic_step x = {.session = s, .engine = engine, .request = request, .stats = stats};
  *stats = (zk_collect_stats){0};
  zk_status st = ZK_OK;
  while (st == ZK_OK && x.kept.num_prompts < c->rollout.prompts_per_step) st = next_round(&x);
  *out = x.kept, *num_tried = x.num_tried;
  if (st != ZK_OK) zk_trajectory_free(out);
  return st;
}
