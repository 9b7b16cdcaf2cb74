// The LM head of `numerics: vendor` on the CPU: logits of a few rows, or gradients of a slab of 4,096 ids, stand in memory between OpenBLAS's
// products.
#include "kernels/cpu/convert.h"
#include "kernels/cpu/openblas.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vendor.h"

void zk_cpu_vendor_logits(const zk_lmhead_forward *call, int64_t row, int64_t rows, float *x_wide, float *c,
                          int64_t ldc) {
  const zk_openblas *blas;
  const int64_t hidden = call->hidden;
  if (zk_openblas_load(&blas) != ZK_OK) return; // the caller has loaded it
  ZK_ISA_CALL(call->isa, zk_cpu_widen, rows * hidden, (const zk_bf16 *)call->x + row * hidden, x_wide);
  zk_openblas_sgemm(blas, false, true, rows, call->vocab, hidden, x_wide, hidden, call->packed, hidden, 0.0f, c, ldc);
}

zk_status zk_cpu_vendor_lmhead_backward(zk_stream *stream, const zk_lmhead_backward_chunk *call) {
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  const int64_t rows = call->num_rows, hidden = call->hidden, slab = zk_cpu_min(call->vocab, ZK_VOCAB_CHUNK);
  const zk_openblas *blas;
  float *x; // [T,K]; then dx in f32 [T,K], logits and their gradients [T,slab]
  ZK_TRY(zk_openblas_load(&blas));
  ZK_TRY(zk_stream_scratch(stream, (size_t)(rows * (2 * hidden + slab)) * sizeof(float), (void **)&x));
  float *sum = x + rows * hidden, *dlogit = sum + rows * hidden;
  zk_cpu_vendor_widen(device, rows * hidden, call->x, x);
  for (int64_t first = 0; first < call->vocab; first += slab) {
    const int64_t num = zk_cpu_min(slab, call->vocab - first);
    const float *weight = call->packed + first * hidden;
    zk_openblas_sgemm(blas, false, true, rows, num, hidden, x, hidden, weight, hidden, 0.0f, dlogit, slab);
    ZK_ISA_CALL(isa, zk_lmhead_gradient_rows, call, (int32_t)first, (int32_t)num, dlogit, slab);
    if (call->dweight != NULL)
      zk_openblas_sgemm(blas, true, false, num, hidden, rows, dlogit, slab, x, hidden, 1.0f,
                        call->dweight + first * hidden, hidden);
    zk_openblas_sgemm(blas, false, false, rows, hidden, num, dlogit, slab, weight, hidden, first > 0 ? 1.0f : 0.0f, sum,
                      hidden);
  }
  ZK_ISA_CALL(isa, zk_cpu_narrow, rows * hidden, sum, call->dx);
  return ZK_OK;
}
