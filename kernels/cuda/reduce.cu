// Block sums of squares and the search for what is not finite, on a GPU.
#include "kernels/reduce.h"

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/values.cuh"
#include "kernels/math.h"

// A warp a block of 4,096 elements.
static __global__ void sum_squares_kernel(int64_t n, const float *x, float *block_sums) {
  const int64_t block = zk_lane_row<4>(), first = block * ZK_BLOCK_ELEMENTS;
  if (first >= n) return;
  const int64_t end = first + ZK_BLOCK_ELEMENTS < n ? first + ZK_BLOCK_ELEMENTS : n;
  float lane[4] = {};
#pragma unroll 8
  for (int64_t i = first + 4 * zk_lane_thread<4>(); i < end; i += ZK_LANES) {
    const zk_values<4> v = zk_load_values<4>(x, i, end);
    for (int j = 0; j < 4; j++) lane[j] = fmaf(v.at[j], v.at[j], lane[j]); // of an absent element: + 0
  }
  const float sum = zk_lanes_finish(lane);
  if (zk_lane_thread<4>() == 0) block_sums[block] = sum;
}

zk_status zk_cuda_sum_squares(zk_stream *stream, int64_t num_elements, const float *x, float *block_sums) {
  if (num_elements == 0) return ZK_OK;
  const int64_t num_blocks = zk_ceil_div(num_elements, ZK_BLOCK_ELEMENTS);
  ZK_LAUNCH(sum_squares_kernel, zk_lane_blocks<4>(num_blocks), ZK_LANE_BLOCK_THREADS, 0, stream, num_elements, x,
            block_sums);
  return ZK_OK;
}

static __host__ __device__ __forceinline__ bool is_finite(float x) {
  return (zk_float_bits(x) & 0x7f800000u) != 0x7f800000u;
}

static __global__ void count_not_finite_kernel(int64_t n, const float *x, unsigned long long *count) {
  const int64_t i = zk_first_value<4>();
  if (i >= n) return;
  const zk_values<4> v = zk_load_values<4>(x, i, n);
  unsigned long long mine = 0;
  for (int j = 0; j < 4; j++) mine += !is_finite(v.at[j]);
  if (mine > 0) atomicAdd(count, mine);
}

// Names the first bad element, on the host: a run ends here, so this need not be fast.
static zk_status find_not_finite(zk_stream *stream, int64_t n, const float *x, const char *what) {
  float piece[1024];
  const int64_t most = (int64_t)(sizeof piece / sizeof piece[0]);
  for (int64_t first = 0; first < n; first += most) {
    const int64_t count = n - first < most ? n - first : most;
    ZK_TRY(zk_copy_to_host(stream, piece, x + first, (size_t)count * sizeof *piece));
    ZK_TRY(zk_stream_wait(stream));
    for (int64_t i = 0; i < count; i++)
      if (!is_finite(piece[i]))
        return ZK_FAIL(ZK_NOT_FINITE, "%s: element %lld of %lld is %g (bits 0x%08x)", what, (long long)(first + i),
                       (long long)n, (double)piece[i], zk_float_bits(piece[i]));
  }
  return ZK_FAIL(ZK_DEVICE, "%s: an element was not finite and now is", what);
}

zk_status zk_cuda_require_finite(zk_stream *stream, int64_t num_elements, const float *x, const char *what) {
  if (num_elements == 0) return ZK_OK;
  void *count_d;
  unsigned long long count = 0;
  ZK_TRY(zk_stream_scratch(stream, sizeof count, &count_d));
  ZK_TRY(zk_fill_zero(stream, count_d, sizeof count));
  ZK_LAUNCH(count_not_finite_kernel, zk_value_blocks<4>(num_elements), ZK_VALUE_THREADS, 0, stream, num_elements, x,
            (unsigned long long *)count_d);
  ZK_TRY(zk_copy_to_host(stream, &count, count_d, sizeof count));
  ZK_TRY(zk_stream_wait(stream));
  return count == 0 ? ZK_OK : find_not_finite(stream, num_elements, x, what);
}
