// The suite that all workers run together, under mpirun; and the rival's part of it.
#ifndef ZK_TRAINER_BENCH_WORKERS_H
#define ZK_TRAINER_BENCH_WORKERS_H

#include <stdbool.h>

#include "kernels/bench.h"
#include "shared/comm_device.h"

extern const zk_bench_suite zk_bench_suite_workers; // collective; a world of one has no rows

#ifdef ZK_WITH_NCCL
// NCCL's reduce-scatter of `from` [num_ranks * count] into `to` [count] (device), in whatever order it adds: the rival, for nothing else. Waits.
// *is_there: false, and nothing done, where the link is not NCCL's. Collective.
zk_status zk_bench_nccl_reduce_scatter(zk_comm_device *link, zk_stream *stream, const float *from, float *to, int64_t count, bool *is_there);
#endif

#endif
