// The step sampled again from its prompts alone, in another schedule, and compared with what is stored.
#include <inttypes.h>

#include "kernels/math.h"
#include "trainer/verify_impl.h"

void zk_verify_compare_sample(zk_auditor *a, const zk_verify_step *s, const zk_trajectory *again, int64_t i) {
  const zk_trajectory *t = &s->stored;
  int64_t n = t->sample_offsets[i + 1] - t->sample_offsets[i],
          m = again->sample_offsets[i + 1] - again->sample_offsets[i];
  zk_verify_count(a->once, ZK_VERIFY_REPLAY, n);
  for (int64_t k = 0; k < n && k < m; k++) {
    int64_t at = t->sample_offsets[i] + k, now = again->sample_offsets[i] + k;
    float stored = t->sampler_logprob[at], mine = again->sampler_logprob[now];
    if (t->loss_mask[at] == again->loss_mask[now] && t->sample_tokens[at] == again->sample_tokens[now] && zk_float_bits(stored) == zk_float_bits(mine) &&
        mine == mine)
      continue;
    zk_verify_differ(a->once, ZK_VERIFY_REPLAY, i, k,
                     "%s, position %" PRId64
                     ": token %d with %.9g (0x%08x) is stored, sampling gives %d with %.9g (0x%08x)",
                     zk_verify_place_of(s, i).s, k, t->sample_tokens[at], (double)stored, zk_float_bits(stored),
                     again->sample_tokens[now], (double)mine, zk_float_bits(mine));
    return; // from here on it is another completion
  }
  if (n != m || t->finish_reason[i] != again->finish_reason[i] || t->finish_detail[i] != again->finish_detail[i])
    zk_verify_differ(a->once, ZK_VERIFY_REPLAY, i, n < m ? n : m,
                     "%s: %" PRId64 " tokens (%s) are stored, sampling gives %" PRId64 " (%s)",
                     zk_verify_place_of(s, i).s, n, zk_finish_reason_text(t->finish_reason[i]), m,
                     zk_finish_reason_text(again->finish_reason[i]));
}

// Of a task with a program: the step's own prompts, with the replies that were recorded.
static zk_status sample_recorded(zk_auditor *a, const zk_verify_step *s, zk_trajectory *again) {
  const zk_collect_request q = {.split = ZK_SPLIT_TRAIN,
                                .num_prompts = (int32_t)s->t.num_prompts,
                                .samples_per_prompt = a->session.config.rollout.samples_per_prompt,
                                .step = (uint32_t)s->step,
                                .what = "verify: replay",
                                .recorded = &s->t,
                                .prompt_ids = s->prompt_id};
  zk_collect_stats stats;
  const zk_verify_metric tried = {"sampling/prompts_tried", (double)zk_step_num_tried(&a->session.config, s->step, s->prompt_id[s->t.num_prompts - 1])};
  if (a->session.config.algorithm.dynamic_sampling) zk_verify_metrics(a, s->step, &tried, 1);
  return zk_collect(&a->session, a->engine, &q, again, &stats);
}

// All prompts that the step tried.
static zk_status sample_again(zk_auditor *a, const zk_verify_step *s, zk_trajectory *again) {
  zk_collect_stats stats;
  int64_t num_tried;
  ZK_TRY(zk_collect_step(&a->session, a->engine, (uint32_t)s->step, "verify: replay", false, again, &stats, &num_tried));
  const zk_verify_metric tried = {"sampling/prompts_tried", (double)num_tried};
  if (a->session.config.algorithm.dynamic_sampling) zk_verify_metrics(a, s->step, &tried, 1);
  return ZK_OK;
}

zk_status zk_verify_replay(zk_auditor *a, const zk_verify_step *s) {
  zk_trajectory again;
  ZK_TRY(zk_turns_to(&a->turns, ZK_SIDE_SAMPLER, ZK_OK));
  zk_status st = zk_task_asks(a->session.task) ? sample_recorded(a, s, &again) : sample_again(a, s, &again);
  for (int64_t i = 0; i < s->t.num_samples && st == ZK_OK; i++) zk_verify_compare_sample(a, s, &again, i);
  zk_trajectory_free(&again);
  return st;
}
