// What a layer does between its q, k and v products and its attention: norms of each head of q and k (where the model
// has them), RoPE of q and k, and k and v into the cache's pages. One call, so that a device may make one pass of it.
//
// Order: that of zk_rmsnorm_forward, zk_rope_forward and zk_kv_write, one after the other, each rounding what it would
// store; it counts as these operations, and their faults reach it.
#ifndef ZK_KERNELS_ROPE_CACHE_H
#define ZK_KERNELS_ROPE_CACHE_H

#include <stdbool.h>

#include "kernels/attention.h"
#include "kernels/chunks.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  zk_attention_desc attention;
  const void *q_weight, *k_weight; // [D] of the head norms; both NULL: there are none
  float eps;
  const int32_t *positions;           // [T]
  const float *cos_table, *sin_table; // as zk_rope_forward
} zk_rope_cache_desc;

typedef struct {
  const void *q_raw, *k_raw, *v; // [T,Hq,D], [T,Hkv,D], [T,Hkv,D]
  void *q, *k; // q [T,Hq,D] for attention; k [T,Hkv,D]: room to work in. Without head norms q is q_raw and k is k_raw;
               // else they may be
  float *rstd_q, *rstd_k; // [T,Hq], [T,Hkv] of the head norms; may be NULL
  void *k_cache, *v_cache;
} zk_rope_cache_io;

zk_status zk_rope_cache(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_attention_batch *batch,
                        const zk_rope_cache_io *io);

// What a layer does with the gradients of q and k behind its attention: RoPE backwards, then the head norms (desc has them). One call, likewise;
// the order is that of zk_rope_backward and zk_rmsnorm_backward, one after the other, each rounding what it would store.
typedef struct {
  const void *q_raw, *k_raw;      // [T,Hq,D], [T,Hkv,D] before the norms
  const float *rstd_q, *rstd_k;   // as the forward pass gave them
  void *dq, *dk;                  // in place
  float *dq_weight, *dk_weight;   // [D], += ...
} zk_rope_norm_gradients;
zk_status zk_rope_norm_backward(zk_stream *stream, const zk_rope_cache_desc *desc, int64_t num_rows, const zk_chunks *chunks,
                                const zk_rope_norm_gradients *gradients);

// For kernels/ only: all of it by one kernel of the device, or *done false and nothing queued.
zk_status zk_rope_norm_backward_fused(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_chunks *chunks,
                                      const zk_rope_norm_gradients *gradients, bool *done);
zk_status zk_rope_cache_fused(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_attention_batch *batch,
                              const zk_rope_cache_io *io, bool *done);

#ifdef __cplusplus
}
#endif
#endif
