// The task's held-out set, sampled by all workers.
#ifndef ZK_TRAINER_EVALUATE_H
#define ZK_TRAINER_EVALUATE_H

#include "rollout/collect.h"
#include "shared/metrics.h"

typedef struct {
  int32_t num_prompts, num_samples; // held-out items; samples an item besides the greedy one
  double accuracy;                  // greedy: mean reward
  double avg_at_k, pass_at_k;       // over num_samples samples at the run's temperature (0 when num_samples is 0)
  double length_mean;               // greedy, tokens
} zk_evaluation;

// Greedy over the first `num_prompts` held-out items (0 = all), and `samples` samples of each at the run's distribution. `step` names the
// random numbers. The engine's sampling settings are restored. The same bits for any number of ranks. Collective.
zk_status zk_evaluate(zk_session *session, zk_engine *engine, int32_t num_prompts, int32_t samples, uint32_t step, zk_evaluation *out);
void zk_evaluation_put(const zk_evaluation *evaluation, zk_metrics_line *line); // eval/accuracy, eval/avg@k, eval/pass@k ...

#endif
