// What a benchmark in progress holds; for kernels/bench/ only.
#ifndef ZK_KERNELS_BENCH_BENCH_IMPL_H
#define ZK_KERNELS_BENCH_BENCH_IMPL_H

#include "kernels/bench.h"
#include "kernels/bench/vendor.h"

enum { ZK_BENCH_MAX_KEPT = 32 };

struct zk_bench {
  zk_bench_options options;
  zk_device *device;
  zk_stream *stream;
  double bytes_per_us, flops_per_us; // 0 flops: not measured, no floor by them
  zk_bench_row *rows;
  int num_rows, max_rows;
  zk_vendor *vendor; // NULL: none
  void *kept[ZK_BENCH_MAX_KEPT];
  int num_kept;
};

zk_status zk_bench_measure_gpu(zk_bench *bench); // the two ceilings of a GPU, and its rival

#endif
