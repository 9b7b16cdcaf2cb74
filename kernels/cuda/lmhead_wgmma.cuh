// The LM head's tiles straight from the accumulators of wgmma, in the kernels of a few rows (gemm_decode.cuh) and of
// many (gemm_wgmma.cuh).
#ifndef ZK_KERNELS_CUDA_LMHEAD_WGMMA_CUH
#define ZK_KERNELS_CUDA_LMHEAD_WGMMA_CUH

#include "kernels/cuda/lmhead_fragment.cuh"
#include "kernels/cuda/gemm_decode_launch.cuh"
#include "kernels/cuda/gemm_wgmma_launch.cuh"

// A few rows: a block has every gridDim.x'th tile of all rows.
struct zk_lmhead_few_rows {
  zk_lmhead_block b;
  template <class Tile> __device__ __forceinline__ void operator()(Tile &tile, int, int first) const {
    const int32_t number = (int32_t)first / ZK_VOCAB_TILE;
    const int64_t row0 = threadIdx.x / 32 * 16;
    auto &sums = reinterpret_cast<float(&)[1][ZK_VOCAB_TILE / 2]>(tile.acc); // one block of 64 rows
    zk_lmhead_read_rows(b, row0, number, sums, zk_lmhead_fetch_rows<2>(b, row0, number));
  }
};

// Many rows, BLOCKS of 64 to a tile, which are known while its last steps run.
template <int BLOCKS> struct zk_lmhead_many_rows {
  static constexpr bool WHOLE = true;
  static constexpr int SHARED = 0;
  typedef zk_lmhead_block Args;
  typedef zk_lmhead_rows<2 * BLOCKS> Fetched;
  static __device__ __forceinline__ int64_t first_row(int m0) { return m0 + (int64_t)(threadIdx.x % 128 / 32 * 16); }
  __device__ __forceinline__ void begin(const Args &b, int m0, int n0, Fetched &rows) const {
    rows = zk_lmhead_fetch_rows<2 * BLOCKS>(b, first_row(m0), n0 / ZK_VOCAB_TILE);
  }
  template <class Sums>
  __device__ __forceinline__ void store(const Args &b, Sums &d, int m0, int n0, const Fetched &rows, char *) const {
    zk_lmhead_read_rows(b, first_row(m0), n0 / ZK_VOCAB_TILE, d, rows);
  }
  __device__ __forceinline__ void end() const {}
};

#endif
