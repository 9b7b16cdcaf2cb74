// The control that rewards nothing in particular: a step's rewards, permuted among its prompts.
#include <stdlib.h>
#include <string.h>

#include "kernels/rng.h"
#include "rollout/collect.h"

// A permutation of n by Fisher-Yates with Philox words.
static void permutation(uint64_t seed, uint32_t step, int32_t n, int32_t *perm) {
  for (int32_t i = 0; i < n; i++) perm[i] = i;
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  for (int32_t i = n - 1; i > 0; i--) {
    const uint32_t counter[4] = {(uint32_t)ZK_RNG_SHUFFLE << 24, (uint32_t)i, 0, step};
    uint32_t word[4];
    zk_philox4x32(counter, key, word);
    int32_t j = (int32_t)(((uint64_t)word[0] * (uint64_t)(i + 1)) >> 32), swap = perm[i];
    perm[i] = perm[j], perm[j] = swap;
  }
}

zk_status zk_rewards_shuffle(const zk_config *config, zk_trajectory *t) {
  if (!config->task.shuffle_rewards || !t->num_samples) return ZK_OK;
  // Whole samples trade places, so that a group's rewards say nothing of its own prompt or completions.
  int32_t n = (int32_t)t->num_samples;
  int32_t *perm = malloc((size_t)n * sizeof *perm);
  float *old = malloc((size_t)n * sizeof *old);
  zk_status st = perm && old ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to shuffle %d rewards", n);
  if (st == ZK_OK) {
    permutation(config->seed, (uint32_t)t->step, n, perm);
    memcpy(old, t->reward, (size_t)n * sizeof *old);
    for (int32_t i = 0; i < n; i++) t->reward[i] = old[perm[i]];
  }
  free(perm);
  free(old);
  return st;
}
