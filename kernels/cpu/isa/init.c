// Random weights, a loop over elements that no element's work depends on: vectors hold several.
#include "kernels/cpu/init.h"
#include "kernels/cpu/simd.h"
#include "kernels/rng.h"

#define NUM_UNIFORMS 12

static inline double standard_normal(uint64_t seed, int64_t element) {
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  int64_t twice_sum = -(int64_t)NUM_UNIFORMS * ((int64_t)1 << 32); // twice, to keep the halves
  for (uint32_t block = 0; block < NUM_UNIFORMS / 4; block++) {
    const uint32_t counter[4] = {(uint32_t)ZK_RNG_INIT << 24 | block, (uint32_t)element,
                                 (uint32_t)((uint64_t)element >> 32), 0};
    uint32_t words[4];
    zk_philox4x32(counter, key, words);
    for (int i = 0; i < 4; i++) twice_sum += 2 * (int64_t)words[i] + 1;
  }
  return (double)twice_sum * 0x1p-33;
}

void ZK_ISA_FN(zk_cpu_init_normal)(uint64_t seed, int64_t first, int64_t n, double scale, float *out) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) out[i] = (float)(standard_normal(seed, first + i) * scale);
}
