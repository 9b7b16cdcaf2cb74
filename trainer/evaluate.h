// The task's held-out set, sampled by all workers.
#ifndef ZK_TRAINER_EVALUATE_H
#define ZK_TRAINER_EVALUATE_H

#include "rollout/collect.h"
#include "shared/metrics.h"

typedef struct {
  int32_t num_prompts; // held-out items; 0: all
  int32_t num_samples; // samples an item besides the greedy one, for avg@num_samples
  int32_t k;           // of pass@k, at most num_samples; 0: num_samples
} zk_evaluation_sizes;

typedef struct {
  zk_evaluation_sizes sizes;  // as they were used
  double accuracy;            // greedy: mean of the first reward component, parts of a point included: countdown in task.rewards gives 0.1 for the format
  double reward;              // greedy: mean reward
  bool has_reward;            // it can be something else than the accuracy
  double avg_at_n, pass_at_k; // over num_samples samples at the run's temperature (0 when there are none): the same mean; right is a first component of 1 or more
  double length_mean;         // greedy, tokens that the policy sampled
} zk_evaluation;

// The held-out samples of an evaluation, for who keeps them or has kept what a program (command.run) said of them.
enum { ZK_EVALUATION_GREEDY = 0, ZK_EVALUATION_SAMPLED = 1, ZK_EVALUATION_NUM_PARTS = 2 };
typedef struct {
  const zk_trajectory *recorded; // NULL: programs are asked; else of these items and as many samples (rollout/collect.h)
  zk_trajectory sampled;         // out: the caller's to free; without trainer_logprob, advantages and attributes. Of a part that is not evaluated all zero
} zk_evaluation_part;

// Greedy over the first held-out items, and samples of each at the run's distribution. `step` names the random numbers. The engine's sampling settings
// are restored. parts: [ZK_EVALUATION_NUM_PARTS]; NULL: the samples are not kept. The same bits for any number of ranks. Collective.
zk_status zk_evaluate(zk_session *session, zk_engine *engine, zk_evaluation_sizes sizes, uint32_t step, zk_evaluation_part *parts, zk_evaluation *out);
// `sizes` as they are used: 0 stands for all items, for k = num_samples. ZK_BAD_INPUT when the task has no held-out items.
zk_status zk_evaluation_resolve(const zk_session *session, zk_evaluation_sizes *sizes);
void zk_evaluation_put(const zk_evaluation *evaluation, zk_metrics_line *line); // eval/accuracy, eval/avg@n, eval/pass@k ...
zk_evaluation_sizes zk_evaluation_sizes_of(const zk_config *config);            // what eval.* asks for

// The probability that at least one of k samples drawn without replacement from n, of which `num_right` are right, is right: the unbiased estimator
// of pass@k of Chen et al. 2021, 1 - C(n - c, k) / C(n, k), as their product over i = n - c + 1 .. n of 1 - k / i. 1 <= k <= n.
double zk_pass_at_k(int32_t n, int32_t num_right, int32_t k);

#endif
