// One step of sampling across all workers: prompts are handed out dynamically, completions rewarded where they were sampled, and
// every rank ends up with the whole step in (prompt, sample) order.
#ifndef ZK_ROLLOUT_COLLECT_H
#define ZK_ROLLOUT_COLLECT_H

#include "rollout/session.h"
#include "shared/metrics.h"

typedef struct {
  zk_split split;
  uint64_t first_index;     // task index of the first prompt
  int32_t num_prompts, samples_per_prompt;
  uint32_t step;            // names the random numbers
  const char *what;         // for the progress line
  // What a program said is what this step holds, which was recorded, and no program runs: a resume, verify --replay. NULL: programs are asked.
  const zk_trajectory *recorded;
  const uint32_t *prompt_ids; // [num_prompts] of a recorded step of training, in the place of split and first_index; NULL: those
  bool may_stop;            // ends with ZK_INTERRUPTED, its samples dropped, when a signal asks for a stop (shared/stop.h)
} zk_collect_request;

typedef struct {
  uint64_t drafted, accepted; // of all ranks: tokens guessed ahead; of those, the ones that saved a step
  double rollout_s, reward_s;
  double balance; // of the ranks' sampling (zk_comm_balance)
} zk_collect_stats;

// Fills *out: prompts, tokens, sampler_logprob, loss_mask, reward, components, finish_reason; trainer_logprob and advantage stay zero. The bits are
// the same for any number of ranks, any schedule, and any order in which a program's answers come; the answers themselves are inputs. ZK_IO: a program gave no
// answer, and command.on_error is stop. A sample whose prompt does not fit or whose logits are not finite is recorded with that
// reason and what it has, at reward 0, and rank 0 warns of it; the others go on.
// Frees nothing of the caller's; the caller frees *out. Collective.
zk_status zk_collect(zk_session *session, zk_engine *engine, const zk_collect_request *request, zk_trajectory *out, zk_collect_stats *stats);

// Puts what speculation did into a line of metrics, when there was any.
void zk_collect_put_speculation(const zk_config *config, const zk_collect_stats *stats, zk_metrics_line *line);

// Control experiment (task.shuffle_rewards): permutes the rewards of a step among its prompts by a permutation of (seed, step).
zk_status zk_rewards_shuffle(const zk_config *config, zk_trajectory *t);

#endif
