// The kernel of gemm_gradients.h: that of gemm_wgmma.cuh with both operands outer, whose tiles are of several parts, one below the other.
//
// A consumer has 64 rows of a tile twice: the chain of a chunk, in registers, and the sums so far, in registers as far as there are any, which
// come from memory with the first chunk and go back with the last one. So memory has each sum once for several chunks, and a launch has long
// chains and few ends of tiles. A wide tile is what a multiprocessor reads least for.
#include "kernels/cuda/gemm_gradients.h"

#include "kernels/backend.h"
#include "kernels/cuda/cuda.cuh"

#ifdef ZK_SIMT // the emulated device has no copy engine
zk_status zk_cuda_gemm_gradients(zk_stream *stream, const zk_linear_back_parts *parts, const zk_chunks *chunks, const void *x, bool *done) {
  *done = false;
  return ZK_OK;
}
#else

#include "kernels/cuda/gemm_wgmma_launch.cuh"
#include "kernels/cuda/gemm_wgmma_store.cuh"

enum { MOST_CHUNKS = 4 };
// Of a tile's N columns those whose sums stay in registers, and the others, whose sums of both consumers' 64 rows are in shared memory.
template <int N> struct kept {
  static constexpr int COLUMNS = N <= 192 ? N : 128, OTHERS = N - COLUMNS, SHARED = OTHERS * 64 * (int)sizeof(float);
};
template <int N> using core_of = zk_gemm_wgmma_core<zk_gemm_wgmma_shape<128, N, 2, 1, false, false, true, true>, 2 * kept<N>::SHARED>;

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

// A consumer's sums, four of neighbouring accumulators at a time: 2 columns of a row and of the one 8 below. Rows and pairs of columns outside
// are left out of memory.
template <int N> struct gradient_sums {
  float at[kept<N>::COLUMNS / 2];
  float4 *others; // [OTHERS / 8][128], this thread's
  float *memory;  // the thread's first
  int64_t below;  // from there to the row 8 below
  int columns;    // inside, from there on
  bool inside[2]; // the rows

  __device__ __forceinline__ gradient_sums(const gradient_args &args, const gradient_tile &tile, int row, char *shared) {
    others = (float4 *)shared + threadIdx.x % 128;
    memory = args.dweight[tile.part] + (int64_t)row * args.columns + tile.column + zk_gemm_wgmma_own_column();
    below = (int64_t)8 * args.columns, columns = args.columns - tile.column;
    for (int h = 0; h < 2; h++) inside[h] = row + 8 * h < args.rows[tile.part];
  }
  __device__ __forceinline__ float4 load(int j) const {
    float4 s = {};
    if (8 * j >= columns) return s;
    if (inside[0]) *(float2 *)&s.x = *(const float2 *)(memory + 8 * j);
    if (inside[1]) *(float2 *)&s.z = *(const float2 *)(memory + below + 8 * j);
    return s;
  }
  __device__ __forceinline__ void store(int j, float4 s) const {
    if (8 * j >= columns) return;
    if (inside[0]) *(float2 *)(memory + 8 * j) = make_float2(s.x, s.y);
    if (inside[1]) *(float2 *)(memory + below + 8 * j) = make_float2(s.z, s.w);
  }
  __device__ __forceinline__ void begin(bool are_zero) {
#pragma unroll
    for (int j = 0; j < kept<N>::COLUMNS / 8; j++) {
      const float4 s = are_zero ? float4{} : load(j);
      at[4 * j] = s.x, at[4 * j + 1] = s.y, at[4 * j + 2] = s.z, at[4 * j + 3] = s.w;
    }
  }
  // Adds a chunk's chains; sums in shared memory come from memory with the first chunk, and all go there with the last.
  __device__ __forceinline__ void add(const float (&d)[N / 2], bool are_zero, bool is_first, bool is_last) {
#pragma unroll
    for (int e = 0; e < kept<N>::COLUMNS / 2; e++) at[e] = at[e] + d[e];
#pragma unroll
    for (int i = 0; i < kept<N>::OTHERS / 8; i++) {
      const int j = kept<N>::COLUMNS / 8 + i;
      float4 s = !is_first ? others[128 * i] : are_zero ? float4{} : load(j);
      s = make_float4(s.x + d[4 * j], s.y + d[4 * j + 1], s.z + d[4 * j + 2], s.w + d[4 * j + 3]);
      if (is_last) store(j, s);
      else others[128 * i] = s;
    }
    if (!is_last) return;
#pragma unroll
    for (int j = 0; j < kept<N>::COLUMNS / 8; j++) store(j, make_float4(at[4 * j], at[4 * j + 1], at[4 * j + 2], at[4 * j + 3]));
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
      gradient_sums<N> sums(args, tile, row, core.store + me * kept<N>::SHARED);
      sums.begin(args.first);
      for (int chunk = 0; chunk < args.num_chunks; chunk++) {
        typename core_type::Sums d;
        core.multiply(d, me, args.slices[chunk]);
        core.finish();
        sums.add(d[0], args.first, chunk == 0, chunk + 1 == args.num_chunks);
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
    ZK_LAUNCH_DEPENDENT(gemm_gradients_kernel<N>, (unsigned)((tiles < pairs ? tiles : pairs) * core_type::CLUSTER), core_type::THREADS, core_type::SHARED,
                        stream, args);
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
#endif
