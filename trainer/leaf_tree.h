// Leaves' gradients combined in one fixed binary tree over the leaf index, whatever the number of ranks (the law, point 10).
//
// A rank walks its contiguous leaves in order and keeps a binary counter of partial sums: whenever two sums are siblings in the tree
// they are added, left + right. What remains are the largest subtrees inside its range (leaf_nodes.h). Then every rank sends, for each shard,
// its subtrees' pieces to the shard's owner, who adds them in tree order (leaf_exchange.h). With several ranks that begins while the rank's last
// leaf is computed: a stretch of it that is final (leaf_stretches.h) is added to the sums that wait for it, and sent.
#ifndef ZK_TRAINER_LEAF_TREE_H
#define ZK_TRAINER_LEAF_TREE_H

#include <stdbool.h>

#include "kernels/device.h"
#include "shared/comm_device.h"
#include "trainer/leaf_stretches.h"

typedef struct zk_leaf_tree zk_leaf_tree;

// For gradients that become final by stretches [num_stretches], together their elements, and num_leaves leaves (a power of two). shard_starts
// [num_ranks + 1]: element boundaries of the shards, multiples of 4,096 but for the last. All borrowed, like `link`. Not collective; the caller closes it, also
// after a failure.
zk_status zk_leaf_tree_open(zk_device *device, zk_comm_device *link, const zk_stretch *stretches, int num_stretches, int32_t num_leaves,
                            const int64_t *shard_starts, zk_leaf_tree **out);
void zk_leaf_tree_close(zk_leaf_tree *tree);
size_t zk_leaf_tree_bytes(int64_t num_elements, int32_t num_leaves, int num_ranks); // the most it will allocate, splits as zk_leaf_split's

// Empties the tree for a new sum, into shard (device, [own shard's elements]; of one rank, all: its first leaf is computed there). leaf_starts
// [num_ranks + 1] says whose leaves are whose; it is copied.
void zk_leaf_tree_begin(zk_leaf_tree *tree, const int32_t *leaf_starts, float *shard);
// A buffer [num_elements] for this rank's next leaf, ascending; it stays the tree's. The leaf is computed on `stream`.
zk_status zk_leaf_tree_leaf(zk_leaf_tree *tree, zk_stream *stream, float **out);
// The first num_stretches stretches of that leaf are final after what is queued on `stream` now; in the end, all. Of the rank's last leaf they
// leave at once.
zk_status zk_leaf_tree_ready(zk_leaf_tree *tree, int num_stretches);
// Whether it matters that it is told while the leaf is computed: with several ranks.
bool zk_leaf_tree_exchanges(const zk_leaf_tree *tree);
// For a rank that has failed before its last leaf was done: what it still owes the other ranks leaves as it is. Without memory for that, the failure is
// this rank's alone, and ends the job.
zk_status zk_leaf_tree_give_up(zk_leaf_tree *tree, zk_stream *stream);
// Until the sum of all leaves of all ranks is in the shard. All ranks fail alike. Collective.
zk_status zk_leaf_tree_finish(zk_leaf_tree *tree, zk_stream *stream);

#endif
