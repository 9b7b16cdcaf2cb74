// AdamW on a CPU: blocks of elements shared among threads.
#include "kernels/backend.h"

#include "kernels/cpu/convert.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

zk_status zk_cpu_adamw(zk_stream *stream, zk_numerics numerics, const zk_adamw_params *params, int decays,
                       int64_t num_elements, float *master, float *m, float *v, const float *grad, void *working) {
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, num_elements);
  const float decay = decays ? params->decay : 1.0f;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t i = 0; i < num_elements; i += ZK_CPU_GRAIN) {
    const int64_t n = zk_cpu_min(ZK_CPU_GRAIN, num_elements - i);
    float *copy = numerics == ZK_F32 ? (float *)working + i : master + i;
    ZK_ISA_CALL(isa, zk_cpu_adamw, params, decay, n, master + i, m + i, v + i, grad + i, copy);
    if (numerics != ZK_F32) ZK_ISA_CALL(isa, zk_cpu_narrow, n, master + i, (zk_bf16 *)working + i);
  }
  return ZK_OK;
}

// A CPU gains nothing from one pass.
zk_status zk_cpu_adamw_shard_fused(zk_stream *stream, const zk_adamw_params *params, const zk_adamw_shard_desc *desc,
                                   zk_adamw_hashes *hashes, bool *done) {
  (void)stream, (void)params, (void)desc, (void)hashes;
  *done = false;
  return ZK_OK;
}
