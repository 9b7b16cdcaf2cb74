// Leaves' gradients combined in one fixed binary tree over the leaf index, whatever the number of ranks (the law, point 10).
//
// A rank walks its contiguous leaves in order and keeps a binary counter of partial sums: whenever two sums are siblings in the tree
// they are added, left + right. What remains are the largest subtrees inside its range (leaf_nodes.h). Then every rank sends, for each shard,
// its subtrees' pieces to the shard's owner, who adds them in tree order (leaf_exchange.h).
#ifndef ZK_TRAINER_LEAF_TREE_H
#define ZK_TRAINER_LEAF_TREE_H

#include "kernels/device.h"
#include "shared/comm_device.h"

typedef struct zk_leaf_tree zk_leaf_tree;

// For gradients of num_elements fp32 and num_leaves leaves (a power of two). shard_starts [num_ranks + 1]: element boundaries of the
// shards, multiples of 4,096 but for the last; borrowed, like `link`. Not collective; the caller closes it, also after a failure.
zk_status zk_leaf_tree_open(zk_device *device, zk_comm_device *link, int64_t num_elements, int32_t num_leaves, const int64_t *shard_starts,
                            zk_leaf_tree **out);
void zk_leaf_tree_close(zk_leaf_tree *tree);
size_t zk_leaf_tree_bytes(int64_t num_elements, int32_t num_leaves, int num_ranks); // the most it will allocate

// A buffer [num_elements] for the next leaf's gradient; it stays the tree's.
zk_status zk_leaf_tree_buffer(zk_leaf_tree *tree, float **out);
// Takes in that buffer as leaf `leaf`. A rank pushes its leaves ascending.
zk_status zk_leaf_tree_push(zk_leaf_tree *tree, zk_stream *stream, int32_t leaf, float *buffer);
// Sums all leaves of all ranks into shard (device, [own shard's elements]) and empties the tree. All ranks fail alike. Collective.
zk_status zk_leaf_tree_reduce(zk_leaf_tree *tree, zk_stream *stream, float *shard);

#endif
