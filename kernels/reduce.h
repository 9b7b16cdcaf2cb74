// The fixed trees every long fp32 sum of the contract uses.
//
// zk_reduce_tree(n values): pairwise over aligned dyadic intervals: with n padded up to a power of two by absent elements,
// node(level, i) = node(level-1, 2i) + node(level-1, 2i+1); an absent right child leaves the left one unchanged. One IEEE add a node.
// zk_reduce_lanes: ZK_LANES lane accumulators, element i belongs to lane i % ZK_LANES, lanes ascend; then the lanes are halved:
// lane[j] += lane[j + 64], then 32, 16, 8, 4, 2, 1. Absent lanes hold +0 and are added like the rest.
#ifndef ZK_KERNELS_REDUCE_H
#define ZK_KERNELS_REDUCE_H

#include "kernels/device.h"

#define ZK_LANES 128
#define ZK_GRAD_BLOCK_ROWS 64      // bias and norm gradients
#define ZK_BLOCK_ELEMENTS 4096     // global norm, hashes and shard boundaries, by global element index

#ifdef __cplusplus
extern "C" {
#endif

// In place; returns the sum of values[0..n) in tree order. n = 0 gives +0. Host memory.
float zk_reduce_tree(float *values, int64_t n);

// Sum of squares of every 4,096-element block: block_sums[b] = lanes over x[4096 b .. ) with fma(x, x, lane). The last block may
// be short. x: device, block_sums: device [ceil(n / 4096)] fp32. The global norm is the tree over all blocks of the flat vector.
zk_status zk_sum_squares(zk_stream *stream, int64_t num_elements, const float *x, float *block_sums);

// *sum = zk_reduce_tree(n values), of which none is -0; the values are lost. Both: device memory.
zk_status zk_sum_tree(zk_stream *stream, int64_t n, float *values, float *sum);

// dst[i] = a[i] + b[i], one rounding (bf16: of the f32 sum, once more to bf16). dst may be a or b. The node of every gradient tree.
zk_status zk_add(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *a, const void *b, void *dst);
// dst[i] = a[i] * scale, one rounding (bf16: of the f32 product, once more to bf16). dst may be a. An adapter's alpha / rank
// (kernels/README.md, LoRA).
zk_status zk_scale(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *a, float scale, void *dst);
// ZK_NOT_FINITE naming the first bad index if any of n floats is NaN or infinite. Waits.
zk_status zk_require_finite(zk_stream *stream, int64_t num_elements, const float *x, const char *what);

#ifdef __cplusplus
}
#endif
#endif
