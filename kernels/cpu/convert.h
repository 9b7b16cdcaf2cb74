// Arrays of bf16 to f32 and back: zk_bf16_to_float and zk_float_to_bf16 of each element.
#ifndef ZK_KERNELS_CPU_CONVERT_H
#define ZK_KERNELS_CPU_CONVERT_H

#include "kernels/bf16.h"
#include "kernels/cpu/isa.h"

// y[i] = x[i] widened; exact.
ZK_ISA_DECLARE(void, zk_cpu_widen, (int64_t n, const zk_bf16 *x, float *y));
// y[i] = x[i] rounded to bf16.
ZK_ISA_DECLARE(void, zk_cpu_narrow, (int64_t n, const float *x, zk_bf16 *y));

#endif
