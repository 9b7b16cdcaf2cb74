// The kernel of gemm_gradients.h: that of gemm_wgmma.cuh with both operands outer, whose tiles are of several parts, one below the other.
//
// A consumer has 64 rows of a tile twice: the chain of a chunk, in registers, and the sums so far (gemm_sums.cuh), which
// come from memory with the first chunk and go back with the last one. So memory has each sum once for several chunks, and a launch has long
// chains and few ends of tiles. A wide tile is what a multiprocessor reads least for.
#include "kernels/cuda/gemm_gradients.h"

#include "kernels/backend.h"
#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/gemm_wgmma_launch.cuh"
#include "kernels/cuda/gemm_sums.cuh"

enum { MOST_CHUNKS = 4 };
template <int N> using core_of = zk_gemm_wgmma_core<zk_gemm_wgmma_shape<128, N, 2, 1, false, false, true, true>, 2 * zk_gemm_sums<N>::SHARED>;

struct gradient_args {
  CUtensorMap a[ZK_LINEAR_MOST_PARTS][MOST_CHUNKS], b[MOST_CHUNKS];
  float *dweight[ZK_LINEAR_MOST_PARTS];
  int rows[ZK_LINEAR_MOST_PARTS], columns; // of each
  zk_gemm_tiles tiles;
  zk_gemm_parts parts; // rows of tiles of the parts up to this one
  int num_chunks, slices[MOST_CHUNKS];
  bool first; // the sums so far are 0
};

// A tile: of which part, and which of its outputs are the block's first.
struct gradient_tile {
  int part, row, column;
  template <class Core> static __device__ __forceinline__ gradient_tile at(const gradient_args &args, int tile, int rank) {
    int of_all, column, in_part;
    args.tiles.at(tile, &of_all, &column);
    const int part = args.parts.at(of_all, &in_part);
    return {part, (in_part * Core::CLUSTER + rank) * Core::M, column * Core::N};
  }
};

template <int N>
static __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(core_of<N>::THREADS, 1)
    gemm_gradients_kernel(const __grid_constant__ gradient_args args) {
  typedef core_of<N> core_type;
  ZK_DYNAMIC_SHARED(char, shared);
  const int cluster = (int)blockIdx.x / core_type::CLUSTER, clusters = (int)gridDim.x / core_type::CLUSTER;
  const int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0), warpgroup = warp / 4; // the same in all lanes, and the compiler knows it
  core_type core;
  core.open(shared);
  if (warpgroup == 0) {
    zk_registers_give<40>();
    if (warp < 2 && threadIdx.x % 32 == 0) {
      zk_wait_for_previous();
      for (int t = cluster; t < args.tiles.count(); t += clusters) {
        const gradient_tile tile = gradient_tile::at<core_type>(args, t, core.rank);
        for (int chunk = 0; chunk < args.num_chunks; chunk++)
          if (warp == 0) core.load_a(&args.a[tile.part][chunk], tile.row, core_type::M, args.slices[chunk]);
          else core.load_b(&args.b[chunk], tile.column, args.slices[chunk]);
      }
      if (warp == 0) zk_let_next_start();
    }
  } else {
    zk_registers_take<232>();
    zk_wait_for_previous();
    const int me = warpgroup - 1;
    for (int t = cluster; t < args.tiles.count(); t += clusters) {
      const gradient_tile tile = gradient_tile::at<core_type>(args, t, core.rank);
      const int row = tile.row + me * 64 + zk_gemm_wgmma_own_row();
      zk_gemm_sums<N> sums(args.dweight[tile.part], args.rows[tile.part], args.columns, row, tile.column, core.store + me * zk_gemm_sums<N>::SHARED);
      sums.begin(args.first);
      for (int chunk = 0; chunk < args.num_chunks; chunk++) {
        typename core_type::Sums d;
        core.multiply(d, me, args.slices[chunk]);
        core.finish();
        sums.add(d[0], args.first, chunk == 0, chunk + 1 == args.num_chunks, [&](int j, float4 x) { sums.store(j, x); });
      }
    }
  }
  zk_cluster_sync(); // no block leaves while another may still write to it
}

// One part's product over rows [first, first + rows) of the tokens.
static zk_cuda_gemm product(const zk_linear_back_parts *p, int part, int64_t first, int64_t rows, const void *x) {
  const int64_t in = p->in_features, out = p->parts[part].out_features;
  zk_cuda_gemm g = {};
  g.numerics = p->numerics, g.addend_as = g.c_as = ZK_F32;
  g.m = out, g.n = in, g.k = rows;
  g.a = (const zk_bf16 *)p->parts[part].dy + first * out, g.lda = out, g.a_outer = true;
  g.b = (const zk_bf16 *)x + first * in, g.ldb = in, g.b_outer = true;
  g.addend = g.c = p->parts[part].dweight, g.ldaddend = g.ldc = in;
  return g;
}

