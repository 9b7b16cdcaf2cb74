// Gradients of norm weights (kernels/rmsnorm.h): each chunk's sums over blocks of 64 rows, added by the tree, the chunks ascending.
//
// A group of GROUP neighbouring blocks of a chunk becomes one partial sum of each column, in the block of threads that computed them; the
// last of all to have stored its partial of a strip of columns adds the partials by the rest of the tree. Who is last changes no sum.
#ifndef ZK_KERNELS_CUDA_BLOCK_SUMS_CUH
#define ZK_KERNELS_CUDA_BLOCK_SUMS_CUH

#include "kernels/chunks.h"
#include "kernels/cuda/cuda.cuh"
#include "kernels/reduce.h"

enum { ZK_SUMS_CHUNKS = 16, ZK_SUMS_PARTS = 4 };

// Up to ZK_SUMS_CHUNKS chunks of one call: rows [first_row[c], first_row[c + 1]), groups [first_group[c], first_group[c + 1]).
struct zk_sum_groups {
  int32_t num_chunks, first_group[ZK_SUMS_CHUNKS + 1];
  int64_t first_row[ZK_SUMS_CHUNKS + 1];
};

// Groups of `rows` rows, of the chunks from `chunk` on, rows_per_token rows a token.
static inline zk_sum_groups zk_sum_groups_of(const zk_chunks *chunks, int32_t chunk, int32_t rows_per_token, int64_t rows) {
  zk_sum_groups g = {};
  for (; g.num_chunks < ZK_SUMS_CHUNKS && chunk + g.num_chunks < chunks->num_chunks; g.num_chunks++) {
    const int32_t c = g.num_chunks;
    g.first_row[c] = (int64_t)chunks->row_start[chunk + c] * rows_per_token;
    g.first_row[c + 1] = (int64_t)chunks->row_start[chunk + c + 1] * rows_per_token;
    g.first_group[c + 1] = g.first_group[c] + (int32_t)zk_ceil_div(g.first_row[c + 1] - g.first_row[c], rows);
  }
  return g;
}
static __device__ __forceinline__ int32_t zk_chunk_of_group(const zk_sum_groups &g, int32_t group) {
  int32_t c = 0;
  while (c + 1 < g.num_chunks && group >= g.first_group[c + 1]) c++;
  return c;
}

// A pair of columns' sums.
struct zk_sum_pair {
  float low, high;
};
static __device__ __forceinline__ zk_sum_pair zk_sum_add(zk_sum_pair a, zk_sum_pair b) { return {a.low + b.low, a.high + b.high}; }

// The tree over values[0 .. count), count >= 1; overwritten.
template <int MOST> static __device__ __forceinline__ zk_sum_pair zk_sum_tree(zk_sum_pair (&value)[MOST], int count) {
#pragma unroll
  for (int step = 1; step < MOST; step *= 2)
#pragma unroll
    for (int i = 0; i + step < MOST; i += 2 * step)
      if (i + step < count) value[i] = zk_sum_add(value[i], value[i + step]);
  return value[0];
}

// The tree over partials [begin, end) of a pair of columns, `stride` floats apart; begin is where a subtree as large as these begins.
static __device__ __forceinline__ zk_sum_pair zk_sum_partials(const float *partials, int64_t stride, int32_t begin, int32_t end) {
  enum { AT_ONCE = 16, LEVELS = 24 };
  zk_sum_pair left[LEVELS], sum = {0.0f, 0.0f}; // left[l]: of a whole subtree of AT_ONCE << l that waits for its right neighbour
  int32_t done = 0;
  for (int32_t at = begin; at < end; at += AT_ONCE, done++) {
    zk_sum_pair value[AT_ONCE];
    const int count = end - at < AT_ONCE ? end - at : AT_ONCE;
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++)
      if (i < count) {
        const volatile float *p = partials + (int64_t)(at + i) * stride; // other blocks stored them
        value[i].low = p[0], value[i].high = p[1];
      }
    sum = zk_sum_tree(value, count);
    int level = 0;
    for (; done >> level & 1; level++) sum = zk_sum_add(left[level], sum);
    left[level] = sum;
  }
  bool any = false;
  for (int level = 0; done >> level; level++)
    if (done >> level & 1) sum = any ? zk_sum_add(left[level], sum) : left[level], any = true;
  return sum;
}

// Where sums go on their way.
struct zk_block_sums {
  float *partials;   // [groups][width]
  float *dweight;    // [width]
  uint32_t *arrived; // a counter a strip, 0 before and after
};

// Adds all partials of a strip of 2 PAIRS columns from `first_column` on to dweight. Threads 0 .. ZK_SUMS_PARTS * PAIRS - 1 of a block have a
// pair of columns and a part of the tree each; all of the block's threads call it.
template <int PAIRS>
static __device__ __forceinline__ void zk_sums_finish(const zk_sum_groups &g, const zk_block_sums &to, int32_t width, int32_t first_column) {
  __shared__ zk_sum_pair part_sum[ZK_SUMS_PARTS][PAIRS];
  const int pair = (int)threadIdx.x % PAIRS, part = (int)threadIdx.x / PAIRS, column = first_column + 2 * pair;
  const bool mine = part < ZK_SUMS_PARTS && column < width;
  for (int32_t c = 0; c < g.num_chunks; c++) {
    const int32_t first = g.first_group[c], n = g.first_group[c + 1] - first;
    if (n == 0) continue;
    int32_t each = 1; // partials of a part: a power of two
    while (each * ZK_SUMS_PARTS < n) each *= 2;
    const int32_t begin = part * each, end = begin + each < n ? begin + each : n;
    if (mine && begin < n) part_sum[part][pair] = zk_sum_partials(to.partials + (int64_t)first * width + column, width, begin, end);
    __syncthreads();
    if (mine && part == 0) {
      zk_sum_pair value[ZK_SUMS_PARTS];
      for (int p = 0; p < ZK_SUMS_PARTS; p++) value[p] = part_sum[p][pair];
      const zk_sum_pair sum = zk_sum_tree(value, (n + each - 1) / each);
      to.dweight[column] = to.dweight[column] + sum.low;
      to.dweight[column + 1] = to.dweight[column + 1] + sum.high;
    }
    __syncthreads();
  }
}

// Called by all threads of a block once it has stored its partials of a strip: the last of `expected` blocks adds them all.
template <int PAIRS>
static __device__ __forceinline__ void zk_sums_arrive(const zk_sum_groups &g, const zk_block_sums &to, int32_t width, int32_t first_column,
                                                      uint32_t *arrived, uint32_t expected) {
  __shared__ bool is_last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(arrived, 1u) + 1 == expected;
    if (is_last) *arrived = 0;
    __threadfence();
  }
  __syncthreads();
  if (is_last) zk_sums_finish<PAIRS>(g, to, width, first_column);
}

#endif
