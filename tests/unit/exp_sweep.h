// Compares the exponentials of each instruction set with the scalar ones (zk_expf and zk_exp2f themselves) on float bit patterns 0, step, 2 step, ...
#ifndef ZK_TESTS_EXP_SWEEP_H
#define ZK_TESTS_EXP_SWEEP_H

#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/math.h"

#define EXP_BLOCK 4096

static int same(float a, float b) { return a != a ? b != b : zk_float_bits(a) == zk_float_bits(b); } // any NaN for a NaN

// Patterns that differ.
static uint64_t exp_sweep(uint64_t step) {
  const uint64_t num_blocks = ((uint64_t)1 << 32) / step / EXP_BLOCK;
  uint64_t bad = 0;
#pragma omp parallel for reduction(+ : bad)
  for (uint64_t block = 0; block < num_blocks; ++block) {
    float x[EXP_BLOCK], want[EXP_BLOCK], y[EXP_BLOCK];
    for (uint64_t i = 0; i < EXP_BLOCK; ++i) x[i] = zk_bits_float((uint32_t)((block * EXP_BLOCK + i) * step));
    zk_cpu_exp_scalar(EXP_BLOCK, x, want);
    for (zk_cpu_isa isa = ZK_CPU_AVX2; isa <= ZK_CPU_AVX512; ++isa) {
      if (!zk_cpu_isa_available(isa)) continue;
      ZK_ISA_PICK(isa, zk_cpu_exp)(EXP_BLOCK, x, y);
      for (int i = 0; i < EXP_BLOCK; ++i) bad += !same(want[i], y[i]);
    }
    zk_cpu_exp2_scalar(EXP_BLOCK, x, want);
    for (zk_cpu_isa isa = ZK_CPU_AVX2; isa <= ZK_CPU_AVX512; ++isa) {
      if (!zk_cpu_isa_available(isa)) continue;
      ZK_ISA_PICK(isa, zk_cpu_exp2)(EXP_BLOCK, x, y);
      for (int i = 0; i < EXP_BLOCK; ++i) bad += !same(want[i], y[i]);
    }
  }
  return bad;
}

#endif
