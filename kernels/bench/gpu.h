// What the suites for a GPU share: inputs that are freed together, the GPU's clock, its rival, rows with a roofline.
#ifndef ZK_KERNELS_BENCH_GPU_H
#define ZK_KERNELS_BENCH_GPU_H

#include "kernels/bench.h"
#include "kernels/bench/vendor.h"

// Bytes that inputs in rotation take together, so that each call finds its own outside the L2 cache (60 MB and less).
#define ZK_BENCH_ROTATED_BYTES ((int64_t)192 << 20)
enum { ZK_BENCH_MAX_COPIES = 32 };
static inline int32_t zk_bench_copies(int64_t bytes) {
  const int64_t copies = (ZK_BENCH_ROTATED_BYTES + bytes - 1) / bytes;
  return (int32_t)(copies < ZK_BENCH_MAX_COPIES ? copies : ZK_BENCH_MAX_COPIES);
}

// `size` divided by --shrink, to a multiple, at least one of them; never more than `size`.
int32_t zk_bench_size(const zk_bench *bench, int32_t size, int32_t multiple);
bool zk_bench_is_quick(const zk_bench *bench);
zk_vendor *zk_bench_vendor(zk_bench *bench); // NULL: there is none

// Device memory until zk_bench_release, which a suite calls after each row: zeros, a copy of host memory, random numbers in [-scale, scale).
// `out` is the address of a pointer.
zk_status zk_bench_alloc(zk_bench *bench, size_t bytes, const char *what, void *out);
zk_status zk_bench_upload(zk_bench *bench, const void *host, size_t bytes, void *out);
zk_status zk_bench_fill(zk_bench *bench, zk_numerics numerics, int64_t n, float scale,
                        void *x); // random numbers into memory of the caller's
zk_status zk_bench_random(zk_bench *bench, zk_numerics numerics, int64_t n, float scale, const char *what, void *out);
void zk_bench_release(zk_bench *bench);

// Median time of one call by the GPU's clock, its launches captured in a graph where they can be; seconds 0: the options'.
zk_status zk_bench_time_gpu(zk_bench *bench, zk_bench_call *call, void *arg, double seconds, double *us);
// Adds a row whose floor is max(bytes / copy bandwidth, flops / cuBLAS's rate); its rate is told in what bounds it.
zk_status zk_bench_add_gpu(zk_bench *bench, const char *group, const char *shape, zk_bench_row row);

#endif
