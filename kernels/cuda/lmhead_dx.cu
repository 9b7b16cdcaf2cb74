// LM head backward on Hopper: dx's part of a slab of gradients. The vocabulary is cut every 4,096 ids, each cut a chain of
// its own (kernels/lmhead.h), and the kernel of large products has one chain a tile; so this one has the same roles
// (gemm_wgmma.cuh) and a loop over chains inside the one over tiles. A tile's sum so far stays beside the chain that is
// formed (gemm_sums.cuh), and is in memory, as f32, between slabs.
#include "kernels/cuda/gemm_sums.cuh"
#include "kernels/cuda/gemm_wgmma_launch.cuh"
#include "kernels/cuda/lmhead_backward.cuh"

enum { N = 256 };
typedef zk_gemm_sums<N> sums_type;
typedef zk_gemm_wgmma_core<zk_gemm_wgmma_shape<128, N, 2, 1, false, false, false, true>, 2 * sums_type::SHARED> core_type;

struct dx_args {
  CUtensorMap a, a_last, b; // a_last: a's rows of the last tile, if they are fewer
  float *sum;               // [rows][columns], so far
  zk_bf16 *dx;              // as many, of the last slab
  zk_gemm_tiles tiles;
  int rows, columns, num_ids;
  bool first, last; // of the vocabulary's slabs
  __device__ __forceinline__ int chains() const { return (num_ids + ZK_VOCAB_CHUNK - 1) / ZK_VOCAB_CHUNK; }
  __device__ __forceinline__ int slices(int chain) const {
    return (min(num_ids - chain * ZK_VOCAB_CHUNK, ZK_VOCAB_CHUNK) + core_type::K - 1) / core_type::K;
  }
};

static __device__ __forceinline__ void load_a(core_type &core, const dx_args &args, int m0) {
  const bool whole = args.rows - m0 >= core_type::M;
  const int rows = whole ? core_type::M : max(args.rows - m0, 0);
  for (int chain = 0; chain < args.chains(); chain++)
    for (int i = 0; i < args.slices(chain); i++, core.next()) {
      zk_mbar_wait(core.empty + core.stage, core.phase ^ 1);
      zk_mbar_arrive_expect(core.full + core.stage, (uint32_t)(rows * core_type::K * 2));
      if (rows > 0) core.fetch_a(whole ? &args.a : &args.a_last, core.full + core.stage, 0, m0, chain * ZK_VOCAB_CHUNK + i * core_type::K);
    }
}
static __device__ __forceinline__ void load_b(core_type &core, const dx_args &args, int n0) {
  for (int chain = 0; chain < args.chains(); chain++)
    for (int i = 0; i < args.slices(chain); i++, core.next()) {
      zk_mbar_wait(core.empty + core.stage, core.phase ^ 1);
      zk_mbar_arrive_expect(core.full + core.stage, core_type::B_BYTES);
      core.fetch_b(&args.b, core.full + core.stage, 0, n0, chain * ZK_VOCAB_CHUNK + i * core_type::K);
    }
}

// Rows from m0 and columns from n0 on of the tile's sum: + the slab's chains, to where it was or, if this slab is the last, to dx.
static __device__ __forceinline__ void consume(core_type &core, const dx_args &args, int me, int m0, int n0) {
  const int row = m0 + me * 64 + zk_gemm_wgmma_own_row();
  sums_type sums(args.sum, args.rows, args.columns, row, n0, core.store + me * sums_type::SHARED);
  zk_bf16 *dx = args.dx + (sums.memory - args.sum);
  auto put = [&](int j, float4 s) {
    if (!args.last) {
      sums.store(j, s);
      return;
    }
    if (8 * j >= sums.columns) return;
    if (sums.inside[0]) *(uint32_t *)(dx + 8 * j) = zk_pack_bf16(s.x, s.y);
    if (sums.inside[1]) *(uint32_t *)(dx + sums.below + 8 * j) = zk_pack_bf16(s.z, s.w);
  };
  sums.begin(args.first);
  for (int chain = 0; chain < args.chains(); chain++) {
    core_type::Sums d;
    core.multiply(d, me, args.slices(chain));
    core.finish();
    sums.add(d[0], args.first, chain == 0, chain + 1 == args.chains(), put);
  }
}

