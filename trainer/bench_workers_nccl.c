// The rival of the ordered reduction.
#include "kernels/cuda/native.h"
#include "shared/comm_nccl.h"
#include "trainer/bench_workers.h"

zk_status zk_bench_nccl_reduce_scatter(zk_comm_device *link, zk_stream *stream, const float *from, float *to, int64_t count, bool *is_there) {
  const ncclComm_t comm = zk_comm_nccl_handle(link);
  *is_there = comm != NULL;
  if (!*is_there) return ZK_OK;
  ZK_TRY(zk_comm_nccl_settle(link, ncclReduceScatter(from, to, (size_t)count, ncclFloat32, ncclSum, comm, zk_cuda_stream(stream)), "reduce-scatter"));
  return zk_stream_wait(stream);
}
