// Compares the exponentials of each instruction set with the scalar ones (zk_expf, zk_exp2f and zk_exp2_bf16 themselves) on float bit patterns 0, step,
// 2 step, ...
#ifndef ZK_TESTS_EXP_SWEEP_H
#define ZK_TESTS_EXP_SWEEP_H

#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/math.h"

#define EXP_BLOCK 4096

static int same(float a, float b) { return a != a ? b != b : zk_float_bits(a) == zk_float_bits(b); } // any NaN for a NaN

typedef void exponential(int64_t n, const float *x, float *y);

// Values that the vector forms have other than the scalar one.
static uint64_t differing(exponential *const by_isa[3], const float *x) {
  float want[EXP_BLOCK], y[EXP_BLOCK];
  uint64_t bad = 0;
  by_isa[ZK_CPU_SCALAR](EXP_BLOCK, x, want);
  for (zk_cpu_isa isa = ZK_CPU_AVX2; isa <= ZK_CPU_AVX512; ++isa) {
    if (!zk_cpu_isa_available(isa)) continue;
    by_isa[isa](EXP_BLOCK, x, y);
    if (memcmp(want, y, sizeof y) == 0) continue;
    for (int i = 0; i < EXP_BLOCK; ++i) bad += !same(want[i], y[i]);
  }
  return bad;
}

// Patterns that differ.
static uint64_t exp_sweep(uint64_t step) {
  const uint64_t num_blocks = ((uint64_t)1 << 32) / step / EXP_BLOCK;
  uint64_t bad = 0;
#pragma omp parallel for reduction(+ : bad)
  for (uint64_t block = 0; block < num_blocks; ++block) {
    static exponential *const all[3][3] = {{zk_cpu_exp_scalar, zk_cpu_exp_avx2, zk_cpu_exp_avx512},
                                           {zk_cpu_exp2_scalar, zk_cpu_exp2_avx2, zk_cpu_exp2_avx512},
                                           {zk_cpu_exp2_bf16_scalar, zk_cpu_exp2_bf16_avx2, zk_cpu_exp2_bf16_avx512}};
    float x[EXP_BLOCK];
    for (uint64_t i = 0; i < EXP_BLOCK; ++i) x[i] = zk_bits_float((uint32_t)((block * EXP_BLOCK + i) * step));
    for (int f = 0; f < 3; ++f) bad += differing(all[f], x);
  }
  return bad;
}

#endif
