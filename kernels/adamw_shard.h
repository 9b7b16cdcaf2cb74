// AdamW over a shard of the flat parameter vector, and the hashes of all that it leaves there, as one call, so that a device may make one
// pass of them.
//
// Order: that of zk_adamw for every stretch of elements with or without weight decay, and of zk_hash_elements; it counts as these
// operations, and their faults reach it.
#ifndef ZK_KERNELS_ADAMW_SHARD_H
#define ZK_KERNELS_ADAMW_SHARD_H

#include <stdbool.h>

#include "kernels/adamw.h"

#ifdef __cplusplus
extern "C" {
#endif

// Elements [first, end) of the flat vector, by global index.
typedef struct {
  int64_t first, end;
} zk_adamw_range;

typedef struct {
  zk_numerics numerics;
  int64_t first, count, total;  // the shard [first, first + count) of `total` elements; first is a multiple of 4
  const zk_adamw_range *fixed;  // host, ascending, apart: where weight decay does not apply; they may reach beyond the shard
  int32_t num_fixed;
  float *master, *m, *v;        // device [count]
  const float *grad;            // device [count]
  void *working;                // device [count] of `numerics`; in f32 it may be master
} zk_adamw_shard_desc;

// Hashes of the shard after the update: of the working weights at their global index, and of what state/hash has, one index space for
// master weights, then first moments, then second ones.
typedef struct {
  uint64_t working, state;
} zk_adamw_hashes;

// Waits.
zk_status zk_adamw_shard(zk_stream *stream, const zk_adamw_params *params, const zk_adamw_shard_desc *desc, zk_adamw_hashes *hashes);

// For kernels/ only: all of it by one kernel of the device, or *done false and nothing queued.
zk_status zk_adamw_shard_fused(zk_stream *stream, const zk_adamw_params *params, const zk_adamw_shard_desc *desc, zk_adamw_hashes *hashes,
                               bool *done);

#ifdef __cplusplus
}
#endif
#endif
