// A fixed workload to measure generation with: random prompts, random lengths. 256 sequences of 100 to 1024 tokens are those of
// nano-vLLM's bench.py (133,966 tokens to generate), so that published figures compare.
#ifndef ZK_ROLLOUT_WORKLOAD_H
#define ZK_ROLLOUT_WORKLOAD_H

#include <stdint.h>

#include "kernels/status.h"

typedef struct {
  int32_t num_sequences;
  int32_t *num_new;        // [num_sequences] tokens to generate
  int64_t *prompt_offsets; // [num_sequences + 1]
  int32_t *prompt_tokens;
  int64_t total_new;
} zk_workload;

// Draws as Python does after random.seed(0): for each sequence randint(min, max) prompt tokens, each randint(0, 10000) (less when `vocab` is
// smaller); then for each sequence randint(min, max) tokens to generate. 1 <= min <= max.
zk_status zk_workload_make(int32_t num_sequences, int32_t min, int32_t max, int32_t vocab, zk_workload *out);
void zk_workload_free(zk_workload *workload); // a zeroed workload is fine

#endif
