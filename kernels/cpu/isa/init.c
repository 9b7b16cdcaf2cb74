// Random weights, a loop over elements that no other element depends on: vectors hold several.
#include "kernels/cpu/init.h"

#include "kernels/cpu/simd.h"
#include "kernels/init.h"

void ZK_ISA_FN(zk_cpu_init)(uint64_t seed, int64_t first, int64_t n, double scale, float *out) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) out[i] = zk_init_weight(seed, first + i, scale);
}
