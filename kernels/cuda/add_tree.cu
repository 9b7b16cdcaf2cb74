// Trees of sums on a GPU: a thread walks the pieces with 16 bytes of each, and keeps the left children that wait in registers.
#include "kernels/add_tree.h"

#include "kernels/cuda/values.cuh"

typedef zk_values<4> values;

// The pieces as the kernel wants them: additions from level `first` on, until the sum waits on level `last`.
typedef struct {
  const float *data;
  int16_t first, last;
} step;

typedef struct {
  int32_t num_steps;
  step steps[ZK_TREE_MAX_PIECES];
} walk;

// Every thread takes the same branches, and the levels are unrolled: left[] has no address.
template <int LEVELS> __device__ __forceinline__ void take(values *left, values sum, int first, int last) {
#pragma unroll
  for (int level = 0; level < LEVELS; level++) {
    if (level >= first && level < last) {
#pragma unroll
      for (int j = 0; j < 4; j++) sum.at[j] = left[level].at[j] + sum.at[j];
    }
    if (level == last) left[level] = sum;
  }
}

// Four pieces are fetched before the first of them is added. dst may be one of them: a thread writes what it alone has read.
template <int LEVELS> __global__ void add_tree_kernel(int64_t n, const __grid_constant__ walk w, float *dst) {
  const int AHEAD = 4;
  const int64_t i = zk_first_value<4>();
  if (i >= n) return;
  values left[LEVELS] = {};
  for (int p = 0; p < w.num_steps; p += AHEAD) {
    values next[AHEAD];
#pragma unroll
    for (int a = 0; a < AHEAD; a++)
      if (p + a < w.num_steps) next[a] = zk_load_values<4>(w.steps[p + a].data, i, n);
#pragma unroll
    for (int a = 0; a < AHEAD; a++)
      if (p + a < w.num_steps) take<LEVELS>(left, next[a], w.steps[p + a].first, w.steps[p + a].last);
  }
  zk_store_values(dst, i, n, left[LEVELS - 1]);
}

template <int LEVELS> static zk_status run(zk_stream *stream, int64_t n, int32_t num_pieces, const zk_tree_piece *pieces, float *dst) {
  walk w;
  w.num_steps = num_pieces;
  for (int p = 0; p < num_pieces; p++) {
    const int first = pieces[p].level - (ZK_TREE_MAX_LEVELS - LEVELS); // the root's level becomes LEVELS - 1
    w.steps[p] = step{pieces[p].data, (int16_t)first, (int16_t)(first + zk_tree_merges(pieces[p].index))};
  }
  ZK_LAUNCH(add_tree_kernel<LEVELS>, zk_value_blocks<4>(n), ZK_VALUE_THREADS, 0, stream, n, w, dst);
  return ZK_OK;
}

zk_status zk_cuda_add_tree(zk_stream *stream, int64_t num_elements, int32_t num_pieces, const zk_tree_piece *pieces, float *dst) {
  if (num_elements == 0) return ZK_OK;
  int lowest = ZK_TREE_MAX_LEVELS - 1;
  for (int p = 0; p < num_pieces; p++)
    if (pieces[p].level < lowest) lowest = pieces[p].level;
  const int levels = ZK_TREE_MAX_LEVELS - lowest;
  if (levels <= 4) return run<4>(stream, num_elements, num_pieces, pieces, dst); // up to 8 subtrees of one size
  if (levels <= 7) return run<7>(stream, num_elements, num_pieces, pieces, dst);
  return run<ZK_TREE_MAX_LEVELS>(stream, num_elements, num_pieces, pieces, dst);
}
