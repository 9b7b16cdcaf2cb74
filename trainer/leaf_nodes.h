// Which subtrees of the tree over leaves a worker's leaves make up, and the sum of any number of them. Only numbers: no worker is asked.
#ifndef ZK_TRAINER_LEAF_NODES_H
#define ZK_TRAINER_LEAF_NODES_H

#include "kernels/add_tree.h"

#define ZK_LEAF_MAX_NODES 64 // of one worker: two for each level of the tree

// The subtrees that leaves [first, last) fall into, ascending: largest aligned dyadic intervals. Returns their number; data is NULL.
int zk_leaf_nodes(int32_t first, int32_t last, zk_tree_piece *out);
// Gradient buffers that a worker holds while it computes `leaf`, the leaves from `first` on being done: their subtrees, and the leaf; and the most it
// holds while it computes leaves [first, last).
int zk_leaf_buffers_at(int32_t first, int32_t leaf);
int zk_leaf_most_buffers(int32_t first, int32_t last);
// zk_add_tree of any number of pieces. Where there are more than it takes, pieces are overwritten.
zk_status zk_leaf_nodes_sum(zk_stream *stream, int64_t num_elements, int32_t num_pieces, const zk_tree_piece *pieces, float *dst);

#endif