// What a tile of so many columns costs, relative, and rounds of as many as there are pairs of multiprocessors.
typedef struct {
  zk_cuda_gemm_variant variant;
  int columns, round;
} tile_cost;
static const tile_cost tile_costs[] = {
    {ZK_CUDA_GEMM_BF16_WGMMA_SUMS, 128, 131}, {ZK_CUDA_GEMM_BF16_WGMMA_SUMS_192, 192, 192}, {ZK_CUDA_GEMM_BF16_WGMMA_SUMS_256, 256, 250}};

static int64_t cost_of(const zk_linear_back_parts *p, const tile_cost *c, int pairs) {
  int64_t rows = 0;
  for (int i = 0; i < p->num_parts; i++) rows += zk_ceil_div(p->parts[i].out_features, 2 * 128);
  return zk_ceil_div(rows * zk_ceil_div(p->in_features, c->columns), pairs) * c->round;
}

// From chunk *chunk on, as many as a launch has; *chunk: the first that is left.
template <int N> static zk_status describe(const zk_linear_back_parts *p, const zk_chunks *chunks, int32_t *chunk, const void *x, gradient_args *args) {
  typedef core_of<N> core_type;
  for (; args->num_chunks < MOST_CHUNKS && *chunk < chunks->num_chunks; ++*chunk) {
    const int64_t first = chunks->row_start[*chunk], rows = chunks->row_start[*chunk + 1] - first;
    const int c = args->num_chunks;
    if (rows == 0) continue;
    for (int i = 0; i < p->num_parts; i++) {
      const zk_cuda_gemm g = product(p, i, first, rows, x);
      ZK_TRY(zk_gemm_wgmma_map(g.a, true, g.m, rows, g.lda, core_type::M, &args->a[i][c]));
      if (i == 0) ZK_TRY(zk_gemm_wgmma_map(g.b, true, g.n, rows, g.ldb, core_type::N, &args->b[c]));
    }
    args->slices[c] = (int)zk_ceil_div(rows, core_type::K);
    args->num_chunks++;
  }
  args->parts.count = p->num_parts, args->columns = p->in_features;
  for (int i = 0, end = 0; i < p->num_parts; i++) {
    args->dweight[i] = p->parts[i].dweight, args->rows[i] = p->parts[i].out_features;
    args->parts.end[i] = end += (int)zk_ceil_div(p->parts[i].out_features, core_type::M * core_type::CLUSTER);
  }
  args->tiles = {args->parts.end[p->num_parts - 1], (int)zk_ceil_div(p->in_features, core_type::N), 8};
  return ZK_OK;
}

template <int N> static zk_status launch(zk_stream *stream, const zk_linear_back_parts *p, const zk_chunks *chunks, const void *x) {
  typedef core_of<N> core_type;
  for (int32_t chunk = 0; chunk < chunks->num_chunks;) {
    gradient_args args = {};
    args.first = p->first && chunk == 0;
    ZK_TRY(describe<N>(p, chunks, &chunk, x, &args));
    if (args.num_chunks == 0) {
      for (int i = 0; args.first && i < p->num_parts; i++)
        ZK_TRY(zk_fill_zero(stream, p->parts[i].dweight, (size_t)p->parts[i].out_features * (size_t)p->in_features * sizeof(float)));
      continue;
    }
    const int pairs = zk_cuda_num_sms(zk_stream_device(stream)) / core_type::CLUSTER, tiles = args.tiles.rows * args.tiles.columns;
    ZK_LAUNCH_CLUSTERS(core_type::CLUSTER, gemm_gradients_kernel<N>, (unsigned)((tiles < pairs ? tiles : pairs) * core_type::CLUSTER), core_type::THREADS,
                       core_type::SHARED, stream, args);
  }
  return ZK_OK;
}

zk_status zk_cuda_gemm_gradients(zk_stream *stream, const zk_linear_back_parts *p, const zk_chunks *chunks, const void *x, bool *done) {
  const int pairs = zk_cuda_num_sms(zk_stream_device(stream)) / 2;
  int64_t least = INT64_MAX;
  zk_cuda_gemm_variant preferred = ZK_CUDA_NUM_GEMM;
  for (const tile_cost &c : tile_costs)
    if (const int64_t cost = cost_of(p, &c, pairs); cost < least) least = cost, preferred = c.variant;
  zk_cuda_gemm g[ZK_LINEAR_MOST_PARTS];
  *done = false;
  if (p->numerics != ZK_BF16 || p->num_rows == 0) return ZK_OK;
  for (int i = 0; i < p->num_parts; i++) g[i] = product(p, i, 0, p->num_rows, x);
  const zk_cuda_gemm_variant variant = zk_cuda_gemm_choose_sums(g, p->num_parts, preferred);
  *done = variant != ZK_CUDA_NUM_GEMM;
  if (!*done) return ZK_OK;
  if (variant == ZK_CUDA_GEMM_BF16_WGMMA_SUMS) return launch<128>(stream, p, chunks, x);
  return variant == ZK_CUDA_GEMM_BF16_WGMMA_SUMS_192 ? launch<192>(stream, p, chunks, x) : launch<256>(stream, p, chunks, x);
}
