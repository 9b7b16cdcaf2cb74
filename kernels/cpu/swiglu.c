// SwiGLU on a CPU: blocks of elements shared among threads.
#include "kernels/backend.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

zk_status zk_cpu_swiglu_forward(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *gate,
                                const void *up, void *out) {
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, num_elements);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t i = 0; i < num_elements; i += ZK_CPU_GRAIN) {
    const int64_t n = zk_cpu_min(ZK_CPU_GRAIN, num_elements - i);
    if (numerics == ZK_F32)
      ZK_ISA_CALL(isa, zk_cpu_swiglu, n, (const float *)gate + i, (const float *)up + i, (float *)out + i);
    else
      ZK_ISA_CALL(isa, zk_cpu_swiglu_bf16, n, (const zk_bf16 *)gate + i, (const zk_bf16 *)up + i, (zk_bf16 *)out + i);
  }
  return ZK_OK;
}

zk_status zk_cpu_swiglu_backward(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *gate,
                                 const void *up, const void *dout, void *dgate, void *dup) {
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, num_elements);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t i = 0; i < num_elements; i += ZK_CPU_GRAIN) {
    const int64_t n = zk_cpu_min(ZK_CPU_GRAIN, num_elements - i);
    if (numerics == ZK_F32)
      ZK_ISA_CALL(isa, zk_cpu_swiglu_backward, n, (const float *)gate + i, (const float *)up + i,
                  (const float *)dout + i, (float *)dgate + i, (float *)dup + i);
    else
      ZK_ISA_CALL(isa, zk_cpu_swiglu_backward_bf16, n, (const zk_bf16 *)gate + i, (const zk_bf16 *)up + i,
                  (const zk_bf16 *)dout + i, (zk_bf16 *)dgate + i, (zk_bf16 *)dup + i);
  }
  return ZK_OK;
}
