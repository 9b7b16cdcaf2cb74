// Pieces of a binary tree of sums added up in one pass over memory: what is left of the leaves' gradients when every worker has summed
// its own.
//
// Node `index` of `level` stands for leaves [index << level, (index + 1) << level) of the tree; node (level, i) = node(level - 1, 2i) +
// node(level - 1, 2i + 1), one IEEE addition each, left + right: the bits are those of zk_add, node by node.
#ifndef ZK_KERNELS_ADD_TREE_H
#define ZK_KERNELS_ADD_TREE_H

#include "kernels/device.h"

#define ZK_TREE_MAX_PIECES 128 // of one call
#define ZK_TREE_MAX_LEVELS 13  // 4,096 leaves

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  int32_t level, index;
  float *data; // device
} zk_tree_piece;

// Additions that piece (level, index) makes complete when the pieces before it are there: it is a right child this many times over.
static inline int32_t zk_tree_merges(int32_t index) {
  int32_t merges = 0;
  while (index >> merges & 1) merges++;
  return merges;
}

// dst[i] = the root over pieces[0 .. num_pieces), i < num_elements. The pieces, leaves ascending, are all that lies under one node, the
// root, and each lies under no other; 1 to ZK_TREE_MAX_PIECES of them, within ZK_TREE_MAX_LEVELS levels. dst may be any of the pieces.
// Fastest where all addresses are multiples of 16. Counts as zk_add.
zk_status zk_add_tree(zk_stream *stream, int64_t num_elements, int32_t num_pieces, const zk_tree_piece *pieces, float *dst);

#ifdef __cplusplus
}
#endif
#endif
