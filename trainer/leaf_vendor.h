// The negative control of the gradient tree: NCCL's all-reduce in its place, in NCCL's order. In test builds, for ZK_FAULT=trainer:add:vendor; between files
// that exist only in a build with NCCL.
#ifndef ZK_TRAINER_LEAF_VENDOR_H
#define ZK_TRAINER_LEAF_VENDOR_H

#include "shared/comm_device.h"
#include "trainer/leaf_nodes.h"

// shard [count] (device) = elements [first, first + count) of the sum over all ranks of the sum of own[0 .. num_own), whole vectors of num_elements, which are
// overwritten. ZK_UNSUPPORTED where the link is not NCCL's. Waits. Collective.
zk_status zk_leaf_vendor_sum(zk_comm_device *link, zk_stream *stream, int64_t num_elements, int num_own, const zk_tree_piece *own, int64_t first,
                             int64_t count, float *shard);

#endif
