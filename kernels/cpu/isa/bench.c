// Ceilings: a streaming read and a loop of multiply-adds, with nothing else to wait for.
#include "kernels/cpu/bench.h"
#include "kernels/cpu/simd.h"

enum { LINE = 16, STREAMS = 4 };
static volatile float sink; // results go somewhere, so that the loops stay

void ZK_ISA_FN(zk_bench_read)(const float *x, int64_t n, int threads) {
  const int64_t part = n / LINE / STREAMS / threads * LINE; // floats of one stream
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int t = 0; t < threads; t++) {
    const float *at = x + t * STREAMS * part;
    zk_vf acc[STREAMS * LINE / ZK_VLEN];
    for (int j = 0; j < STREAMS * LINE / ZK_VLEN; j++) acc[j] = zk_vf_zero();
    for (int64_t i = 0; i < part; i += LINE)
      for (int s = 0; s < STREAMS; s++) {
        __builtin_prefetch(at + s * part + i + 64 * LINE, 0, 2);
        for (int j = 0; j < LINE / ZK_VLEN; j++)
          acc[s * LINE / ZK_VLEN + j] =
              zk_vf_add(acc[s * LINE / ZK_VLEN + j], zk_vf_load(at + s * part + i + j * ZK_VLEN));
      }
    float sum[ZK_VLEN];
    for (int j = 1; j < STREAMS * LINE / ZK_VLEN; j++) acc[0] = zk_vf_add(acc[0], acc[j]);
    zk_vf_store(sum, acc[0]);
    sink = sum[0];
  }
}

double ZK_ISA_FN(zk_bench_fma)(int64_t steps, int threads) {
  enum { CHAINS = 12 };
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int t = 0; t < threads; t++) {
    zk_vf acc[CHAINS];
    const zk_vf a = zk_vf_set1(sink != 0.0f ? 0.5f : 0.25f), b = zk_vf_set1(1.0f);
#pragma GCC unroll 12
    for (int j = 0; j < CHAINS; j++) acc[j] = zk_vf_set1((float)j);
    for (int64_t i = 0; i < steps; i++)
#pragma GCC unroll 12
      for (int j = 0; j < CHAINS; j++) acc[j] = zk_vf_fma(acc[j], a, b);
    float sum[ZK_VLEN];
#pragma GCC unroll 12
    for (int j = 1; j < CHAINS; j++) acc[0] = zk_vf_add(acc[0], acc[j]);
    zk_vf_store(sum, acc[0]);
    sink = sum[0];
  }
  return 2.0 * (double)steps * CHAINS * ZK_VLEN * threads;
}