static __global__ void __cluster_dims__(core_type::CLUSTER, 1, 1) __launch_bounds__(core_type::THREADS, 1)
    dx_kernel(const __grid_constant__ dx_args args) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int cluster = (int)blockIdx.x / core_type::CLUSTER, clusters = (int)gridDim.x / core_type::CLUSTER;
  const int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0), warpgroup = warp / 4; // the same in all lanes, and the compiler knows it
  core_type core;
  if (threadIdx.x == 0) zk_tma_prefetch_map(&args.a), zk_tma_prefetch_map(&args.b);
  core.open(shared);
  if (warpgroup == 0) {
    zk_registers_give<40>();
    if (warp < 2 && threadIdx.x % 32 == 0) {
      zk_wait_for_previous();
      for (int t = cluster, row, column; t < args.tiles.count(); t += clusters) {
        args.tiles.at(t, &row, &column);
        if (warp == 0) load_a(core, args, (row * core_type::CLUSTER + core.rank) * core_type::M);
        else load_b(core, args, column * N);
      }
      if (warp == 0) zk_let_next_start();
    }
  } else {
    zk_registers_take<232>();
    zk_wait_for_previous();
    for (int t = cluster, row, column; t < args.tiles.count(); t += clusters) {
      args.tiles.at(t, &row, &column);
      consume(core, args, warpgroup - 1, (row * core_type::CLUSTER + core.rank) * core_type::M, column * N);
    }
  }
  zk_cluster_sync(); // no block leaves while another may still write to it
}

static zk_cuda_gemm product(const zk_lmhead_chunk *c, int32_t first, int32_t num_ids) {
  zk_cuda_gemm g = {};
  g.numerics = ZK_BF16, g.addend_as = g.c_as = ZK_F32;
  g.m = c->num_rows, g.n = c->hidden, g.k = num_ids;
  g.a = c->dlogit, g.lda = c->slab;
  g.b = (const zk_bf16 *)c->weight + (int64_t)first * c->hidden, g.ldb = c->hidden, g.b_outer = true;
  g.addend = g.c = c->sum, g.ldaddend = g.ldc = c->hidden;
  return g;
}

bool zk_lmhead_dx_fits(const zk_lmhead_chunk *chunk) {
  zk_cuda_gemm g = product(chunk, 0, chunk->slab), last = g;
  last.c = chunk->dx, last.c_as = ZK_BF16;
  (void)zk_cuda_gemm_choose(&g); // says how the operands are aligned
  return zk_gemm_wgmma_fits(&g) && zk_gemm_wgmma_stores(&g) && zk_gemm_wgmma_stores(&last) &&
         zk_cuda_gemm_choose(&g) == ZK_CUDA_GEMM_BF16_WGMMA_TURNS;
}

zk_status zk_lmhead_dx(zk_stream *stream, const zk_lmhead_chunk *chunk, int32_t first, int32_t num_ids) {
  enum { GROUP_ROWS = 2048 };
  const zk_cuda_gemm g = product(chunk, first, num_ids);
  dx_args args = {};
  args.sum = chunk->sum, args.dx = (zk_bf16 *)chunk->dx;
  args.rows = (int)g.m, args.columns = (int)g.n, args.num_ids = num_ids;
  args.first = first == 0, args.last = first + num_ids == chunk->vocab;
  args.tiles.rows = (int)zk_ceil_div(g.m, core_type::M * core_type::CLUSTER);
  args.tiles.columns = (int)zk_ceil_div(g.n, N);
  args.tiles.group = GROUP_ROWS / (core_type::M * core_type::CLUSTER);
  ZK_TRY(zk_gemm_wgmma_map(g.a, false, g.m, g.k, g.lda, core_type::M, &args.a));
  if (g.m % core_type::M != 0)
    ZK_TRY(zk_gemm_wgmma_map(g.a, false, g.m, g.k, g.lda, (int)(g.m % core_type::M), &args.a_last));
  ZK_TRY(zk_gemm_wgmma_map(g.b, true, g.n, g.k, g.ldb, core_type::B_ROWS, &args.b));
  const int clusters = zk_cuda_num_sms(stream->device) / core_type::CLUSTER, tiles = args.tiles.rows * args.tiles.columns;
  const unsigned grid = (unsigned)((tiles < clusters ? tiles : clusters) * core_type::CLUSTER);
  ZK_LAUNCH_CLUSTERS(core_type::CLUSTER, dx_kernel, grid, core_type::THREADS, core_type::SHARED, stream, args);
  return ZK_OK;
}
