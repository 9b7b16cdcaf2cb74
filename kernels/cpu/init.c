// Random weights on a CPU: threads take spans of elements.
#include "kernels/cpu/init.h"

#include "kernels/backend.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/parallel.h"
#include "kernels/init.h"

enum { SPAN = 4096 };

void zk_init_normal_host(uint64_t seed, int64_t first, int64_t n, double scale, float *out) {
  const zk_cpu_isa isa = zk_cpu_isa_best();
#pragma omp parallel for schedule(static) if (n > 2 * ZK_CPU_GRAIN)
  for (int64_t at = 0; at < n; at += SPAN) ZK_ISA_CALL(isa, zk_cpu_init, seed, first + at, zk_cpu_min(SPAN, n - at), scale, out + at);
}

zk_status zk_cpu_init_normal(zk_stream *stream, zk_numerics numerics, uint64_t seed, int64_t first, int64_t n, double scale, void *out) {
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, n);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t at = 0; at < n; at += SPAN) {
    float span[SPAN];
    const int64_t count = zk_cpu_min(SPAN, n - at);
    float *weights = numerics == ZK_F32 ? (float *)out + at : span;
    ZK_ISA_CALL(isa, zk_cpu_init, seed, first + at, count, scale, weights);
    if (numerics != ZK_F32) ZK_ISA_CALL(isa, zk_cpu_narrow, count, weights, (zk_bf16 *)out + at);
  }
  return ZK_OK;
}
