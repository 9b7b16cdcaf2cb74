// Rotary position embedding on a CPU: tokens shared among threads.
#include "kernels/backend.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

static zk_status rotate(zk_stream *stream, const zk_rope_desc *desc, float sign, const int32_t *positions,
                        const float *cos_table, const float *sin_table, void *x) {
  const zk_device *device = zk_stream_device(stream);
  const int32_t half = desc->head_dim / 2;
  const int64_t width = (int64_t)desc->num_heads * desc->head_dim;
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, desc->num_rows * width);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t t = 0; t < desc->num_rows; t++) {
    const int64_t row = (int64_t)positions[t] * half;
    const float *cos_row = cos_table + row, *sin_row = sin_table + row;
    if (desc->numerics == ZK_F32)
      ZK_ISA_CALL(isa, zk_cpu_rope_token, desc->num_heads, half, sign, cos_row, sin_row, (float *)x + t * width);
    else
      ZK_ISA_CALL(isa, zk_cpu_rope_token_bf16, desc->num_heads, half, sign, cos_row, sin_row, (zk_bf16 *)x + t * width);
  }
  return ZK_OK;
}

zk_status zk_cpu_rope_forward(zk_stream *stream, const zk_rope_desc *desc, const int32_t *positions,
                              const float *cos_table, const float *sin_table, void *x) {
  return rotate(stream, desc, 1.0f, positions, cos_table, sin_table, x);
}

zk_status zk_cpu_rope_backward(zk_stream *stream, const zk_rope_desc *desc, const int32_t *positions,
                               const float *cos_table, const float *sin_table, void *dx) {
  return rotate(stream, desc, -1.0f, positions, cos_table, sin_table, dx);
}

// A CPU gains nothing from one pass.
zk_status zk_cpu_rope_cache_fused(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_attention_batch *batch,
                                  const zk_rope_cache_io *io, bool *done) {
  (void)stream, (void)desc, (void)batch, (void)io;
  *done = false;
  return ZK_OK;
}
zk_status zk_cpu_rope_norm_backward_fused(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_chunks *chunks,
                                          const zk_rope_norm_gradients *gradients, bool *done) {
  (void)stream, (void)desc, (void)chunks, (void)gradients;
  *done = false;
  return ZK_OK;
}
zk_status zk_cpu_rope_attention_fused(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_attention_batch *batch,
                                      const zk_rope_cache_io *io, void *out, float *lse, bool *done) {
  (void)stream, (void)desc, (void)batch, (void)io, (void)out, (void)lse;
  *done = false;
  return ZK_OK;
}
