// LM head backward on Hopper: dx's part of a slab of gradients. The vocabulary is cut every 4,096 ids, each cut a chain of
// its own (kernels/lmhead.h), and the kernel of large products has one chain a tile; so this one has the same roles
// (gemm_wgmma.cuh) and a loop over chains inside the one over tiles. Two consumers have a tile each and form their chains
// by turns: a tile's sum so far waits in memory as f32, and is read and written by the threads that wrote it before.
#include "kernels/cuda/lmhead_backward.cuh"

#ifdef ZK_SIMT
bool zk_lmhead_dx_fits(const zk_lmhead_chunk *) { return false; }
zk_status zk_lmhead_dx(zk_stream *, const zk_lmhead_chunk *, int32_t, int32_t) {
  return ZK_FAIL(ZK_INTERNAL, "the emulated device has no wgmma");
}
#else
#include "kernels/cuda/gemm_wgmma_launch.cuh"
#include "kernels/cuda/gemm_wgmma_store.cuh"

enum { N = 128 };
typedef zk_gemm_wgmma_store<N> store;
typedef zk_gemm_wgmma_core<zk_gemm_wgmma_shape<128, N, 2, 1, true, false, false, true>, 2 * store::SHARED> core_type;

struct dx_args {
  CUtensorMap a, a_last, b, c; // a_last: a's rows of the last tile, if they are fewer; c: dx
  zk_cuda_gemm sum;            // c and addend are the sums so far
  zk_gemm_tiles tiles;
  int rows, num_ids;
  bool first, last; // of the vocabulary's slabs
  __device__ __forceinline__ int chains() const { return (num_ids + ZK_VOCAB_CHUNK - 1) / ZK_VOCAB_CHUNK; }
  __device__ __forceinline__ int slices(int chain) const {
    return (min(num_ids - chain * ZK_VOCAB_CHUNK, ZK_VOCAB_CHUNK) + core_type::K - 1) / core_type::K;
  }
  // The first row and column of tile t of a pair of blocks, of this block; behind the last tile: rows that are not there.
  __device__ __forceinline__ void place(int t, int rank, int *m0, int *n0) const {
    int row = tiles.rows, column = 0;
    if (t < tiles.count()) tiles.at(t, &row, &column);
    *m0 = (row * core_type::CLUSTER + rank) * core_type::M, *n0 = column * N;
  }
};

struct walk {
  int t, step; // tile of the first consumer, of the next round
  __device__ __forceinline__ walk() {
    const int clusters = (int)gridDim.x / core_type::CLUSTER;
    t = (int)blockIdx.x / core_type::CLUSTER, step = 2 * clusters;
  }
  static __device__ __forceinline__ int tile(int t, int me) { return t + me * ((int)gridDim.x / core_type::CLUSTER); }
};

static __device__ __forceinline__ void load_a(core_type &core, const dx_args &args) {
  for (walk w; w.t < args.tiles.count(); w.t += w.step)
    for (int chain = 0; chain < args.chains(); chain++)
      for (int me = 0; me < 2; me++) {
        int m0, n0;
        args.place(walk::tile(w.t, me), core.rank, &m0, &n0);
        const bool whole = args.rows - m0 >= core_type::M;
        const int rows = whole ? core_type::M : max(args.rows - m0, 0), slices = args.slices(chain);
        for (int i = 0; i < slices; i++, core.next()) {
          zk_mbar_wait(core.empty + core.stage, core.phase ^ 1);
          zk_mbar_arrive_expect(core.full + core.stage, (uint32_t)(rows * core_type::K * 2));
          if (rows > 0)
            core.fetch_a(whole ? &args.a : &args.a_last, core.full + core.stage, 0, m0, chain * ZK_VOCAB_CHUNK + i * core_type::K);
        }
      }
}
static __device__ __forceinline__ void load_b(core_type &core, const dx_args &args) {
  for (walk w; w.t < args.tiles.count(); w.t += w.step)
    for (int chain = 0; chain < args.chains(); chain++)
      for (int me = 0; me < 2; me++) {
        int m0, n0;
        args.place(walk::tile(w.t, me), core.rank, &m0, &n0);
        const int slices = args.slices(chain);
        for (int i = 0; i < slices; i++, core.next()) {
          zk_mbar_wait(core.empty + core.stage, core.phase ^ 1);
          zk_mbar_arrive_expect(core.full + core.stage, core_type::B_BYTES);
          core.fetch_b(&args.b, core.full + core.stage, 0, n0, chain * ZK_VOCAB_CHUNK + i * core_type::K);
        }
      }
}

