// The two ceilings of a CPU: how fast threads read memory, and how fast they multiply and add.
#ifndef ZK_KERNELS_CPU_BENCH_H
#define ZK_KERNELS_CPU_BENCH_H

#include "kernels/cpu/isa.h"

// Reads n floats once with all threads, each a part of its own.
ZK_ISA_DECLARE(void, zk_bench_read, (const float *x, int64_t n, int threads));
// Steps of independent fma chains in every thread; returns the flops done.
ZK_ISA_DECLARE(double, zk_bench_fma, (int64_t steps, int threads));

#endif
