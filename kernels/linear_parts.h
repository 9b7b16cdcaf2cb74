// Linear layers of one input as one call, so that a device may make one pass of them: q, k and v; gate and up with SwiGLU behind them; and
// the RMSNorm of their input before them.
//
// Order: that of zk_rmsnorm_forward, of zk_linear_forward for each part, and of zk_swiglu_forward, each rounding what it would store; it
// counts as these operations, and their faults reach it.
#ifndef ZK_KERNELS_LINEAR_PARTS_H
#define ZK_KERNELS_LINEAR_PARTS_H

#include <stdbool.h>

#include "kernels/linear.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ZK_LINEAR_MOST_PARTS 3

typedef struct {
  int32_t out_features;                // N
  const void *weight, *packed, *bias; // as zk_linear_forward; bias may be NULL
  void *y;                             // [T,N]
} zk_linear_part;

// The norm of x before the layers. y is room to work in: what it holds afterwards is not said.
typedef struct {
  const void *weight; // [K]; NULL: there is none
  float eps;
  void *y; // [T,K]
} zk_linear_norm;

typedef struct {
  zk_numerics numerics;
  int64_t num_rows;    // T
  int32_t in_features; // K
  int32_t num_parts;
  zk_linear_part parts[ZK_LINEAR_MOST_PARTS];
  zk_linear_norm norm;
  bool keeps;          // SwiGLU: gate and up are wanted as well
} zk_linear_parts;

// y of every part from x[T,K], or from its norm.
zk_status zk_linear_parts_forward(zk_stream *stream, const zk_linear_parts *parts, const void *x);
// out[T,N] = SwiGLU of two parts of the same N without bias, gate first. Their y is room to work in, and out may be gate's: what they hold
// afterwards is not said; with `keeps` they are outputs too, and out is apart.
zk_status zk_linear_parts_swiglu(zk_stream *stream, const zk_linear_parts *parts, const void *x, void *out);

// The same layers backwards, in the order of zk_linear_backward_input and zk_linear_backward_weight.
typedef struct {
  int32_t out_features;
  const void *dy, *weight;  // [T,N], [N,K]
  float *dweight, *dbias;   // += ...; dbias may be NULL
} zk_linear_back_part;

typedef struct {
  zk_numerics numerics;
  int64_t num_rows;
  int32_t in_features;
  int32_t num_parts;
  zk_linear_back_part parts[ZK_LINEAR_MOST_PARTS];
  bool first; // every dweight is as good as 0, whatever is there: += sets it
} zk_linear_back_parts;

// dx[T,K]: of the first part, then each following part's product + dx, every one rounded as it would be stored. Weights' gradients of all parts.
zk_status zk_linear_parts_backward(zk_stream *stream, const zk_linear_back_parts *parts, const zk_chunks *chunks, const void *x, void *dx);

// For kernels/ only: all of it by one kernel of the device, or *done false and nothing queued.
zk_status zk_linear_parts_fused(zk_stream *stream, const zk_linear_parts *parts, const void *x, bool *done);
// (of zk_linear_parts_backward: the weights' gradients, and dx)
zk_status zk_linear_parts_weight_fused(zk_stream *stream, const zk_linear_back_parts *parts, const zk_chunks *chunks, const void *x, bool *done);
zk_status zk_linear_parts_input_fused(zk_stream *stream, const zk_linear_back_parts *parts, void *dx, bool *done);
zk_status zk_linear_swiglu_fused(zk_stream *stream, const zk_linear_parts *parts, const void *x, void *out, bool *done);

#ifdef __cplusplus
}
#endif
#endif
