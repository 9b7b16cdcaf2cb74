// RMSNorm (Zhang & Sennrich 2019): y = x * rstd * w, rstd = 1 / sqrt(mean(x^2) + eps).
//
// Order: sum of squares by lanes (kernels/reduce.h) with fma(x, x, lane); rstd = 1 / sqrtf(sum / H + eps), each IEEE operation
// rounded to f32; y = (x * rstd) * w.
// Backward, per row: c = lanes over fma(dy * w, x, lane); k = ((c * rstd) * rstd * rstd) / H, dx = fma(-k, x, (dy * w) * rstd); then + addend.
// dw[h]: per chunk: 64-row blocks (rows counted from the chunk's first), each an ascending chain fma(dy, x * rstd, acc) from +0, block
// sums combined by zk_reduce_tree; dw += chunk sum, chunks ascending.
// bf16: the same on widened x, weight, dy and addend; y and dx are rounded once, at the end; rstd and dweight stay f32.
#ifndef ZK_KERNELS_RMSNORM_H
#define ZK_KERNELS_RMSNORM_H

#include "kernels/chunks.h"
#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  zk_numerics numerics;
  int64_t num_rows;      // tokens, T
  int32_t rows_per_token; // 1, or the number of heads for q/k norm: the matrix has T * rows_per_token rows; chunks count tokens
  int32_t width;         // H (hidden, or head_dim)
  float eps;
} zk_rmsnorm_desc;

// y[R,H], rstd[R] from x[R,H], weight[H]; R = T * rows_per_token. rstd may be NULL; y may be x.
zk_status zk_rmsnorm_forward(zk_stream *stream, const zk_rmsnorm_desc *desc, const void *x, const void *weight, void *y, float *rstd);
// dx[R,H] = gradient (+ addend); dx may be dy or addend. dweight[H] += ..., or NULL: it is not wanted.
zk_status zk_rmsnorm_backward(zk_stream *stream, const zk_rmsnorm_desc *desc, const zk_chunks *chunks, const void *dy, const void *x,
                              const void *weight, const float *rstd, const void *addend, void *dx, float *dweight);

#ifdef __cplusplus
}
#endif
#endif
