// A sum of floating-point numbers by NCCL: what no other code of this project does with a gradient.
#include "kernels/cuda/native.h"
#include "kernels/reduce.h"
#include "shared/comm_nccl.h"
#include "trainer/leaf_vendor.h"

zk_status zk_leaf_vendor_sum(zk_comm_device *link, zk_stream *stream, int64_t num_elements, int num_own, const zk_tree_piece *own, int64_t first,
                             int64_t count, float *shard) {
  const ncclComm_t comm = zk_comm_nccl_handle(link);
  float *sum = own[0].data;
  if (!comm) return ZK_FAIL(ZK_UNSUPPORTED, "ZK_FAULT=trainer:add:vendor: these workers have not a GPU each");
  for (int i = 1; i < num_own; i++) ZK_TRY(zk_add(stream, ZK_F32, num_elements, sum, own[i].data, sum));
  const ncclResult_t queued = ncclAllReduce(sum, sum, (size_t)num_elements, ncclFloat32, ncclSum, comm, zk_cuda_stream(stream));
  ZK_TRY(zk_comm_nccl_settle(link, queued, "all-reduce"));
  ZK_TRY(zk_copy_on_device(stream, shard, sum + first, (size_t)count * sizeof *shard));
  return zk_stream_wait(stream);
}
