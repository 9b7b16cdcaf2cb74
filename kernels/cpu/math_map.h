// The functions of kernels/math.h over arrays, as each instruction set's compiler vectorises them: for zerokl check and
// tests.
#ifndef ZK_KERNELS_CPU_MATH_MAP_H
#define ZK_KERNELS_CPU_MATH_MAP_H

#include "kernels/cpu/isa.h"

ZK_ISA_DECLARE(void, zk_cpu_map_expf, (int64_t n, const float *x, float *y));
ZK_ISA_DECLARE(void, zk_cpu_map_logf, (int64_t n, const float *x, float *y));
ZK_ISA_DECLARE(void, zk_cpu_map_exp2f, (int64_t n, const float *x, float *y));
ZK_ISA_DECLARE(void, zk_cpu_map_log2f, (int64_t n, const float *x, float *y));
ZK_ISA_DECLARE(void, zk_cpu_map_gumbel, (int64_t n, const uint32_t *r, float *y));

#endif
