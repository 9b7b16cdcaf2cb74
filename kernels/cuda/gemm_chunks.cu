// Weight gradients of several chunks of tokens as one launch: c = ((c + chain of chunk 0) + chain of chunk 1) + ..., each chain as in
// gemm_wgmma.cuh.
//
// One chunk's tiles may be far fewer than the blocks that run at a time, or a little more than once or twice as many: a launch for each
// chunk leaves multiprocessors idle at the end of every one. Here chunk 1's tiles follow chunk 0's as if they were more tiles. A warp
// adds its rows of a tile to what the same warp of another block has stored for the chunk before: `stored` counts, for each tile and warp,
// the chunks that are in memory. Work goes out in order and whoever waits does so for earlier work of a block that runs, so that none
// waits for ever; the last chunk sets the counts back to 0.
#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/gemm.h"

#ifdef ZK_SIMT // neither wgmma nor the copy engine is emulated
bool zk_cuda_gemm_chunks_valid(const zk_cuda_gemm *g) { return false; }
zk_status zk_cuda_gemm_chunks(zk_stream *stream, const zk_cuda_gemm *g, int num_chunks) {
  return ZK_FAIL(ZK_INTERNAL, "the emulated device has no wgmma");
}
#else

#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/gemm_wgmma_launch.cuh"
#include "kernels/cuda/gemm_wgmma_store.cuh"

typedef zk_gemm_wgmma_shape<128, 128, 2, 1, true, false, true, true> shape;
typedef zk_gemm_wgmma_store<shape::N> epilogue;
typedef zk_gemm_wgmma_core<shape, 2 * epilogue::SHARED> core;

enum { MOST_CHUNKS = 4, WARPS = 4 };

struct chunks_args {
  CUtensorMap a[MOST_CHUNKS], b[MOST_CHUNKS];
  int k_slices[MOST_CHUNKS], num_chunks;
  epilogue::Args epilogue;
  zk_gemm_tiles tiles;
  uint32_t *stored; // [tiles of a block][WARPS]

  __device__ __forceinline__ int count() const { return tiles.count() * num_chunks; }
  __device__ __forceinline__ int slices_of(int item) const { return item < count() ? k_slices[item / tiles.count()] : 0; }
};

// The warp's outputs of the chunks before are in memory.
static __device__ __forceinline__ void wait_for(const uint32_t *stored, uint32_t chunks) {
  if (threadIdx.x % 32 == 0) {
    uint32_t there;
    do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(there) : "l"(stored) : "memory");
    while (there != chunks);
  }
  __syncwarp();
}
// The warp's outputs are, for the chunks up to `chunks`; 0 after the last.
static __device__ __forceinline__ void tell(uint32_t *stored, uint32_t chunks) {
  __threadfence();
  __syncwarp();
  if (threadIdx.x % 32 == 0) asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(stored), "r"(chunks) : "memory");
}

