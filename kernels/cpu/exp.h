// The vector forms of zk_expf, zk_exp2f and zk_exp2_bf16 (kernels/cpu/simd_exp.h) over arrays.
#ifndef ZK_KERNELS_CPU_EXP_H
#define ZK_KERNELS_CPU_EXP_H

#include "kernels/cpu/isa.h"

// y[i] = zk_expf(x[i]), bit for bit, for every input. y may be x.
ZK_ISA_DECLARE(void, zk_cpu_exp, (int64_t n, const float *x, float *y));
// The same of zk_exp2f, and of zk_exp2_bf16.
ZK_ISA_DECLARE(void, zk_cpu_exp2, (int64_t n, const float *x, float *y));
ZK_ISA_DECLARE(void, zk_cpu_exp2_bf16, (int64_t n, const float *x, float *y));

#endif
