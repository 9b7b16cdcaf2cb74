// SwiGLU on a CPU.
#include "kernels/backend.h"

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/rows.h"

zk_status zk_cpu_swiglu_forward(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *gate,
                                const void *up, void *out) {
  ZK_CPU_ELEMENTWISE(stream, numerics, num_elements, zk_cpu_swiglu, (const element *)gate + i, (const element *)up + i, (element *)out + i);
  return ZK_OK;
}

zk_status zk_cpu_swiglu_backward(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *gate,
                                 const void *up, const void *dout, void *dgate, void *dup) {
  ZK_CPU_ELEMENTWISE(stream, numerics, num_elements, zk_cpu_swiglu_backward, (const element *)gate + i, (const element *)up + i,
                     (const element *)dout + i, (element *)dgate + i, (element *)dup + i);
  return ZK_OK;
}
