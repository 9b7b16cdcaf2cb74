// The LM head's tiles straight from the accumulators of wgmma, in the kernels of a few rows (gemm_decode.cuh) and of many (gemm_wgmma.cuh).
#ifndef ZK_KERNELS_CUDA_LMHEAD_WGMMA_CUH
#define ZK_KERNELS_CUDA_LMHEAD_WGMMA_CUH

#include "kernels/cuda/lmhead_fragment.cuh"

#ifndef ZK_SIMT
#include "kernels/cuda/gemm_decode_launch.cuh"
#include "kernels/cuda/gemm_wgmma_launch.cuh"

struct zk_lmhead_tile_before {
  const zk_lmhead_block &b;
  int32_t before; // negative: there was none
  __device__ __forceinline__ float get(int64_t row) const {
    return before < 0 ? -INFINITY : b.partial[row * b.num_tiles + before].best_value;
  }
  __device__ __forceinline__ void keep(int64_t, float) const {} // zk_lmhead_read_quad has written it
};

// A few rows: a block has every gridDim.x'th tile of all rows, so that a row's best value so far stands in the partial of its last tile.
struct zk_lmhead_few_rows {
  zk_lmhead_block b;
  template <class Tile> __device__ __forceinline__ void operator()(const Tile &tile, int, int first) const {
    const int32_t number = (int32_t)first / ZK_VOCAB_TILE, before = number - (int32_t)gridDim.x;
    if (number >= b.num_tiles) return;
    const int64_t row0 = threadIdx.x / 32 * 16;
    const zk_lmhead_tile_before best = {b, before};
    const auto &sums = reinterpret_cast<const float(&)[1][ZK_VOCAB_TILE / 2]>(tile.acc); // one block of 64 rows
    zk_lmhead_read_rows<false>(b, row0, number, sums, best);
    __syncwarp(); // what one thread of a row has written, the others read at the next tile
  }
};

// Many rows: whose turn it is is another's affair, so the best value so far is kept for each row.
struct zk_lmhead_many_rows {
  static constexpr bool WHOLE = true;
  static constexpr int SHARED = 0;
  typedef zk_lmhead_block Args;
  typedef zk_lmhead_row Fetched;
  static __device__ __forceinline__ int64_t first_row(int m0) { return m0 + (int64_t)(threadIdx.x % 128 / 32 * 16); }
  __device__ __forceinline__ void begin(const Args &b, int m0, int n0, Fetched &first) const {
    first = zk_lmhead_fetch(b, first_row(m0) + threadIdx.x % 32 / 4, n0 / ZK_VOCAB_TILE, zk_lmhead_row_best(b));
  }
  template <class Sums>
  __device__ __forceinline__ void store(const Args &b, const Sums &d, int m0, int n0, const Fetched &first,
                                        char *) const {
    zk_lmhead_read_rows<true>(b, first_row(m0), n0 / ZK_VOCAB_TILE, d, zk_lmhead_row_best(b), first);
  }
  __device__ __forceinline__ void end() const {}
};

#endif
#endif
