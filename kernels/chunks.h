// Token chunks: how long sums over tokens are cut (the law, point 4). A leaf's whole sequences are packed greedily, in
// order, into chunks of at most 4,096 tokens, each sequence counted as its length rounded up to 16; a longer sequence
// is cut every 4,096. Chunk boundaries are a function of the leaf alone. A microbatch is whole chunks, so its size
// changes no bit.
#ifndef ZK_KERNELS_CHUNKS_H
#define ZK_KERNELS_CHUNKS_H

#include <stdint.h>
#include "kernels/status.h"

#define ZK_CHUNK_TOKENS 4096

// The chunks of one microbatch: rows [row_start[c], row_start[c+1]) for c < num_chunks. Host memory, owned by the
// caller.
typedef struct {
  int32_t num_chunks;
  const int32_t *row_start; // [num_chunks + 1]
} zk_chunks;

#ifdef __cplusplus
extern "C" {
#endif
// ZK_INTERNAL unless the chunks are ascending, at most ZK_CHUNK_TOKENS rows each, and together exactly [0, num_rows).
zk_status zk_chunks_validate(const zk_chunks *chunks, int64_t num_rows);
#ifdef __cplusplus
}
#endif

#endif
