// Large bf16 products on Hopper: every output is one chain of k16 steps (wgmma.cuh), k ascending from +0, held in one
// register from the first step to the last. Rows, columns and k beyond the product's edge are read as zeros: outputs
// there are not stored, and a step of zero products changes nothing.
//
// A block has three warpgroups and loops over tiles of 128 x N outputs:
//   0     the producer: one thread asks the copy engine for slices of 64 k of both operands, into a ring of STAGES
//   1, 2  the consumers: 64 rows of the tile each; they multiply slice after slice, then finish and store the outputs,
//         while the producer already fills the ring for the next tile
// full[s] counts the bytes of slice s; empty[s] the consumers' warps that are done with it. CLUSTER = 2: two blocks
// one below the other share b; each fetches half of it for both, so empty[s] counts the warps of both.
#ifndef ZK_KERNELS_CUDA_GEMM_WGMMA_CUH
#define ZK_KERNELS_CUDA_GEMM_WGMMA_CUH

#include "kernels/cuda/gemm_kernel.cuh"
#include "kernels/cuda/tma.cuh"
#include "kernels/cuda/wgmma.cuh"

// Which tile is whose turn. Tiles go down GROUP rows of tiles before they go to the next column: what runs together
// is about square, so that its operands stay in the L2 cache.
struct zk_gemm_tiles {
  enum { GROUP = 8 };
  int rows, columns; // of tiles; those of a cluster count as one
  __device__ __forceinline__ int count() const { return rows * columns; }
  __device__ __forceinline__ void at(int t, int *row, int *column) const {
    const int first = t / (GROUP * columns) * GROUP, in_group = t % (GROUP * columns);
    const int height = rows - first < GROUP ? rows - first : GROUP;
    *row = first + in_group % height, *column = in_group / height;
  }
};

template <int N_, bool A_OUTER_, bool B_OUTER_, int CLUSTER_, int STORE_BYTES> struct zk_gemm_wgmma {
  static constexpr int M = 128, N = N_, K = 64, CLUSTER = CLUSTER_, THREADS = 384, CONSUMER_WARPS = 8;
  static constexpr bool A_OUTER = A_OUTER_, B_OUTER = B_OUTER_;
  static constexpr int BLOCK = 64 * K * 2; // bytes of 64 rows of a slice: a consumer's of a, a box of an outer operand
  static constexpr int A_BYTES = M * K * 2, B_BYTES = N * K * 2, SLICE = A_BYTES + B_BYTES;
  static constexpr int MOST = (227 * 1024 - 1024 - STORE_BYTES) / SLICE, STAGES = MOST < 8 ? MOST : 8;
  static constexpr int SHARED = STAGES * SLICE + STORE_BYTES + 1024;
  static constexpr int B_ROWS = N / CLUSTER; // inner b: rows that one block fetches

  char *slices,
      *store; // dynamic shared memory: slices [STAGES][SLICE], then STORE_BYTES for whoever stores the outputs
  uint64_t *full, *empty;
  int stage;
  uint32_t phase;

  __device__ __forceinline__ void open(char *shared) {
    slices = shared, store = shared + STAGES * SLICE;
    full = (uint64_t *)(store + STORE_BYTES), empty = full + STAGES;
    stage = 0, phase = 0;
    if (threadIdx.x == 0) {
      for (int s = 0; s < STAGES; s++) zk_mbar_init(full + s, 1), zk_mbar_init(empty + s, CLUSTER * CONSUMER_WARPS);
      zk_mbar_init_done();
    }
    if (CLUSTER > 1) zk_cluster_sync();
    else __syncthreads();
  }
  __device__ __forceinline__ void next() {
    if (++stage == STAGES) stage = 0, phase ^= 1;
  }

  // The producer's thread: all slices of the tile at (m0, n0).
  __device__ __forceinline__ void load(const CUtensorMap *a, const CUtensorMap *b, int m0, int n0, int k_slices) {
    const int rank = CLUSTER > 1 ? (int)zk_block_in_cluster() : 0;
    for (int i = 0; i < k_slices; i++, next()) {
      char *sa = slices + stage * SLICE, *sb = sa + A_BYTES;
      uint64_t *bar = full + stage;
      zk_mbar_wait(empty + stage, phase ^ 1);
      zk_mbar_arrive_expect(bar, SLICE);
      if (A_OUTER) {
        for (int box = 0; box < M / 64; box++) zk_tma_load_2d(sa + box * BLOCK, a, bar, m0 + box * 64, i * K);
      } else {
        zk_tma_load_2d(sa, a, bar, i * K, m0);
      }
      if (B_OUTER) {
        for (int box = rank; box < N / 64; box += CLUSTER) {
          if (CLUSTER > 1) zk_tma_load_2d_to(3, sb + box * BLOCK, b, bar, n0 + box * 64, i * K);
          else zk_tma_load_2d(sb + box * BLOCK, b, bar, n0 + box * 64, i * K);
        }
      } else {
        const int row = rank * B_ROWS;
        if (CLUSTER > 1) zk_tma_load_2d_to(3, sb + row * K * 2, b, bar, i * K, n0 + row);
        else zk_tma_load_2d(sb, b, bar, i * K, n0);
      }
    }
  }

  // A consumer warp is done with slice s: lane i tells block i of the cluster.
  __device__ __forceinline__ void release(int s) {
    const uint32_t lane = threadIdx.x % 32;
    if (CLUSTER > 1) {
      if (lane < CLUSTER) zk_mbar_arrive_at(empty + s, lane);
    } else if (lane == 0) {
      zk_mbar_arrive(empty + s);
    }
  }

  // A consumer warpgroup: the chains of its 64 x N outputs. They are complete after zk_wgmma_wait<0>, and finish() then
  // frees the last slice.
  __device__ __forceinline__ void multiply(float (&d)[N / 2], int k_slices) {
    const int half =
        __shfl_sync(0xffffffffu, (int)threadIdx.x / 128 - 1, 0); // the same in all lanes, and the compiler knows
    for (int i = 0; i < k_slices; i++, next()) {
      const char *sa = slices + stage * SLICE + half * BLOCK, *sb = slices + stage * SLICE + A_BYTES;
      const uint64_t a = A_OUTER ? zk_wgmma_outer(sa, BLOCK) : zk_wgmma_inner(sa);
      const uint64_t b = B_OUTER ? zk_wgmma_outer(sb, BLOCK) : zk_wgmma_inner(sb);
      zk_mbar_wait(full + stage, phase);
      zk_wgmma_begin();
#pragma unroll
      for (int s = 0; s < K / 16; s++)
        zk_wgmma<A_OUTER, B_OUTER>(d, zk_wgmma_step<A_OUTER>(a, s), zk_wgmma_step<B_OUTER>(b, s), i + s > 0);
      zk_wgmma_commit();
      zk_wgmma_wait<1>();
      if (i > 0) release(stage > 0 ? stage - 1 : STAGES - 1);
    }
  }
  __device__ __forceinline__ void finish() {
    zk_wgmma_wait<0>();
    release(stage > 0 ? stage - 1 : STAGES - 1);
  }
};

