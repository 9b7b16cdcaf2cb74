// The part of the gradient tree above the workers: every worker's subtrees go to the owners of the shards, who finish the tree.
//
// Shards are walked a bucket at a time: elements [at, at + width) of every shard. While one bucket is summed the next is under way, in one of
// two receive buffers. What goes out is read where it lies, the owner's own pieces too, and a bucket's pieces become its sum in one
// kernel (kernels/add_tree.h): a sum reads every piece once and writes the shard once.
#ifndef ZK_TRAINER_LEAF_EXCHANGE_H
#define ZK_TRAINER_LEAF_EXCHANGE_H

#include "shared/comm_device.h"
#include "trainer/leaf_nodes.h"

#define ZK_LEAF_RECEIVE_BYTES ((size_t)256 << 20) // of both receive buffers; more would not be faster

typedef struct zk_leaf_exchange zk_leaf_exchange;

// Among the ranks of `link`, more than one. starts [num_ranks + 1]: element boundaries of the shards; borrowed, like `link`. Not collective; the caller
// closes it, also after a failure.
zk_status zk_leaf_exchange_open(zk_device *device, zk_comm_device *link, int32_t num_leaves, const int64_t *starts, zk_leaf_exchange **out);
void zk_leaf_exchange_close(zk_leaf_exchange *exchange);
size_t zk_leaf_exchange_bytes(int64_t num_elements, int32_t num_leaves, int num_ranks); // device memory of one, at most
// shard (device) = this rank's shard of the root over all ranks' subtrees; this rank's are nodes[0 .. zk_leaf_nodes), whole vectors. Waits for
// `stream` first. All ranks fail alike. Collective.
zk_status zk_leaf_exchange_run(zk_leaf_exchange *exchange, zk_stream *stream, int num_nodes, const zk_tree_piece *nodes, float *shard);

#endif
