// Block sums, additions, products with a number and the search for what is not finite, on a CPU.
#include "kernels/backend.h"

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/rows.h"
#include "kernels/math.h"

zk_status zk_cpu_sum_squares(zk_stream *stream, int64_t num_elements, const float *x, float *block_sums) {
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, num_elements);
  const int64_t num_blocks = (num_elements + ZK_BLOCK_ELEMENTS - 1) / ZK_BLOCK_ELEMENTS;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t b = 0; b < num_blocks; b++) {
    const int64_t first = b * ZK_BLOCK_ELEMENTS, n = zk_cpu_min(ZK_BLOCK_ELEMENTS, num_elements - first);
    block_sums[b] = ZK_ISA_CALL(isa, zk_cpu_sum_squares, n, x + first);
  }
  return ZK_OK;
}

zk_status zk_cpu_sum_tree(zk_stream *stream, int64_t n, float *values, float *sum) {
  (void)stream;
  *sum = zk_reduce_tree(values, n);
  return ZK_OK;
}

zk_status zk_cpu_add(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *a, const void *b,
                     void *dst) {
  ZK_CPU_ELEMENTWISE(stream, numerics, num_elements, zk_cpu_add, (const element *)a + i, (const element *)b + i, (element *)dst + i);
  return ZK_OK;
}

zk_status zk_cpu_scale(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *a, float scale, void *dst) {
  ZK_CPU_ELEMENTWISE(stream, numerics, num_elements, zk_cpu_scale, (const element *)a + i, scale, (element *)dst + i);
  return ZK_OK;
}

zk_status zk_cpu_require_finite(zk_stream *stream, int64_t num_elements, const float *x, const char *what) {
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, num_elements);
  int64_t first_bad_block = num_elements; // the first element of the first block that holds one
#pragma omp parallel for schedule(static) num_threads(threads) reduction(min : first_bad_block)
  for (int64_t i = 0; i < num_elements; i += ZK_CPU_GRAIN) {
    const int64_t n = zk_cpu_min(ZK_CPU_GRAIN, num_elements - i);
    if (i < first_bad_block && !ZK_ISA_CALL(isa, zk_cpu_all_finite, n, x + i)) first_bad_block = i;
  }
  for (int64_t i = first_bad_block; i < num_elements; i++)
    if ((zk_float_bits(x[i]) & 0x7f800000u) == 0x7f800000u)
      return ZK_FAIL(ZK_NOT_FINITE, "%s: element %lld of %lld is %g (bits 0x%08x)", what, (long long)i,
                     (long long)num_elements, (double)x[i], zk_float_bits(x[i]));
  return ZK_OK;
}
