// bf16 linear layers: which operand runs which way, and what becomes of a finished block.
#include "kernels/cpu/linear_bf16.h"

#include "kernels/cpu/tc_gemm.h"

static void run(zk_stream *stream, zk_tc_gemm *call) {
  const zk_device *device = zk_stream_device(stream);
  call->threads = zk_gemm_threads(device, call->m, call->n, call->k);
  ZK_ISA_PICK(zk_device_isa(device), zk_tc_gemm_run)(call);
}

void zk_cpu_linear_bf16_forward(zk_stream *stream, const zk_linear_desc *desc, const zk_bf16 *x, const zk_bf16 *weight,
                                const zk_bf16 *bias, const zk_bf16 *addend, zk_bf16 *y) {
  const int32_t in = desc->in_features, out = desc->out_features;
  zk_tc_rounded rounded = {.y = y, .ld = out, .bias = bias, .addend = addend};
  zk_tc_gemm call = {.m = desc->num_rows,
                     .n = out,
                     .k = in,
                     .a = {.data = x, .ld = in, .layout = ZK_GEMM_K_INNER},
                     .b = {.data = weight, .ld = in, .layout = ZK_GEMM_K_INNER},
                     .finish = ZK_ISA_PICK(zk_device_isa(zk_stream_device(stream)), zk_tc_finish_rounded),
                     .finish_arg = &rounded};
  run(stream, &call);
}

void zk_cpu_linear_bf16_backward_input(zk_stream *stream, const zk_linear_desc *desc, const zk_bf16 *dy,
                                       const zk_bf16 *weight, const zk_bf16 *addend, zk_bf16 *dx) {
  const int32_t in = desc->in_features, out = desc->out_features;
  zk_tc_rounded rounded = {.y = dx, .ld = in, .addend = addend};
  zk_tc_gemm call = {.m = desc->num_rows,
                     .n = in,
                     .k = out,
                     .a = {.data = dy, .ld = out, .layout = ZK_GEMM_K_INNER},
                     .b = {.data = weight, .ld = in, .layout = ZK_GEMM_K_OUTER},
                     .finish = ZK_ISA_PICK(zk_device_isa(zk_stream_device(stream)), zk_tc_finish_rounded),
                     .finish_arg = &rounded};
  run(stream, &call);
}

void zk_cpu_linear_bf16_backward_weight(zk_stream *stream, const zk_linear_desc *desc, int64_t num_rows,
                                        const zk_bf16 *dy, const zk_bf16 *x, float *dweight) {
  const int32_t in = desc->in_features, out = desc->out_features;
  zk_tc_added added = {.sum = dweight, .ld = in};
  zk_tc_gemm call = {.m = out,
                     .n = in,
                     .k = num_rows,
                     .a = {.data = dy, .ld = out, .layout = ZK_GEMM_K_OUTER},
                     .b = {.data = x, .ld = in, .layout = ZK_GEMM_K_OUTER},
                     .finish = ZK_ISA_PICK(zk_device_isa(zk_stream_device(stream)), zk_tc_finish_added),
                     .finish_arg = &added};
  run(stream, &call);
}
