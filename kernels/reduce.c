// Sums and additions: the tree over host values; the rest counts the call and hands over to the device.
#include "kernels/backend.h"

float zk_reduce_tree(float *values, int64_t n) {
  for (; n > 1; n = n / 2 + n % 2) { // a level's nodes close up, so that all of them are read one behind the other
    for (int64_t i = 0; i < n / 2; i++) values[i] = values[2 * i] + values[2 * i + 1];
    if (n % 2) values[n / 2] = values[n - 1];
  }
  return n > 0 ? values[0] : 0.0f;
}

zk_status zk_sum_squares(zk_stream *stream, int64_t num_elements, const float *x, float *block_sums) {
  zk_stream_count(stream, ZK_OP_SUM_SQUARES);
  ZK_TRY(stream->device->kernels->sum_squares(stream, num_elements, x, block_sums));
  return zk_stream_fault(stream, ZK_OP_SUM_SQUARES, ZK_F32, block_sums, (size_t)((num_elements + ZK_BLOCK_ELEMENTS - 1) / ZK_BLOCK_ELEMENTS));
}

zk_status zk_sum_tree(zk_stream *stream, int64_t n, float *values, float *sum) {
  return stream->device->kernels->sum_tree(stream, n, values, sum);
}

zk_status zk_add(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *a, const void *b, void *dst) {
  zk_stream_count(stream, ZK_OP_ADD);
  ZK_TRY(stream->device->kernels->add(stream, numerics, num_elements, a, b, dst));
  return zk_stream_fault(stream, ZK_OP_ADD, numerics, dst, (size_t)num_elements);
}

zk_status zk_scale(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *a, float scale, void *dst) {
  zk_stream_count(stream, ZK_OP_SCALE);
  ZK_TRY(stream->device->kernels->scale(stream, numerics, num_elements, a, scale, dst));
  return zk_stream_fault(stream, ZK_OP_SCALE, numerics, dst, (size_t)num_elements);
}

zk_status zk_require_finite(zk_stream *stream, int64_t num_elements, const float *x, const char *what) {
  return stream->device->kernels->require_finite(stream, num_elements, x, what);
}
