// The kernel of gemm_inputs.h: that of gemm_wgmma.cuh with tiles of 128 x 256, whose slices are the first layer's, then the next one's. Between
// two layers a consumer keeps its outputs as they would be stored, two a register, beside the accumulators of the next.
#include "kernels/cuda/gemm_inputs.h"

#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/gemm_wgmma_launch.cuh"
#include "kernels/cuda/gemm_wgmma_store.cuh"

enum { M = 128, N = 256, MOST = ZK_CUDA_GEMM_MOST_PARTS };
typedef zk_gemm_wgmma_rows<N> rows_of_dx;
typedef zk_gemm_wgmma_core<zk_gemm_wgmma_shape<M, N, 2, 1, false, false, false, true>, 2 * rows_of_dx::SHARED> core_type;

struct input_args {
  CUtensorMap a[MOST], b[MOST], dx;
  int slices[MOST], num; // of the layers
  int rows, columns;     // of dx
  zk_gemm_tiles tiles;
};

static __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(core_type::THREADS, 1) gemm_inputs_kernel(const __grid_constant__ input_args args) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int cluster = (int)blockIdx.x / core_type::CLUSTER, clusters = (int)gridDim.x / core_type::CLUSTER;
  const int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0), warpgroup = warp / 4; // the same in all lanes, and the compiler knows it
  core_type core;
  core.open(shared);
  if (warpgroup == 0) {
    zk_registers_give<40>();
    if (warp < 2 && threadIdx.x % 32 == 0) {
      zk_wait_for_previous();
      for (int t = cluster, row, column; t < args.tiles.count(); t += clusters) {
        args.tiles.at(t, &row, &column);
        for (int i = 0; i < args.num; i++)
          if (warp == 0) core.load_a(&args.a[i], (row * core_type::CLUSTER + core.rank) * M, M, args.slices[i]);
          else core.load_b(&args.b[i], column * N, args.slices[i]);
      }
      if (warp == 0) zk_let_next_start();
    }
  } else {
    zk_registers_take<232>();
    zk_wait_for_previous();
    const int me = warpgroup - 1;
    rows_of_dx stored;
    for (int t = cluster, row, column; t < args.tiles.count(); t += clusters) {
      args.tiles.at(t, &row, &column);
      core_type::Sums d;
      uint32_t so_far[N / 4];
      for (int i = 0; i < args.num; i++) {
        core.multiply(d, me, args.slices[i]);
        core.finish();
        if (i > 0) {
#pragma unroll
          for (int e = 0; e < N / 2; e += 2) d[0][e] = d[0][e] + zk_low_bf16(so_far[e / 2]), d[0][e + 1] = d[0][e + 1] + zk_high_bf16(so_far[e / 2]);
        }
        if (i + 1 < args.num) {
#pragma unroll
          for (int e = 0; e < N / 2; e += 2) so_far[e / 2] = zk_pack_bf16(d[0][e], d[0][e + 1]);
        }
      }
      stored.store(&args.dx, args.rows, args.columns, d[0], (row * core_type::CLUSTER + core.rank) * M + me * 64 + zk_gemm_wgmma_warp_row(), column * N,
                   core.store + me * rows_of_dx::SHARED);
    }
    rows_of_dx::end();
  }
  zk_cluster_sync(); // no block leaves while another may still write to it
}

zk_status zk_cuda_gemm_inputs(zk_stream *stream, zk_cuda_gemm *g, int num, bool *done) {
  input_args args = {};
  *done = false;
  if (num < 2 || num > MOST || g[0].m == 0 || g[0].n == 0) return ZK_OK;
  for (int i = 0; i < num; i++)
    if (zk_cuda_gemm_choose(&g[i]) != ZK_CUDA_GEMM_BF16_WGMMA_256) return ZK_OK;
  for (int i = 0; i < num; i++) {
    ZK_TRY(zk_gemm_wgmma_map(g[i].a, false, g[i].m, g[i].k, g[i].lda, M, &args.a[i]));
    ZK_TRY(zk_gemm_wgmma_map(g[i].b, true, g[i].n, g[i].k, g[i].ldb, core_type::B_ROWS, &args.b[i]));
    args.slices[i] = (int)zk_ceil_div(g[i].k, core_type::K);
  }
  args.num = num, args.rows = (int)g[0].m, args.columns = (int)g[0].n;
  args.tiles = {(int)zk_ceil_div(g[0].m, M * core_type::CLUSTER), (int)zk_ceil_div(g[0].n, N), 8};
  ZK_TRY(rows_of_dx::map(&g[0], &args.dx));
  const int pairs = zk_cuda_num_sms(zk_stream_device(stream)) / core_type::CLUSTER, tiles = args.tiles.rows * args.tiles.columns;
  ZK_LAUNCH_CLUSTERS(core_type::CLUSTER, gemm_inputs_kernel, (unsigned)((tiles < pairs ? tiles : pairs) * core_type::CLUSTER), core_type::THREADS,
                     core_type::SHARED, stream, args);
  *done = true;
  return ZK_OK;
}
