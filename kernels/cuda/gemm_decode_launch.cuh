// From a product of a few rows to a launch of its kernel (gemm_decode.cuh): how deep the ring is, how many blocks, the
// maps of the copy engine.
#ifndef ZK_KERNELS_CUDA_GEMM_DECODE_LAUNCH_CUH
#define ZK_KERNELS_CUDA_GEMM_DECODE_LAUNCH_CUH

#include "kernels/cuda/gemm_decode.cuh"

#ifndef ZK_SIMT

// y = x W^T: x of m rows, ldx elements apart, W of n rows, ldw apart, k elements each; all addresses and distances
// multiples of 16 bytes, m at most ZK_DECODE_MOST_TOKENS.
typedef struct {
  const void *x, *w;
  int64_t ldx, ldw, m, n, k;
} zk_decode_product;

// What was found fastest for a shape; none of it reaches a bit.
typedef struct {
  int stage_boxes, shared_kib;
} zk_decode_tuning;

// behind the ring: what wgmma reads past a box of fewer than 64 tokens
enum { ZK_DECODE_BEHIND = 64 * 128, ZK_DECODE_SHARED_KIB = 224, ZK_DECODE_HALF_SHARED_KIB = 112 };

static inline int zk_decode_token_rows(int64_t m, int cluster) {
  return (int)zk_ceil_div(m, 8 * cluster) * 8 * cluster;
}

// Blocks that fit side by side on an SM share its memory; there are never more than fit.
static inline zk_decode_plan zk_decode_make_plan(const zk_decode_product &p, int rows, int cluster, int num_sms,
                                                 const zk_decode_tuning &tuning, int *blocks) {
  zk_decode_plan plan = {};
  plan.k_boxes = (int32_t)zk_ceil_div(p.k, ZK_DECODE_BOX);
  plan.num_tiles = (int32_t)zk_ceil_div(p.n, rows);
  plan.token_rows = zk_decode_token_rows(p.m, cluster);
  plan.stage_boxes = tuning.stage_boxes < plan.k_boxes ? tuning.stage_boxes : plan.k_boxes;
  const int most = num_sms * (tuning.shared_kib <= ZK_DECODE_HALF_SHARED_KIB ? 2 : 1) / cluster * cluster;
  *blocks = (int)zk_ceil_div(plan.num_tiles, cluster) * cluster;
  if (*blocks > most) *blocks = most;
  plan.rounds = (int32_t)zk_ceil_div(plan.num_tiles, *blocks);
  const int64_t steps = zk_ceil_div(plan.k_boxes, plan.stage_boxes) * plan.rounds;
  const int stage_bytes = plan.stage_boxes * (plan.token_rows + rows) * 128;
  int64_t stages = (tuning.shared_kib * 1024 - ZK_DECODE_BEHIND) / stage_bytes;
  if (stages > ZK_DECODE_MOST_STAGES) stages = ZK_DECODE_MOST_STAGES;
  plan.stages = (int32_t)(stages < steps ? stages : steps);
  return plan;
}

template <int ROWS, int CLUSTER, class Epilogue>
static zk_status zk_decode_launch(zk_stream *stream, const zk_decode_product &p, const zk_decode_tuning &tuning,
                                  const Epilogue &epilogue) {
  int blocks;
  const int num_sms = zk_cuda_num_sms(zk_stream_device(stream));
  const zk_decode_plan plan = zk_decode_make_plan(p, ROWS, CLUSTER, num_sms, tuning, &blocks);
  if (plan.stages < 1) return ZK_FAIL(ZK_INTERNAL, "a stage of %d rows does not fit in shared memory", ROWS);
  CUtensorMap x_map, w_map;
  ZK_TRY(zk_tma_map_2d(ZK_BF16, p.x, p.m, p.k, p.ldx, plan.token_rows / CLUSTER, ZK_DECODE_BOX, ZK_TMA_SWIZZLE_128,
                       &x_map));
  ZK_TRY(zk_tma_map_2d(ZK_BF16, p.w, p.n, p.k, p.ldw, ROWS, ZK_DECODE_BOX, ZK_TMA_SWIZZLE_128, &w_map));
  const int threads = plan.token_rows > 64 ? 2 * 128 + 32 : 128 + 32;
  const int bytes = plan.stages * plan.stage_boxes * (plan.token_rows + ROWS) * 128 + ZK_DECODE_BEHIND;
  ZK_LAUNCH_DEPENDENT((zk_gemm_decode_kernel<ROWS, CLUSTER, Epilogue>), dim3((unsigned)blocks), dim3((unsigned)threads),
                      bytes, stream, x_map, w_map, plan, epilogue);
  return ZK_OK;
}

#endif
#endif
