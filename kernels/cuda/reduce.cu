// Block sums of squares, the tree over them and the search for what is not finite, on a GPU.
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

enum { TREE_THREADS = 256, A_THREAD = 16, TREE_VALUES = TREE_THREADS * A_THREAD };

// Neighbours are added, then pairs, ..: a block makes one node of 2^12 values. An absent one counts as +0, which changes no other.
static __global__ void __launch_bounds__(TREE_THREADS) sum_tree_kernel(int64_t n, const float *values, float *nodes) {
  __shared__ float of_warps[TREE_THREADS / 32];
  const int t = threadIdx.x;
  const int64_t first = (int64_t)blockIdx.x * TREE_VALUES + t * A_THREAD;
  float x[A_THREAD];
#pragma unroll
  for (int i = 0; i < A_THREAD; i++) x[i] = first + i < n ? values[first + i] : 0.0f;
#pragma unroll
  for (int away = 1; away < A_THREAD; away *= 2)
#pragma unroll
    for (int i = 0; i < A_THREAD; i += 2 * away) x[i] = x[i] + x[i + away];
  float sum = x[0];
  for (int away = 1; away < 32; away *= 2) sum = sum + __shfl_down_sync(0xffffffffu, sum, away);
  if (t % 32 == 0) of_warps[t / 32] = sum;
  __syncthreads();
  if (t >= 32) return;
  sum = t < TREE_THREADS / 32 ? of_warps[t] : 0.0f;
  for (int away = 1; away < TREE_THREADS / 32; away *= 2) sum = sum + __shfl_down_sync(0xffffffffu, sum, away);
  if (t == 0) nodes[blockIdx.x] = sum;
}

zk_status zk_cuda_sum_tree(zk_stream *stream, int64_t n, float *values, float *sum) {
  float *nodes;
  ZK_TRY(zk_stream_scratch(stream, (size_t)zk_ceil_div(n, TREE_VALUES) * sizeof *nodes, (void **)&nodes));
  for (bool is_root = false; !is_root;) {
    const int64_t num = zk_ceil_div(n, TREE_VALUES);
    is_root = num <= 1;
    ZK_LAUNCH(sum_tree_kernel, (unsigned)(is_root ? 1 : num), TREE_THREADS, 0, stream, n, values, is_root ? sum : nodes);
    float *const read = values; // no more
    values = nodes, nodes = read, n = num;
  }
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
