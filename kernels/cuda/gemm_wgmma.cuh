// Large bf16 products on Hopper: every output is one chain of k16 steps (wgmma.cuh), k ascending from +0, held in one
// register from the first step to the last. Columns and k beyond the product's edge are read as zeros, rows as zeros or as
// whatever lies there in shared memory: outputs there are not stored, and a step of zero products changes nothing.
//
// A block loops over tiles of M x N outputs. Its warpgroups:
//   0     the producers: a thread for a and one for b ask the copy engine for slices of 64 DEPTH k of their operand, for
//         a ring of STAGES; each costs a thread some hundred cycles. b with k inside is weights, which are asked for
//         before the kernel ahead has ended
//   1, 2  the consumers: they multiply slice after slice, then finish and store the outputs, while the producers already
//         fill the ring for the next tile. They share the tile, 64 rows each (one alone has a tile of 64), or (TURNS)
//         form whole tiles by turns, so that one finishes its outputs while the other multiplies
// full[s] counts the bytes of slice s; empty[s] the consumers' warps that are done with it.
//
// The blocks of a CLUSTER work on tiles one below the other and share b; each fetches its part of it for all, so empty[s]
// counts the warps of all. Up to three weights b of one a are one product whose columns of tiles follow each other
// (parts), or two of a kind share each tile half and half (HALVES).
#ifndef ZK_KERNELS_CUDA_GEMM_WGMMA_CUH
#define ZK_KERNELS_CUDA_GEMM_WGMMA_CUH

#include "kernels/cuda/gemm_kernel.cuh"
#include "kernels/cuda/tma.cuh"
#include "kernels/cuda/wgmma.cuh"

// Which tile is whose turn. Tiles go down `group` rows of tiles before they go to the next column: what runs together
// is about square, so that its operands stay in the L2 cache.
struct zk_gemm_tiles {
  int rows, columns, group; // of tiles; those of a cluster count as one
  __device__ __forceinline__ int count() const { return rows * columns; }
  __device__ __forceinline__ void at(int t, int *row, int *column) const {
    const int first = t / (group * columns) * group, in_group = t % (group * columns);
    const int height = rows - first < group ? rows - first : group;
    *row = first + in_group % height, *column = in_group / height;
  }
};

// The weights that a column of tiles belongs to.
enum { ZK_GEMM_MOST_PARTS = 3 };
struct zk_gemm_parts {
  int count, end[ZK_GEMM_MOST_PARTS]; // columns of tiles of the parts up to this one
  __device__ __forceinline__ int at(int column, int *in_part) const {
    int part = 0;
    while (part + 1 < count && column >= end[part]) part++;
    *in_part = part > 0 ? column - end[part - 1] : column;
    return part;
  }
};

// DEPTH of 2 pays where a slice is little work.
template <int M_, int N_, int CLUSTER_, int DEPTH_, bool TURNS_ = false, bool HALVES_ = false, bool A_OUTER_ = false,
          bool B_OUTER_ = false>
struct zk_gemm_wgmma_shape {
  static constexpr int M = M_, N = N_, CLUSTER = CLUSTER_, DEPTH = DEPTH_;
  static constexpr bool TURNS = TURNS_, HALVES = HALVES_, A_OUTER = A_OUTER_, B_OUTER = B_OUTER_;
};

