// What workers do together: the ordered reduction of gradients, beside NCCL's reduce-scatter. Times are rank 0's wall clock, from a moment when all
// are there until its result is, the median of a fixed number of repetitions.
#include "trainer/bench_workers.h"

#include <stdio.h>
#include <stdlib.h>

#include "kernels/bench/gpu.h"
#include "shared/clock.h"
#include "trainer/leaf_split.h"
#include "trainer/leaf_tree.h"
#include "trainer/optimizer.h"

enum { GPU_ELEMENTS = 268435456, CPU_ELEMENTS = 1048576, REPEATS = 21 }; // 1 GiB of fp32 a GPU

typedef struct {
  zk_comm *comm;
  zk_stream *stream;
  zk_comm_device *link;
  zk_leaf_tree *tree;
  zk_stretch whole;
  int64_t *starts, num_elements;
  int32_t *leaf_starts, num_leaves; // the least power of two that gives each worker one
  float *shard, *leaf; // device: the sum; one of the tree's buffers
} reduction;

static zk_status open_reduction(zk_bench *bench, reduction *r) {
  const int size = zk_comm_size(r->comm);
  r->num_leaves = 1;
  while (r->num_leaves < size) r->num_leaves *= 2;
  r->num_elements = zk_bench_size(bench, zk_device_get_kind(zk_bench_device(bench)) == ZK_DEVICE_CUDA ? GPU_ELEMENTS : CPU_ELEMENTS, 4096);
  r->starts = calloc((size_t)size + 1, sizeof *r->starts);
  r->leaf_starts = calloc((size_t)size + 1, sizeof *r->leaf_starts);
  if (!r->starts || !r->leaf_starts) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the shard table");
  zk_shard_starts(r->num_elements, size, r->starts);
  zk_leaf_split_evenly(r->num_leaves, size, r->leaf_starts);
  r->whole = (zk_stretch){0, r->num_elements};
  zk_device *device = zk_bench_device(bench);
  ZK_TRY(zk_comm_device_open(r->comm, device, &r->link));
  ZK_TRY(zk_device_alloc(device, ((size_t)(r->num_elements / size) + 4096) * sizeof(float), "gradient shard", (void **)&r->shard));
  return zk_leaf_tree_open(device, r->link, &r->whole, 1, r->num_leaves, r->starts, &r->tree);
}

static void close_reduction(zk_bench *bench, reduction *r) {
  zk_leaf_tree_close(r->tree);
  zk_comm_device_close(r->link);
  zk_device_free(zk_bench_device(bench), r->shard);
  free(r->starts);
  free(r->leaf_starts);
}

// All leaves of this worker but what the last one completes.
static zk_status compute_leaves(reduction *r) {
  const int rank = zk_comm_rank(r->comm);
  zk_leaf_tree_begin(r->tree, r->leaf_starts, r->shard);
  for (int32_t leaf = r->leaf_starts[rank]; leaf < r->leaf_starts[rank + 1]; leaf++) {
    if (leaf > r->leaf_starts[rank]) ZK_TRY(zk_leaf_tree_ready(r->tree, 1));
    ZK_TRY(zk_leaf_tree_leaf(r->tree, r->stream, &r->leaf));
  }
  return zk_stream_wait(r->stream);
}

static int by_time(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static zk_status time_reduction(reduction *r, double *us) {
  double times[REPEATS];
  for (int i = -2; i < REPEATS; i++) { // two to warm up
    ZK_TRY(zk_comm_agree(r->comm, compute_leaves(r)));
    const double begin = zk_clock_s();
    ZK_TRY(zk_leaf_tree_ready(r->tree, 1));
    ZK_TRY(zk_leaf_tree_finish(r->tree, r->stream));
    if (i >= 0) times[i] = (zk_clock_s() - begin) * 1e6;
  }
  qsort(times, REPEATS, sizeof *times, by_time);
  *us = times[REPEATS / 2];
  return ZK_OK;
}

// 0 where there is no rival.
static zk_status time_rival(reduction *r, double *us) {
  *us = 0.0;
#ifdef ZK_WITH_NCCL
  double times[REPEATS];
  bool is_there = true;
  for (int i = -2; i < REPEATS; i++) {
    ZK_TRY(zk_comm_barrier(r->comm));
    const double begin = zk_clock_s();
    ZK_TRY(zk_bench_nccl_reduce_scatter(r->link, r->stream, r->leaf, r->shard, r->num_elements / zk_comm_size(r->comm), &is_there));
    if (!is_there) return ZK_OK;
    if (i >= 0) times[i] = (zk_clock_s() - begin) * 1e6;
  }
  qsort(times, REPEATS, sizeof *times, by_time);
  *us = times[REPEATS / 2];
#endif
  return ZK_OK;
}

static zk_status measure(zk_bench *bench, reduction *r) {
  const int size = zk_comm_size(r->comm);
  zk_bench_row row = {.group = "ordered reduction", .rival = "NCCL reduce-scatter"};
  ZK_TRY(zk_comm_agree(r->comm, open_reduction(bench, r)));
  ZK_TRY(zk_comm_device_connect(r->link));
  ZK_TRY(time_reduction(r, &row.us));
  ZK_TRY(time_rival(r, &row.rival_us));
  row.bytes = (double)r->num_elements * 4.0 * (size - 1) / size; // that a worker receives
  snprintf(row.shape, sizeof row.shape, "%d workers, %lld MiB", size, (long long)(r->num_elements >> 18));
  return zk_bench_add(bench, row);
}

static zk_status run(zk_bench *bench) {
  reduction r = {.stream = zk_bench_stream(bench)};
  ZK_TRY(zk_comm_world(&r.comm));
  if (zk_comm_size(r.comm) == 1) return ZK_OK;
  const zk_status status = measure(bench, &r);
  close_reduction(bench, &r);
  return status;
}

const zk_bench_suite zk_bench_suite_workers = {"workers", "what workers do together", run};
