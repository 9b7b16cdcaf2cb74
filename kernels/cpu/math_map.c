// The functions of kernels/math.h over arrays, in the vector form that the CPU kernels use.
#include "kernels/cpu/math_map.h"

#include "kernels/backend.h"
#include "kernels/cpu/exp.h"

zk_status zk_cpu_math_map(zk_stream *stream, zk_math_function f, int64_t n, const void *x, float *y) {
  const zk_cpu_isa isa = zk_device_isa(zk_stream_device(stream));
  switch (f) {
  case ZK_MAP_EXPF: ZK_ISA_CALL(isa, zk_cpu_exp, n, x, y); break;
  case ZK_MAP_LOGF: ZK_ISA_CALL(isa, zk_cpu_map_logf, n, x, y); break;
  case ZK_MAP_EXP2F: ZK_ISA_CALL(isa, zk_cpu_exp2, n, x, y); break;
  case ZK_MAP_EXP2_BF16: ZK_ISA_CALL(isa, zk_cpu_exp2_bf16, n, x, y); break;
  case ZK_MAP_LOG2F: ZK_ISA_CALL(isa, zk_cpu_map_log2f, n, x, y); break;
  case ZK_MAP_GUMBEL: ZK_ISA_CALL(isa, zk_cpu_map_gumbel, n, x, y); break;
  }
  return ZK_OK;
}
