// Linear layer: y = x W^T + b, W as Hugging Face stores it, [out, in] row-major.
//
// Order, f32, for any size of in and out:
//   y[t][n]: one chain over k ascending of fma(x[t][k], W[n][k], acc) from +0; then, each a single rounded addition, + bias[n], then
//   + addend[t][n] (the residual).
//   dx[t][k]: one chain over n ascending of fma(dy[t][n], W[n][k], acc) from +0; then + addend[t][k].
//   dW[n][k]: per chunk one chain over its rows ascending of fma(dy[t][n], x[t][k], acc) from +0; dW += chunk sum, chunks ascending.
//   db[n]: per chunk, 64-row blocks (rows counted from the chunk's first), each summed ascending from +0; block sums combined by
//   zk_reduce_tree (kernels/reduce.h); db += chunk sum, chunks ascending.
// vendor has no order: see kernels/README.md.
// bf16: the same with each chain of fma replaced by a chain of tensor-core steps of 16 (kernels/tensor_core.h), the last one padded with
// zeros (dW: at each chunk's end); additions in f32 on widened values; y and dx rounded to bf16 once, at the end; dW and db stay f32.
#ifndef ZK_KERNELS_LINEAR_H
#define ZK_KERNELS_LINEAR_H

#include <stdbool.h>
#include "kernels/chunks.h"
#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  zk_numerics numerics;
  int64_t num_rows;     // tokens, T
  int32_t in_features;  // K
  int32_t out_features; // N
} zk_linear_desc;

// A CPU reads the forward's f32 weights from panels packed once per update (16 outputs side by side, so that a chain's
// lanes are neighbours); bf16 and a GPU read them as they are (packed bytes 0, packed pointer NULL). The weight hash is checked
// over the canonical form.
size_t zk_linear_packed_bytes(const zk_device *device, zk_numerics numerics, int32_t in_features, int32_t out_features);
zk_status zk_linear_pack(zk_stream *stream, const zk_linear_desc *desc, const void *weight /*[N,K]*/, void *packed);

// y[T,N] = x[T,K] W^T (+ bias[N]) (+ addend[T,N]). bias, addend may be NULL; addend may be y itself. `packed` as made
// by zk_linear_pack.
zk_status zk_linear_forward(zk_stream *stream, const zk_linear_desc *desc, const void *x, const void *weight,
                            const void *packed, const void *bias, const void *addend, void *y);
// dx[T,K] = dy[T,N] W (+ addend[T,K]). addend may be NULL or dx itself.
zk_status zk_linear_backward_input(zk_stream *stream, const zk_linear_desc *desc, const void *dy, const void *weight,
                                   const void *addend, void *dx);
// dweight[N,K] += dy^T x, chunk by chunk; dbias[N] likewise when not NULL. Gradients are fp32 in both numerics.
zk_status zk_linear_backward_weight(zk_stream *stream, const zk_linear_desc *desc, const zk_chunks *chunks,
                                    const void *dy, const void *x, float *dweight, float *dbias);

#ifdef __cplusplus
}
#endif
#endif
