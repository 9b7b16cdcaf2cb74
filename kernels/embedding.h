// Token embedding. Forward copies rows. Backward adds each token's gradient row to its embedding row in token order:
// dtable[token[t]][h] += dx[t][h], t ascending over the leaf, one rounded addition each.
// Apart: a row's gradients are summed by themselves, t ascending from +0, and dtable's row is that sum more, one rounded addition; rows of no
// token stay.
// bf16: the table and dx are bf16, dtable is f32; dx is widened.
#ifndef ZK_KERNELS_EMBEDDING_H
#define ZK_KERNELS_EMBEDDING_H

#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  zk_numerics numerics;
  int64_t num_rows; // tokens, T
  int32_t width;    // H
  int32_t vocab;    // V
  bool apart;       // backward, above
} zk_embedding_desc;

// x[T,H] = table[V,H][tokens[T]]. Token ids outside [0,V) are ZK_BAD_INPUT naming the row.
zk_status zk_embedding_forward(zk_stream *stream, const zk_embedding_desc *desc, const int32_t *tokens, const void *table, void *x);
zk_status zk_embedding_backward(zk_stream *stream, const zk_embedding_desc *desc, const int32_t *tokens, const void *dx, float *dtable);

// A step queued before the last one's tokens are known to the host: each of the n tokens that is negative, -1 - i, becomes drawn[i], or 0 where
// drawn[i] is no token. All in device memory.
zk_status zk_tokens_follow(zk_stream *stream, int64_t n, const int32_t *drawn, int32_t *tokens);

#ifdef __cplusplus
}
#endif
#endif