template <class Shape, int STORE_BYTES> struct zk_gemm_wgmma_core {
  static constexpr int M = Shape::M, N = Shape::N, K = 64, CLUSTER = Shape::CLUSTER, DEPTH = Shape::DEPTH;
  static constexpr bool TURNS = Shape::TURNS, HALVES = Shape::HALVES, A_OUTER = Shape::A_OUTER,
                        B_OUTER = Shape::B_OUTER;
  static constexpr int CONSUMERS = TURNS ? 2 : M / 64, THREADS = (CONSUMERS + 1) * 128;
  static constexpr int BLOCKS = TURNS ? M / 64 : 1; // of 64 rows, of one consumer
  static constexpr int BLOCK = 64 * K * 2;          // bytes of 64 rows of a slice, or of a box of an outer operand
  static constexpr int A_BYTES = M * K * 2, B_BYTES = N * K * 2, PART = A_BYTES + B_BYTES, SLICE = DEPTH * PART;
  static constexpr int MOST = (227 * 1024 - 1024 - STORE_BYTES) / SLICE, STAGES = MOST < 8 ? MOST : 8;
  static constexpr int SHARED = STAGES * SLICE + STORE_BYTES + 1024;
  // How the blocks of a cluster divide a slice of b: by its 64 k, or each 64 k by rows (of HALVES, a half each).
  static constexpr bool BY_K = DEPTH % CLUSTER == 0;
  static constexpr int WIDTH = HALVES ? N / 2 : N;      // columns of a part in a tile
  static constexpr int B_ROWS = BY_K ? N : N / CLUSTER; // of a copy, of an inner b
  static_assert(!HALVES || (!BY_K && CLUSTER == 2), "a block fetches one of the halves");
  typedef float Sums[BLOCKS][N / 2]; // of a consumer's thread

  char *slices, *store; // dynamic shared memory: [STAGES][DEPTH] of a and b, then STORE_BYTES for storing the outputs
  uint64_t *full, *empty, *turn;
  int rank; // in the cluster
  int stage;
  uint32_t phase;

  __device__ __forceinline__ void open(char *shared) {
    rank = (int)zk_block_in_cluster();
    slices = shared, store = shared + STAGES * SLICE;
    full = (uint64_t *)(store + STORE_BYTES), empty = full + STAGES, turn = empty + STAGES;
    stage = 0, phase = 0;
    if (threadIdx.x == 0) {
      for (int s = 0; s < STAGES; s++) {
        zk_mbar_init(full + s, 2);                                      // the producers
        zk_mbar_init(empty + s, CLUSTER * 4 * (TURNS ? 1 : CONSUMERS)); // warps that read a slice
      }
      for (int i = 0; i < 2; i++) zk_mbar_init(turn + i, 4);
      zk_mbar_init_done();
    }
    zk_cluster_sync();
  }
  __device__ __forceinline__ void next() {
    if (++stage == STAGES) stage = 0, phase ^= 1;
  }
  // TURNS: consumer `me` begins its tile `round` when the other has seen all of its own tile before it: a barrier's parity
  // tells two neighbouring phases apart, no more. Then the other's next tile is skipped.
  __device__ __forceinline__ void take_turn(int me, int round) { zk_mbar_wait(turn + me, (round + me + 1) % 2); }
  __device__ __forceinline__ void pass_turn(int me) {
    if (threadIdx.x % 32 == 0) zk_mbar_arrive(turn + 1 - me);
  }
  __device__ __forceinline__ void skip(int slices_of_other) {
    stage += slices_of_other;
    phase ^= stage / STAGES % 2, stage %= STAGES;
  }

  // The producers' threads, 64 k, the `part`th of a slice: this block's rows of a, and its share of b, which goes to all
  // blocks of the cluster.
  __device__ __forceinline__ void fetch_a(const CUtensorMap *a, uint64_t *bar, int part, int m0, int k) {
    char *to = slices + stage * SLICE + part * PART;
    if (A_OUTER) {
      for (int box = 0; box < M / 64; box++) zk_tma_load_2d(to + box * BLOCK, a, bar, m0 + box * 64, k);
    } else {
      zk_tma_load_2d(to, a, bar, k, m0);
    }
  }
  __device__ __forceinline__ void fetch_b(const CUtensorMap *b, uint64_t *bar, int part, int n0, int k) {
    const int all = (1 << CLUSTER) - 1;
    char *to = slices + stage * SLICE + part * PART + A_BYTES;
    if (B_OUTER) {
      for (int box = rank; box < N / 64; box += CLUSTER)
        zk_tma_load_2d_to(all, to + box * BLOCK, b, bar, n0 + box * 64, k);
    } else if (!BY_K) {
      zk_tma_load_2d_to(all, to + rank * B_ROWS * K * 2, HALVES ? b + rank : b, bar, k,
                        HALVES ? n0 : n0 + rank * B_ROWS);
    } else if (part % CLUSTER == rank) {
      zk_tma_load_2d_to(all, to, b, bar, k, n0);
    }
  }
  // All slices of a of the tile whose first row is m0, `rows` to a copy, of b of the one whose first column is n0.
  __device__ __forceinline__ void load_a(const CUtensorMap *a, int m0, int rows, int k_slices) {
    for (int i = 0; i < k_slices; i++, next()) {
      zk_mbar_wait(empty + stage, phase ^ 1);
      zk_mbar_arrive_expect(full + stage, DEPTH * rows * K * 2);
#pragma unroll
      for (int part = 0; part < DEPTH; part++)
        if (rows > 0) fetch_a(a, full + stage, part, m0, (i * DEPTH + part) * K);
    }
  }
  __device__ __forceinline__ void load_b(const CUtensorMap *b, int n0, int k_slices) {
    for (int i = 0; i < k_slices; i++, next()) {
      zk_mbar_wait(empty + stage, phase ^ 1);
      zk_mbar_arrive_expect(full + stage, DEPTH * B_BYTES);
#pragma unroll
      for (int part = 0; part < DEPTH; part++) fetch_b(b, full + stage, part, n0, (i * DEPTH + part) * K);
    }
  }

  // A consumer warp is done with slice s: lane i tells block i of the cluster.
  __device__ __forceinline__ void release(int s) {
    const uint32_t lane = threadIdx.x % 32;
    if (lane < CLUSTER) zk_mbar_arrive_at(empty + s, lane);
  }

  // Consumer `me`: the chains of its outputs. They are complete after finish(), which frees the last slice.
  __device__ __forceinline__ void multiply(Sums &d, int me, int k_slices) {
    for (int i = 0; i < k_slices; i++, next()) {
      const char *sa = slices + stage * SLICE + (TURNS ? 0 : me * BLOCK), *sb = slices + stage * SLICE + A_BYTES;
      zk_mbar_wait(full + stage, phase);
      zk_wgmma_begin();
#pragma unroll
      for (int part = 0; part < DEPTH; part++, sa += PART, sb += PART) {
        const uint64_t a = A_OUTER ? zk_wgmma_outer(sa, BLOCK) : zk_wgmma_inner(sa);
        const uint64_t b = B_OUTER ? zk_wgmma_outer(sb, BLOCK) : zk_wgmma_inner(sb);
#pragma unroll
        for (int s = 0; s < K / 16; s++)
#pragma unroll
          for (int block = 0; block < BLOCKS; block++)
            zk_wgmma<A_OUTER, B_OUTER>(d[block], zk_wgmma_step<A_OUTER>(a + block * (BLOCK >> 4), s),
                                       zk_wgmma_step<B_OUTER>(b, s), i + part + s > 0);
      }
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

// The usual one: 128 rows, 64 for each consumer, the blocks of a cluster one below the other.
template <int N, bool A_OUTER, bool B_OUTER, int CLUSTER, int STORE_BYTES>
using zk_gemm_wgmma =
    zk_gemm_wgmma_core<zk_gemm_wgmma_shape<128, N, CLUSTER, 1, false, false, A_OUTER, B_OUTER>, STORE_BYTES>;

// An epilogue is a struct, one in each consumer thread, with `Args`, `Fetched`, SHARED bytes of a warpgroup (a multiple of
// 1024), and
//   begin(args, m0, n0, fetched)             while the last steps run: fetch what the outputs will need
//   store(args, d, m0, n0, fetched, shared)  finish 64 x N outputs of the warpgroup, the first at (m0, n0), and store
//                                            them; `shared` is the warpgroup's
//   end()                                    after the last tile
// n0 is N times the column of tiles, counted over all parts. WHOLE: begin and store are of all 64 BLOCKS rows at once.
template <class Epilogue> struct zk_gemm_wgmma_args {
  CUtensorMap a, a_last, b[ZK_GEMM_MOST_PARTS]; // a_last: inner a's rows of the last tile, if they are fewer than M
  typename Epilogue::Args epilogue;
  zk_gemm_tiles tiles;
  zk_gemm_parts parts;
  int rows, k_slices; // of a
};

template <class Core, class Epilogue>
__global__ void __cluster_dims__(Core::CLUSTER, 1, 1) __launch_bounds__(Core::THREADS, 1)
    zk_gemm_wgmma_kernel(const __grid_constant__ zk_gemm_wgmma_args<Epilogue> args) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int cluster = (int)blockIdx.x / Core::CLUSTER, num_clusters = (int)gridDim.x / Core::CLUSTER;
  // The same in all lanes, and the compiler knows it.
  const int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0), warpgroup = warp / 4;
  Core core;
  const int num_maps = 1 + (Core::HALVES ? 2 : args.parts.count), map = (int)threadIdx.x;
  if (map < num_maps) zk_tma_prefetch_map(map == 0 ? &args.a : &args.b[map - 1]);
  core.open(shared);
  if (warpgroup == 0) {
    zk_registers_give<40>();
    if (warp == 0 && threadIdx.x % 32 == 0) {
      zk_wait_for_previous();
      for (int t = cluster, row, column; t < args.tiles.count(); t += num_clusters) {
        args.tiles.at(t, &row, &column);
        const int m0 = (row * Core::CLUSTER + core.rank) * Core::M, left = args.rows - m0;
        const bool whole = Core::A_OUTER || left >= Core::M;
        core.load_a(whole ? &args.a : &args.a_last, m0, whole ? Core::M : max(left, 0), args.k_slices);
      }
      zk_let_next_start();
    } else if (warp == 1 && threadIdx.x % 32 == 0) {
      if (Core::B_OUTER) zk_wait_for_previous();
      for (int t = cluster, row, column, in_part; t < args.tiles.count(); t += num_clusters) {
        args.tiles.at(t, &row, &column);
        const int part = args.parts.at(column, &in_part);
        core.load_b(&args.b[part], in_part * Core::WIDTH, args.k_slices);
      }
    }
  } else {
    zk_registers_take<232>();
    zk_wait_for_previous();
    const int me = warpgroup - 1, turns = Core::TURNS ? 2 : 1;
    Epilogue epilogue;
    if (Core::TURNS && me > 0) core.skip(args.k_slices);
    for (int t = cluster + (Core::TURNS ? me : 0) * num_clusters, round = 0, row, column; t < args.tiles.count();
         t += turns * num_clusters, round++) {
      args.tiles.at(t, &row, &column);
      const int m0 = (row * Core::CLUSTER + core.rank) * Core::M + (Core::TURNS ? 0 : me * 64);
      const int n0 = column * Core::N;
      typename Core::Sums d;
      typename Epilogue::Fetched fetched;
      if (Core::TURNS) core.take_turn(me, round);
      core.multiply(d, me, args.k_slices);
      if (Core::TURNS) core.pass_turn(me);
      epilogue.begin(args.epilogue, m0, n0, fetched);
      core.finish();
      char *store = core.store + me * Epilogue::SHARED;
      if constexpr (Epilogue::WHOLE) {
        epilogue.store(args.epilogue, d, m0, n0, fetched, store);
      } else {
#pragma unroll
        for (int block = 0; block < Core::BLOCKS; block++) {
          if (block > 0) epilogue.begin(args.epilogue, m0 + 64 * block, n0, fetched);
          epilogue.store(args.epilogue, d[block], m0 + 64 * block, n0, fetched, store);
        }
      }
      if (Core::TURNS) core.skip(args.k_slices);
    }
    epilogue.end();
  }
  zk_cluster_sync(); // no block leaves while another may still write to it
}

#endif
