// Token embedding. Forward copies rows. Backward adds each token's gradient row to its embedding row in token order:
// dtable[token[t]][h] += dx[t][h], t ascending over the leaf, one rounded addition each.
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
} zk_embedding_desc;

// x[T,H] = table[V,H][tokens[T]]. Token ids outside [0,V) are ZK_BAD_INPUT naming the row.
zk_status zk_embedding_forward(zk_stream *stream, const zk_embedding_desc *desc, const int32_t *tokens, const void *table, void *x);
zk_status zk_embedding_backward(zk_stream *stream, const zk_embedding_desc *desc, const int32_t *tokens, const void *dx, float *dtable);

#ifdef __cplusplus
}
#endif
#endif
