// From a product of a few rows to a launch of its kernel (gemm_decode.cuh): how deep the ring is, how many blocks, the
// maps of the copy engine.
#ifndef ZK_KERNELS_CUDA_GEMM_DECODE_LAUNCH_CUH
#define ZK_KERNELS_CUDA_GEMM_DECODE_LAUNCH_CUH

#include "kernels/cuda/gemm_decode.cuh"

// y = x W^T for each of num_parts W: x of m rows, ldx elements apart, W of n[part] rows, ldw apart, k elements each; all
// addresses and distances multiples of 16 bytes, m at most ZK_DECODE_MOST_TOKENS. `halves`: two W of the same n, their
// rows side by side in each tile.
typedef struct {
  const void *x;
  int64_t m, k, ldx, ldw;
  int num_parts;
  const void *w[ZK_DECODE_MOST_PARTS];
  int64_t n[ZK_DECODE_MOST_PARTS];
  bool halves;
} zk_decode_product;

// What is fastest for a shape; none of it reaches a bit. Two blocks an SM: up to ZK_DECODE_HALF_KIB of its memory each.
typedef struct {
  int rows, shared_kib;
} zk_decode_tuning;

enum { ZK_DECODE_ALL_KIB = 226, ZK_DECODE_HALF_KIB = 112, ZK_DECODE_BARRIER_BYTES = 2 * ZK_DECODE_MOST_STAGES * 8 };

static inline int zk_decode_tiles(const zk_decode_product &p, int rows) {
  int64_t tiles = 0;
  for (int part = 0; part < p.num_parts; part++) tiles += zk_ceil_div(p.n[part], rows);
  return (int)(p.halves ? zk_ceil_div(2 * p.n[0], rows) : tiles);
}

// Maps are folded where 64 divides k (the fastest index ends nowhere else) and W is one array.
// Blocks that fit side by side on an SM share its memory; there are never more than fit. A stage costs some 400 cycles
// whatever it holds, so it is large, while there are at least four; two are the least, since a stage is given back when
// the next one has arrived.
static inline zk_decode_plan zk_decode_make_plan(const zk_decode_product &p, const zk_decode_tuning &tuning, int num_sms,
                                                 int *blocks) {
  zk_decode_plan plan = {};
  const int rows = tuning.rows;
  plan.k_boxes = (int32_t)zk_ceil_div(p.k, ZK_DECODE_BOX);
  plan.halves = p.halves, plan.num_parts = p.halves ? 1 : p.num_parts;
  for (int part = 0; part < plan.num_parts; part++)
    plan.part_end[part] = plan.num_tiles += (int32_t)zk_ceil_div(p.n[part], p.halves ? rows / 2 : rows);
  plan.token_rows = (int32_t)zk_ceil_div(p.m, 8) * 8;
  const int most = num_sms * (tuning.shared_kib <= ZK_DECODE_HALF_KIB ? 2 : 1);
  *blocks = plan.num_tiles < most ? plan.num_tiles : most;
  const int ring_bytes = tuning.shared_kib * 1024 - ZK_DECODE_BEHIND - ZK_DECODE_BARRIER_BYTES;
  const int boxes = ring_bytes / ((plan.token_rows + rows) * ZK_DECODE_BOX * 2);
  plan.stage_boxes = boxes >= 16 ? 4 : boxes >= 8 ? 2 : 1;
  if (plan.stage_boxes > plan.k_boxes) plan.stage_boxes = plan.k_boxes;
  const int64_t steps = zk_ceil_div(plan.k_boxes, plan.stage_boxes) * zk_ceil_div(plan.num_tiles, *blocks);
  plan.x_folded = p.k % ZK_DECODE_BOX == 0;
  plan.w_folded = p.k % ZK_DECODE_BOX == 0 && !p.halves;
  plan.stages = boxes / plan.stage_boxes;
  if (plan.stages > ZK_DECODE_MOST_STAGES) plan.stages = ZK_DECODE_MOST_STAGES;
  if (plan.stages > steps) plan.stages = (int32_t)steps;
  return plan;
}

// Of `rows` rows of k elements: 64 k by box_rows to a copy; folded, as many boxes as a stage has.
static inline zk_status zk_decode_map(const void *base, int64_t rows, int64_t k, int64_t ld, int box_rows, int boxes,
                                      bool folded, CUtensorMap *out) {
  if (!folded) return zk_tma_map_2d(ZK_BF16, base, rows, k, ld, box_rows, ZK_DECODE_BOX, ZK_TMA_SWIZZLE_128, out);
  const uint64_t dims[] = {ZK_DECODE_BOX, (uint64_t)rows, (uint64_t)(k / ZK_DECODE_BOX)};
  const uint64_t strides[] = {(uint64_t)ld * 2, ZK_DECODE_BOX * 2};
  const uint32_t box[] = {ZK_DECODE_BOX, (uint32_t)box_rows, (uint32_t)boxes};
  return zk_tma_map(ZK_BF16, 3, base, dims, strides, box, ZK_TMA_SWIZZLE_128, out);
}

// tuning.rows is ROWS.
template <int ROWS, class Epilogue>
static zk_status zk_decode_launch(zk_stream *stream, const zk_decode_product &p, const zk_decode_tuning &tuning,
                                  const Epilogue &epilogue) {
  int blocks;
  const zk_decode_plan plan = zk_decode_make_plan(p, tuning, zk_cuda_num_sms(zk_stream_device(stream)), &blocks);
  zk_decode_maps maps = {};
  ZK_TRY(zk_decode_map(p.x, p.m, p.k, p.ldx, plan.token_rows, plan.stage_boxes, plan.x_folded, &maps.x));
  for (int part = 0; part < p.num_parts; part++)
    ZK_TRY(zk_decode_map(p.w[part], p.n[part], p.k, p.ldw, p.halves ? ROWS / 2 : ROWS, plan.stage_boxes, plan.w_folded,
                         &maps.w[part]));
  const int threads = plan.token_rows > 64 ? 2 * 128 + 64 : 128 + 64;
  const int bytes = plan.stages * plan.stage_boxes * (plan.token_rows + ROWS) * 128 + ZK_DECODE_BEHIND +
                    ZK_DECODE_BARRIER_BYTES;
  ZK_LAUNCH_DEPENDENT((zk_gemm_decode_kernel<ROWS, Epilogue>), dim3((unsigned)blocks), dim3((unsigned)threads),
                      bytes, stream, maps, plan, epilogue);
  return ZK_OK;
}

#endif