// An epilogue is a struct, one in each consumer thread, with `Args`, `Fetched`, SHARED bytes (a multiple of 1024), and
//   begin(args, m0, n0, fetched)             while the last steps run: fetch what the outputs will need
//   store(args, d, m0, n0, fetched, shared)  finish the warpgroup's 64 x N outputs, the first at (m0, n0), and store them
//   end()                                    after the last tile
template <class Epilogue> struct zk_gemm_wgmma_args {
  CUtensorMap a, b;
  typename Epilogue::Args epilogue;
  zk_gemm_tiles tiles;
  int k_slices;
};

template <class Core, class Epilogue>
__global__ void __cluster_dims__(Core::CLUSTER, 1, 1) __launch_bounds__(Core::THREADS, 1)
    zk_gemm_wgmma_kernel(const __grid_constant__ zk_gemm_wgmma_args<Epilogue> args) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int cluster = (int)blockIdx.x / Core::CLUSTER, num_clusters = (int)gridDim.x / Core::CLUSTER;
  const int rank = (int)blockIdx.x % Core::CLUSTER, warpgroup = (int)threadIdx.x / 128;
  Core core;
  if (threadIdx.x == 0) zk_tma_prefetch_map(&args.a), zk_tma_prefetch_map(&args.b);
  core.open(shared);
  zk_wait_for_previous();
  if (warpgroup == 0) {
    zk_registers_give<40>();
    if (threadIdx.x == 0) {
      for (int t = cluster, row, column; t < args.tiles.count(); t += num_clusters) {
        args.tiles.at(t, &row, &column);
        core.load(&args.a, &args.b, (row * Core::CLUSTER + rank) * Core::M, column * Core::N, args.k_slices);
      }
      zk_let_next_start();
    }
  } else {
    zk_registers_take<232>();
    Epilogue epilogue;
    for (int t = cluster, row, column; t < args.tiles.count(); t += num_clusters) {
      args.tiles.at(t, &row, &column);
      const int m0 = (row * Core::CLUSTER + rank) * Core::M + (warpgroup - 1) * 64, n0 = column * Core::N;
      float d[Core::N / 2];
      typename Epilogue::Fetched fetched;
      core.multiply(d, args.k_slices);
      epilogue.begin(args.epilogue, m0, n0, fetched);
      core.finish();
      epilogue.store(args.epilogue, d, m0, n0, fetched, core.store);
    }
    epilogue.end();
  }
  if (Core::CLUSTER > 1) zk_cluster_sync(); // no block leaves while another may still write to it
}

#endif
