// kernels/init.h, as each instruction set's compiler vectorises it.
#ifndef ZK_KERNELS_CPU_INIT_H
#define ZK_KERNELS_CPU_INIT_H

#include "kernels/cpu/isa.h"

ZK_ISA_DECLARE(void, zk_cpu_init, (uint64_t seed, int64_t first, int64_t n, double scale, float *out));

#endif
