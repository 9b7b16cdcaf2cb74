// Random weights: threads take spans of elements, each by the best instruction set that there is.
#include "kernels/init.h"

#include "kernels/cpu/init.h"
#include "kernels/cpu/parallel.h"

void zk_init_normal(uint64_t seed, int64_t first, int64_t n, double scale, float *out) {
  const zk_cpu_isa isa = zk_cpu_isa_best();
#pragma omp parallel for schedule(static) if (n > 4 * ZK_CPU_GRAIN)
  for (int64_t at = 0; at < n; at += ZK_CPU_GRAIN)
    ZK_ISA_CALL(isa, zk_cpu_init_normal, seed, first + at, zk_cpu_min(ZK_CPU_GRAIN, n - at), scale, out + at);
}
