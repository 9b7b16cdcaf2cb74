// A GPU's ceilings, its inputs, its clock, and what every row about it shares.
#include "kernels/bench/gpu.h"

#include "kernels/reduce.h"

#include <stdlib.h>

#include "kernels/bench/bench_impl.h"
#include "kernels/cuda/bench.h"

int32_t zk_bench_size(const zk_bench *bench, int32_t size, int32_t multiple) {
  const int32_t small = size / bench->options.shrink / multiple * multiple;
  return bench->options.shrink == 1 ? size : small > multiple ? small : multiple < size ? multiple : size;
}
bool zk_bench_is_quick(const zk_bench *bench) { return bench->options.quick; }
zk_vendor *zk_bench_vendor(zk_bench *bench) { return bench->vendor; }

zk_status zk_bench_alloc(zk_bench *bench, size_t bytes, const char *what, void *out) {
  void *memory;
  if (bench->num_kept == ZK_BENCH_MAX_KEPT)
    return ZK_FAIL(ZK_INTERNAL, "a benchmark holds more than %d buffers", ZK_BENCH_MAX_KEPT);
  ZK_TRY(zk_device_alloc(bench->device, bytes, what, &memory));
  bench->kept[bench->num_kept++] = memory;
  *(void **)out = memory;
  return ZK_OK;
}

zk_status zk_bench_upload(zk_bench *bench, const void *host, size_t bytes, void *out) {
  ZK_TRY(zk_bench_alloc(bench, bytes, "a benchmark's batch", out));
  ZK_TRY(zk_copy_to_device(bench->stream, *(void **)out, host, bytes));
  return zk_stream_wait(bench->stream);
}

zk_status zk_bench_fill(zk_bench *bench, zk_numerics numerics, int64_t n, float scale, void *x) {
#ifdef ZK_WITH_CUDA
  ZK_TRY(zk_cuda_bench_fill(bench->stream, numerics, n, scale, (uint64_t)bench->num_kept, x));
  return zk_stream_wait(bench->stream);
#else
  return ZK_FAIL(ZK_UNSUPPORTED, "this build has no CUDA kernels to measure; use --device cpu");
#endif
}

zk_status zk_bench_random(zk_bench *bench, zk_numerics numerics, int64_t n, float scale, const char *what, void *out) {
  ZK_TRY(zk_bench_alloc(bench, (size_t)n * zk_numerics_bytes(numerics), what, out));
  return zk_bench_fill(bench, numerics, n, scale, *(void **)out);
}

void zk_bench_release(zk_bench *bench) {
  (void)zk_stream_wait(bench->stream);
  while (bench->num_kept > 0) zk_device_free(bench->device, bench->kept[--bench->num_kept]);
}

zk_status zk_bench_time_gpu(zk_bench *bench, zk_bench_call *call, void *arg, double seconds, double *us) {
#ifdef ZK_WITH_CUDA
  return zk_cuda_bench_time(bench->stream, call, arg, seconds > 0.0 ? seconds : bench->options.seconds, us);
#else
  return ZK_FAIL(ZK_UNSUPPORTED, "this build has no CUDA kernels to measure; use --device cpu");
#endif
}

zk_status zk_bench_add_gpu(zk_bench *bench, const char *group, const char *shape, zk_bench_row row) {
  const double by_bytes = row.bytes / bench->bytes_per_us,
               by_flops = bench->flops_per_us > 0.0 ? row.flops / bench->flops_per_us : 0.0;
  row.floor_us = by_bytes > by_flops ? by_bytes : by_flops;
  if (by_bytes >= by_flops) row.flops = 0.0; // a row about bytes
  snprintf(row.group, sizeof row.group, "%s", group);
  snprintf(row.shape, sizeof row.shape, "%s", shape);
  return zk_bench_add(bench, row);
}

// ---- the machine

typedef struct {
  zk_bench *bench;
  void *from, *to;
  size_t bytes;
  zk_cublas_gemm gemm;
} ceiling_arg;

static zk_status copy(void *arg) {
  const ceiling_arg *c = arg;
  return zk_copy_on_device(c->bench->stream, c->to, c->from, c->bytes);
}
// The same bytes through the multiprocessors: memory read once, added to itself, written. The copy engine alone is slower.
static zk_status add(void *arg) {
  const ceiling_arg *c = arg;
  return zk_add(c->bench->stream, ZK_F32, (int64_t)(c->bytes / sizeof(float)), c->from, c->from, c->to);
}
static zk_status product(void *arg) {
  const ceiling_arg *c = arg;
  return zk_vendor_default(c->bench->vendor, &c->gemm);
}

// The rate of a copy, each byte read and written, of 1 GiB, by whichever way is faster; and of cuBLAS's product 8192^3.
static zk_status measure(zk_bench *bench) {
  double us = 0.0;
  ceiling_arg c = {.bench = bench,
                   .bytes = ((size_t)1 << 30) / (size_t)bench->options.shrink / (size_t)bench->options.shrink};
  ZK_TRY(zk_bench_random(bench, ZK_BF16, (int64_t)c.bytes / 2, 1.0f, "memory to copy", &c.from));
  ZK_TRY(zk_bench_alloc(bench, c.bytes, "memory to copy to", &c.to));
  ZK_TRY(zk_bench_time_gpu(bench, copy, &c, 0.3, &us));
  bench->bytes_per_us = 2.0 * (double)c.bytes / us;
  ZK_TRY(zk_bench_time_gpu(bench, add, &c, 0.3, &us));
  if (2.0 * (double)c.bytes / us > bench->bytes_per_us) bench->bytes_per_us = 2.0 * (double)c.bytes / us;
  zk_bench_release(bench);
  if (bench->vendor == NULL) return ZK_OK;
  enum { SIZE = 8192 };
  void *a, *b;
  ZK_TRY(zk_bench_random(bench, ZK_BF16, (int64_t)SIZE * SIZE, 1.0f, "a factor", &a));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, (int64_t)SIZE * SIZE, 1.0f, "a factor", &b));
  ZK_TRY(zk_bench_alloc(bench, (size_t)SIZE * SIZE * 2, "a product", &c.to));
  c.gemm = (zk_cublas_gemm){true, false, SIZE, SIZE, SIZE, SIZE, SIZE, SIZE, a, b, c.to, false, 0.0f};
  ZK_TRY(zk_bench_time_gpu(bench, product, &c, 0.3, &us));
  bench->flops_per_us = 2.0 * SIZE * SIZE * SIZE / us;
  return ZK_OK;
}

zk_status zk_bench_measure_gpu(zk_bench *bench) {
  ZK_TRY(zk_vendor_open(bench, &bench->vendor));
  const zk_status status = measure(bench);
  zk_bench_release(bench);
  return status;
}