// The tile's sum so far, + this chain, to where it was or, if this is the last, to dx.
static __device__ __forceinline__ void finish_chain(store &out, const dx_args &args, float (&d)[N / 2], bool is_first, bool is_last, int m0,
                                                  int n0, store::Fetched &sum, char *shared) {
  if (!is_first) store::add<float, store::F32_COLUMNS>(args.sum, d, m0, n0, sum);
  if (!is_last) store::store_f32(args.sum, d, m0, n0);
  else out.bf16_rows.store(&args.c, args.rows, (int)args.sum.n, d, m0 + zk_gemm_wgmma_warp_row(), n0, shared);
}

static __device__ __forceinline__ void consume(core_type &core, const dx_args &args, int me) {
  store out;
  int round = 0;
  if (me > 0) core.skip(args.slices(0));
  for (walk w; w.t < args.tiles.count(); w.t += w.step) {
    int m0, n0;
    args.place(walk::tile(w.t, me), core.rank, &m0, &n0);
    for (int chain = 0; chain < args.chains(); chain++, round++) {
      const bool is_first = args.first && chain == 0, is_last = args.last && chain + 1 == args.chains();
      core_type::Sums d;
      store::Fetched sum;
      core.take_turn(me, round);
      core.multiply(d, me, args.slices(chain));
      core.pass_turn(me);
      if (!is_first) store::fetch<float, store::F32_COLUMNS>(args.sum, m0, n0, sum);
      core.finish();
#pragma unroll
      for (int block = 0; block < core_type::BLOCKS; block++) {
        if (block > 0 && !is_first) store::fetch<float, store::F32_COLUMNS>(args.sum, m0 + 64 * block, n0, sum);
        finish_chain(out, args, d[block], is_first, is_last, m0 + 64 * block, n0, sum, core.store + me * store::SHARED);
      }
      // The other's slices before this one's next: of the same chain, or already of the next.
      core.skip(args.slices(me == 0 ? chain : chain + 1 < args.chains() ? chain + 1 : 0));
    }
  }
  out.end();
}

static __global__ void __cluster_dims__(core_type::CLUSTER, 1, 1) __launch_bounds__(core_type::THREADS, 1)
    dx_kernel(const __grid_constant__ dx_args args) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0), warpgroup = warp / 4;
  core_type core;
  if (threadIdx.x == 0) zk_tma_prefetch_map(&args.a), zk_tma_prefetch_map(&args.b);
  core.open(shared);
  if (warpgroup == 0) {
    zk_registers_give<40>();
    if (warp < 2 && threadIdx.x % 32 == 0) {
      zk_wait_for_previous();
      if (warp == 0) load_a(core, args);
      else load_b(core, args);
    }
  } else {
    zk_registers_take<232>();
    zk_wait_for_previous();
    consume(core, args, warpgroup - 1);
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
  zk_cuda_gemm c = g;
  c.c = chunk->dx;
  dx_args args = {};
  args.sum = g;
  args.rows = (int)g.m, args.num_ids = num_ids;
  args.first = first == 0, args.last = first + num_ids == chunk->vocab;
  args.tiles.rows = (int)zk_ceil_div(g.m, core_type::M * core_type::CLUSTER);
  args.tiles.columns = (int)zk_ceil_div(g.n, N);
  args.tiles.group = GROUP_ROWS / (core_type::M * core_type::CLUSTER);
  ZK_TRY(zk_gemm_wgmma_map(g.a, false, g.m, g.k, g.lda, core_type::M, &args.a));
  if (g.m % core_type::M != 0)
    ZK_TRY(zk_gemm_wgmma_map(g.a, false, g.m, g.k, g.lda, (int)(g.m % core_type::M), &args.a_last));
  ZK_TRY(zk_gemm_wgmma_map(g.b, true, g.n, g.k, g.ldb, core_type::B_ROWS, &args.b));
  ZK_TRY(zk_gemm_wgmma_rows<N>::map(&c, &args.c));
  const int64_t clusters = zk_cuda_num_sms(stream->device) / core_type::CLUSTER, pairs = zk_ceil_div((int64_t)args.tiles.rows * args.tiles.columns, 2);
  const unsigned grid = (unsigned)((pairs < clusters ? pairs : clusters) * core_type::CLUSTER);
  ZK_LAUNCH_DEPENDENT(dx_kernel, grid, core_type::THREADS, core_type::SHARED, stream, args);
  return ZK_OK;
}
#endif
