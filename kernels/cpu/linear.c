// Linear layers on the CPU: what each operation is as a matrix multiplication.
#include "kernels/backend.h"

#include "kernels/cpu/bias.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/linear_bf16.h"
#include "kernels/cpu/vendor.h"

// Gives the call its scratch and threads, and runs it.
static zk_status run(zk_stream *stream, zk_gemm *call) {
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  call->threads = zk_gemm_threads(device, call->m, call->n, call->k);
  void *scratch;
  ZK_TRY(zk_stream_scratch(stream, ZK_ISA_PICK(isa, zk_gemm_scratch_bytes)(call), &scratch));
  ZK_ISA_PICK(isa, zk_gemm_run)(call, scratch);
  return ZK_OK;
}

size_t zk_cpu_linear_packed_bytes(const zk_device *device, zk_numerics numerics, int32_t in_features,
                                  int32_t out_features) {
  // bf16 factors are widened a step at a time, which costs less than reading them widened.
  if (numerics == ZK_BF16) return 0;
  if (numerics == ZK_VENDOR) return (size_t)in_features * (size_t)out_features * sizeof(float);
  return zk_gemm_panel_floats(out_features, in_features) * sizeof(float);
}

zk_status zk_cpu_linear_pack(zk_stream *stream, const zk_linear_desc *desc, const void *weight, void *packed) {
  if (desc->numerics == ZK_BF16) return ZK_OK;
  const zk_device *device = zk_stream_device(stream);
  if (desc->numerics == ZK_VENDOR) {
    zk_cpu_vendor_widen(device, (int64_t)desc->in_features * desc->out_features, weight, packed);
    return ZK_OK;
  }
  const zk_gemm_operand w = {.data = weight, .ld = desc->in_features, .layout = ZK_GEMM_K_INNER};
  ZK_ISA_PICK(zk_device_isa(device), zk_gemm_pack)
  (&w, desc->out_features, desc->in_features, ZK_PANEL, zk_device_threads(device), packed);
  return ZK_OK;
}

zk_status zk_cpu_linear_forward(zk_stream *stream, const zk_linear_desc *desc, const void *x, const void *weight,
                                const void *packed, const void *bias, const void *addend, void *y) {
  if (desc->numerics == ZK_VENDOR) return zk_cpu_vendor_linear_forward(stream, desc, x, packed, bias, addend, y);
  if (desc->numerics == ZK_BF16) {
    zk_cpu_linear_bf16_forward(stream, desc, x, weight, bias, addend, y);
    return ZK_OK;
  }
  const int32_t in = desc->in_features, out = desc->out_features;
  zk_gemm call = {.m = desc->num_rows,
                  .n = out,
                  .k = in,
                  .a = {.data = x, .ld = in, .layout = ZK_GEMM_K_INNER},
                  .b = {.data = packed, .layout = ZK_GEMM_PANELS},
                  .c = y,
                  .ldc = out,
                  .bias = bias,
                  .addend = addend,
                  .ld_addend = out};
  if (packed == NULL) call.b = (zk_gemm_operand){.data = weight, .ld = in, .layout = ZK_GEMM_K_INNER};
  return run(stream, &call);
}

// A CPU gains nothing from one pass.
zk_status zk_cpu_linear_parts_fused(zk_stream *stream, const zk_linear_parts *parts, const void *x, bool *done) {
  (void)stream, (void)parts, (void)x;
  *done = false;
  return ZK_OK;
}
zk_status zk_cpu_linear_swiglu_fused(zk_stream *stream, const zk_linear_parts *parts, const void *x, void *out, bool *done) {
  (void)stream, (void)parts, (void)x, (void)out;
  *done = false;
  return ZK_OK;
}

zk_status zk_cpu_linear_parts_input_fused(zk_stream *stream, const zk_linear_back_parts *parts, void *dx, bool *done) {
  (void)stream, (void)parts, (void)dx;
  *done = false;
  return ZK_OK;
}

zk_status zk_cpu_linear_parts_weight_fused(zk_stream *stream, const zk_linear_back_parts *parts, const zk_chunks *chunks, const void *x, bool *done) {
  (void)stream, (void)parts, (void)chunks, (void)x;
  *done = false;
  return ZK_OK;
}

zk_status zk_cpu_linear_backward_input(zk_stream *stream, const zk_linear_desc *desc, const void *dy,
                                       const void *weight, const void *addend, void *dx) {
  if (desc->numerics == ZK_VENDOR) return zk_cpu_vendor_linear_backward_input(stream, desc, dy, weight, addend, dx);
  if (desc->numerics == ZK_BF16) {
    zk_cpu_linear_bf16_backward_input(stream, desc, dy, weight, addend, dx);
    return ZK_OK;
  }
  const int32_t in = desc->in_features, out = desc->out_features;
  zk_gemm call = {.m = desc->num_rows,
                  .n = in,
                  .k = out,
                  .a = {.data = dy, .ld = out, .layout = ZK_GEMM_K_INNER},
                  .b = {.data = weight, .ld = in, .layout = ZK_GEMM_K_OUTER},
                  .c = dx,
                  .ldc = in,
                  .addend = addend,
                  .ld_addend = in};
  return run(stream, &call);
}

// dweight = (one chunk's chain) + dweight.
static zk_status chunk_weight(zk_stream *stream, const zk_linear_desc *desc, int64_t num_rows, const float *dy,
                              const float *x, float *dweight) {
  const int32_t in = desc->in_features, out = desc->out_features;
  zk_gemm call = {.m = out,
                  .n = in,
                  .k = num_rows,
                  .a = {.data = dy, .ld = out, .layout = ZK_GEMM_K_OUTER},
                  .b = {.data = x, .ld = in, .layout = ZK_GEMM_K_OUTER},
                  .c = dweight,
                  .ldc = in,
                  .addend = dweight,
                  .ld_addend = in};
  return run(stream, &call);
}

zk_status zk_cpu_linear_backward_weight(zk_stream *stream, const zk_linear_desc *desc, const zk_chunks *chunks,
                                        const void *dy, const void *x, float *dweight, float *dbias) {
  const zk_device *device = zk_stream_device(stream);
  const int64_t in = desc->in_features, out = desc->out_features, bytes = (int64_t)zk_numerics_bytes(desc->numerics);
  if (desc->numerics == ZK_VENDOR)
    ZK_TRY(zk_cpu_vendor_linear_backward_weight(stream, desc, desc->num_rows, dy, x, dweight));
  for (int32_t c = 0; c < chunks->num_chunks; c++) {
    const int64_t row = chunks->row_start[c], num_rows = chunks->row_start[c + 1] - row;
    const void *dy_chunk = (const char *)dy + row * out * bytes, *x_chunk = (const char *)x + row * in * bytes;
    if (num_rows == 0) continue;
    if (desc->numerics == ZK_BF16)
      zk_cpu_linear_bf16_backward_weight(stream, desc, num_rows, dy_chunk, x_chunk, dweight);
    else if (desc->numerics == ZK_F32) ZK_TRY(chunk_weight(stream, desc, num_rows, dy_chunk, x_chunk, dweight));
    if (dbias == NULL) continue;
    void *scratch;
    ZK_TRY(zk_stream_scratch(stream, zk_bias_scratch_bytes(num_rows, out), &scratch));
    ZK_ISA_PICK(zk_device_isa(device), zk_bias_gradient)
    (desc->numerics, num_rows, out, dy_chunk, zk_gemm_threads(device, num_rows, out, 1), scratch, dbias);
  }
  return ZK_OK;
}
