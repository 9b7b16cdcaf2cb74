// What kernels that read logits in registers (lmhead_fragment.cuh) know of a row beforehand.
#ifndef ZK_KERNELS_CUDA_LMHEAD_ROWS_CUH
#define ZK_KERNELS_CUDA_LMHEAD_ROWS_CUH

#include "kernels/cuda/lmhead_noise.cuh"

// What memory holds of a row and a tile.
struct zk_lmhead_row {
  int32_t target; // when nothing is picked; -1 of a row that is not there
  float carried;  // else: what the value of some id of the row reaches, or -inf
  float most;     // and no less than the tile's noise
};

// The value of the row's best so far, or one that some id reaches.
static __device__ __forceinline__ float zk_lmhead_row_value(const zk_lmhead_block &b, int64_t row) {
#ifdef __CUDA_ARCH__
  return zk_lmhead_value_of((uint32_t)(__ldcg(b.row_best + row) >> 32)); // as other blocks left it
#else
  return zk_lmhead_value_of((uint32_t)(b.row_best[row] >> 32));
#endif
}

// Of a thread: two rows, 8 apart, of each block of 64; they are parts 0 and 1 of the block's logits.
template <int PARTS> struct zk_lmhead_rows { zk_lmhead_row of[PARTS]; };
static __device__ __forceinline__ int64_t zk_lmhead_row_of(int64_t row0, int part) {
  return row0 + part / 2 * 64 + part % 2 * 8 + threadIdx.x % 32 / 4;
}
template <int PARTS>
static __device__ __forceinline__ zk_lmhead_rows<PARTS> zk_lmhead_fetch_rows(const zk_lmhead_block &b, int64_t row0,
                                                                             int32_t tile) {
  zk_lmhead_rows<PARTS> rows;
  const bool draws = b.pick != ZK_CUDA_PICK_NOTHING;
#pragma unroll
  for (int part = 0; part < PARTS; part++) {
    const int64_t row = zk_lmhead_row_of(row0, part);
    zk_lmhead_row &r = rows.of[part];
    r = {-1, -INFINITY, ZK_GUMBEL_MOST};
    if (row >= b.num_rows) continue;
    if (!draws) r.target = b.target[row];
    else r.carried = zk_lmhead_row_value(b, row);
    if (b.most != NULL) r.most = b.most[row * b.num_tiles + tile];
  }
  return rows;
}

#endif