__global__ void __cluster_dims__(core::CLUSTER, 1, 1) __launch_bounds__(core::THREADS, 1)
    zk_gemm_chunks_kernel(const __grid_constant__ chunks_args args) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int cluster = (int)blockIdx.x / core::CLUSTER, num_clusters = (int)gridDim.x / core::CLUSTER;
  const int tiles = args.tiles.count(), count = args.count();
  const int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0), warpgroup = warp / 4;
  core c;
  if ((int)threadIdx.x < 2 * args.num_chunks)
    zk_tma_prefetch_map(threadIdx.x % 2 == 0 ? &args.a[threadIdx.x / 2] : &args.b[threadIdx.x / 2]);
  c.open(shared);
  if (warpgroup == 0) {
    zk_registers_give<40>();
    if (warp < 2 && threadIdx.x % 32 == 0) {
      zk_wait_for_previous();
      for (int item = cluster, row, column; item < count; item += num_clusters) {
        const int chunk = item / tiles;
        args.tiles.at(item % tiles, &row, &column);
        if (warp == 0) c.load_a(&args.a[chunk], (row * core::CLUSTER + c.rank) * core::M, core::M, args.k_slices[chunk]);
        else c.load_b(&args.b[chunk], column * core::N, args.k_slices[chunk]);
      }
      if (warp == 0) zk_let_next_start();
    }
  } else {
    zk_registers_take<232>();
    zk_wait_for_previous();
    const int me = warpgroup - 1;
    epilogue e;
    if (me > 0) c.skip(args.slices_of(cluster));
    for (int item = cluster + me * num_clusters, round = 0, row, column; item < count; item += 2 * num_clusters, round++) {
      const int chunk = item / tiles;
      args.tiles.at(item % tiles, &row, &column);
      const int block_row = row * core::CLUSTER + c.rank, m0 = block_row * core::M, n0 = column * core::N;
      core::Sums d;
      epilogue::Fetched fetched;
      c.take_turn(me, round);
      c.multiply(d, me, args.k_slices[chunk]);
      c.pass_turn(me);
      c.finish();
      uint32_t *stored = args.stored + (block_row * args.tiles.columns + column) * WARPS + warp % WARPS;
      if (chunk > 0) wait_for(stored, (uint32_t)chunk);
#pragma unroll
      for (int block = 0; block < core::BLOCKS; block++) {
        e.begin(args.epilogue, m0 + 64 * block, n0, fetched);
        e.store(args.epilogue, d[block], m0 + 64 * block, n0, fetched, c.store + me * epilogue::SHARED);
      }
      if (args.num_chunks > 1) tell(stored, chunk + 1 < args.num_chunks ? (uint32_t)chunk + 1 : 0);
      c.skip(args.slices_of(item + num_clusters));
    }
    e.end();
  }
  zk_cluster_sync(); // no block leaves while another may still write to it
}

static int64_t rows_of_tiles(const zk_cuda_gemm *g) { return zk_ceil_div(g->m, core::M * core::CLUSTER); }
static int64_t columns_of_tiles(const zk_cuda_gemm *g) { return zk_ceil_div(g->n, core::N); }

bool zk_cuda_gemm_chunks_valid(const zk_cuda_gemm *g) {
  return zk_gemm_wgmma_fits(g) && zk_gemm_wgmma_stores(g) && g->a_outer && g->b_outer && g->bias == NULL && g->c_as == ZK_F32 &&
         g->addend == g->c && g->addend_as == ZK_F32 && g->ldaddend == g->ldc &&
         rows_of_tiles(g) * core::CLUSTER * columns_of_tiles(g) * WARPS <= ZK_CUDA_NUM_ARRIVALS;
}

static zk_status launch(zk_stream *stream, const zk_cuda_gemm *g, int num_chunks) {
  enum { GROUP_ROWS = 2048 };
  chunks_args args = {};
  args.num_chunks = num_chunks;
  for (int i = 0; i < num_chunks; i++) {
    args.k_slices[i] = (int)zk_ceil_div(g[i].k, core::K);
    ZK_TRY(zk_gemm_wgmma_map(g[i].a, true, g->m, g[i].k, g->lda, core::M, &args.a[i]));
    ZK_TRY(zk_gemm_wgmma_map(g[i].b, true, g->n, g[i].k, g->ldb, core::N, &args.b[i]));
  }
  args.epilogue.parts = zk_gemm_wgmma_parts<core>(g, 1);
  args.epilogue.g[0] = g[0];
  args.tiles = {(int)rows_of_tiles(g), (int)columns_of_tiles(g), GROUP_ROWS / (core::M * core::CLUSTER)};
  args.stored = zk_cuda_arrivals(stream);
  const int64_t clusters = zk_cuda_num_sms(stream->device) / core::CLUSTER, count = rows_of_tiles(g) * columns_of_tiles(g) * num_chunks;
  const unsigned grid = (unsigned)((count < clusters ? count : clusters) * core::CLUSTER);
  ZK_LAUNCH_DEPENDENT(zk_gemm_chunks_kernel, grid, core::THREADS, core::SHARED, stream, args);
  return ZK_OK;
}

zk_status zk_cuda_gemm_chunks(zk_stream *stream, const zk_cuda_gemm *g, int num_chunks) {
  for (int first = 0; first < num_chunks; first += MOST_CHUNKS)
    ZK_TRY(launch(stream, g + first, num_chunks - first < MOST_CHUNKS ? num_chunks - first : MOST_CHUNKS));
  return ZK_OK;
}
#endif
