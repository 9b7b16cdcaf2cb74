// The part of the gradient tree above the workers: every worker's subtrees go to the owners of the shards, who finish the tree, while the workers compute.
//
// A stretch of the gradient that is final on a worker leaves it at once, a bucket at a time; all workers send the same stretches in the same order. While one
// bucket is summed the next is under way, in one of two receive buffers; sums have a stream of their own, so that a worker that computes never waits for
// another one's gradient. What goes out is read where it lies, the owner's own pieces too, and a bucket's pieces become its sum in one
// kernel (kernels/add_tree.h): a sum reads every piece once and writes the shard once.
#ifndef ZK_TRAINER_LEAF_EXCHANGE_H
#define ZK_TRAINER_LEAF_EXCHANGE_H

#include "shared/comm_device.h"
#include "trainer/leaf_nodes.h"
#include "trainer/leaf_stretches.h"

#define ZK_LEAF_RECEIVE_BYTES ((size_t)512 << 20) // of both receive buffers; more is not faster

typedef struct zk_leaf_exchange zk_leaf_exchange;

// Among the ranks of `link`, more than one. stretches [num_stretches]: how the gradient becomes final. starts [num_ranks + 1]: element boundaries of the
// shards. All borrowed, like `link`. Not collective; the caller closes it, also after a failure.
zk_status zk_leaf_exchange_open(zk_device *device, zk_comm_device *link, int32_t num_leaves, const zk_stretch *stretches, int num_stretches,
                                const int64_t *starts, zk_leaf_exchange **out);
void zk_leaf_exchange_close(zk_leaf_exchange *exchange);
size_t zk_leaf_exchange_bytes(int64_t num_elements, int32_t num_leaves, int num_ranks); // device memory of one, at most

// Begins a sum: leaf_starts [num_ranks + 1] says whose leaves are whose; own [zk_leaf_nodes]: where this rank's subtrees will lie, whole vectors, until the
// end of zk_leaf_exchange_finish; shard (device): gets this rank's shard of the root. All but `shard` is copied.
void zk_leaf_exchange_begin(zk_leaf_exchange *exchange, const int32_t *leaf_starts, const zk_tree_piece *own, float *shard);
// The first num_stretches stretches of this rank's subtrees are final after what is queued on `stream` now: queues their buckets. Those of all stretches
// are queued on all ranks, in the end. Collective, though not at one moment.
zk_status zk_leaf_exchange_ready(zk_leaf_exchange *exchange, zk_stream *stream, int num_stretches);
// Until the sum is there. All ranks fail alike. Collective.
zk_status zk_leaf_exchange_finish(zk_leaf_exchange *exchange);

#endif
