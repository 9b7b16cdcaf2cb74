// What a layer does between its q, k and v products and its o product: head norms, RoPE, the cache's writing (rope_cache.h) and
// attention. One call, so that a device may make one pass of it.
//
// Order: that of zk_rope_cache and of zk_attention_forward, one after the other, each rounding what it would store; it counts as
// their operations, and their faults reach it.
#ifndef ZK_KERNELS_ROPE_ATTENTION_H
#define ZK_KERNELS_ROPE_ATTENTION_H

#include "kernels/rope_cache.h"

#ifdef __cplusplus
extern "C" {
#endif

// out[T,Hq,D] and lse[T,Hq] as zk_attention_forward's. q and k of io are room to work in: what they hold afterwards is not said.
zk_status zk_rope_attention(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_attention_batch *batch,
                            const zk_rope_cache_io *io, void *out, float *lse);

// For kernels/ only: all of it by one kernel of the device, or *done false and nothing queued.
zk_status zk_rope_attention_fused(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_attention_batch *batch,
                                  const zk_rope_cache_io *io, void *out, float *lse, bool *done);

#ifdef __cplusplus
}
#endif
#endif
