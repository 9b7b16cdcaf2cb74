// Linear layers of up to 8 tokens: tiles, ring and launch of gemm_few.cuh.
#include "kernels/cuda/gemm.h"

#include "kernels/cuda/gemm_few_store.cuh"

// Of a block: its shared memory, about what a stage holds, the tallest tile, warps that read x (more for several tokens).
enum {
  SHARED_BYTES = 200 * 1024,
  STAGE_BYTES = 32 * 1024,
  LEAST_STAGES = 4,
  MOST_ROWS = 16 * ZK_FEW_MOST_WARPS,
  ONE_TOKEN_WARPS = 4,
  LEAST_WARPS = 8,
  BARRIER_BYTES = (2 * ZK_FEW_MOST_STAGES + 1) * 8
};

static size_t x_bytes(int64_t m, int64_t k) { return (size_t)m * ((size_t)k * 2 + 16); }
// Of a norm: its weight, its sums.
static size_t norm_bytes(int64_t m, int64_t k) { return (size_t)k * 2 + (size_t)m * (ZK_LANES + 2) * 4; }

// x, and a norm, leave room for a ring of the tallest tile.
bool zk_cuda_gemm_bf16_few_valid(const zk_cuda_gemm *g) {
  return g->m <= ZK_FEW_TOKENS && g->k > 0 && g->k % ZK_FEW_BOX == 0 && !g->a_outer && !g->b_outer && g->a_wide &&
         g->b_wide && g->c != NULL && g->c_as == ZK_BF16 && (g->addend == NULL || g->addend_as == ZK_BF16) &&
         x_bytes(g->m, g->k) + norm_bytes(g->m, g->k) + LEAST_STAGES * MOST_ROWS * 128 + BARRIER_BYTES <= SHARED_BYTES;
}

// A product: weights that follow each other, or (PAIR) two whose rows share each tile.
typedef struct {
  const zk_cuda_gemm *g;
  const zk_cuda_norm *norm;
  int num_w;
  const void *w[ZK_FEW_MOST_PARTS];
  bool pair;
} product;

// With tiles of so many rows of each W: the rows of the block that has most.
static int64_t cut(const product &p, int rows, int num_sms, zk_few_plan *plan) {
  plan->rows = rows, plan->num_parts = p.pair ? 1 : p.num_w, plan->num_tiles = 0;
  for (int i = 0; i < plan->num_parts; i++)
    plan->part_end[i] = plan->num_tiles += (int32_t)zk_ceil_div(plan->n[i], rows);
  return zk_ceil_div(plan->num_tiles, num_sms) * rows;
}
// The tallest of the tiles that share the rows out most evenly: 8 rows, or what fills warps.
static void cut_evenly(const product &p, int num_sms, zk_few_plan *plan) {
  const int step = p.pair ? 8 : 16, most_rows = step * ZK_FEW_MOST_WARPS;
  int best = 8;
  int64_t least = cut(p, best, num_sms, plan);
  for (int rows = step; rows <= most_rows; rows += step) {
    const int64_t most = cut(p, rows, num_sms, plan);
    if (most <= least) best = rows, least = most;
  }
  cut(p, best, num_sms, plan);
}

// Ring and offsets in shared memory; returns its size.
static int place(const product &p, int blocks, zk_few_plan *plan) {
  const int box = plan->rows * 128 * (p.pair ? 2 : 1), norm = p.norm != NULL ? (int)norm_bytes(plan->m, plan->k) : 0;
  const int x = (int)x_bytes(plan->m, plan->k), room = SHARED_BYTES - x - norm - BARRIER_BYTES;
  plan->stage_boxes = STAGE_BYTES / box < 1 ? 1 : STAGE_BYTES / box;
  plan->stage_boxes =
      (int32_t)zk_ceil_div(plan->k_boxes, zk_ceil_div(plan->k_boxes, plan->stage_boxes)); // stages alike
  const int64_t steps = zk_ceil_div(plan->k_boxes, plan->stage_boxes) * zk_ceil_div(plan->num_tiles, blocks);
  plan->stages = room / (plan->stage_boxes * box);
  if (plan->stages > ZK_FEW_MOST_STAGES) plan->stages = ZK_FEW_MOST_STAGES;
  if (plan->stages > steps) plan->stages = (int32_t)steps;
  plan->x_at = plan->stages * plan->stage_boxes * box, plan->x_pitch = plan->k * 2 + 16;
  plan->norm_at = plan->x_at + x, plan->bars_at = plan->norm_at + norm;
  plan->lanes_at = plan->norm_at + (p.norm != NULL ? plan->k * 2 : 0);
  return plan->bars_at + BARRIER_BYTES;
}

static zk_status make_maps(const product &p, const zk_few_plan &plan, zk_few_maps *maps) {
  for (int i = 0; i < p.num_w; i++) {
    const uint64_t dims[] = {ZK_FEW_BOX, (uint64_t)plan.n[p.pair ? 0 : i], (uint64_t)plan.k_boxes};
    const uint64_t strides[] = {(uint64_t)p.g->ldb * 2, ZK_FEW_BOX * 2};
    const uint32_t box[] = {ZK_FEW_BOX, (uint32_t)plan.rows, (uint32_t)plan.stage_boxes};
    ZK_TRY(zk_tma_map(ZK_BF16, 3, p.w[i], dims, strides, box, ZK_TMA_SWIZZLE_128, &maps->w[i]));
  }
  return ZK_OK;
}

template <class Outputs>
static zk_status run(zk_stream *stream, const product &p, const int64_t *n, const Outputs &outputs) {
  const int num_sms = zk_cuda_num_sms(zk_stream_device(stream));
  zk_few_maps maps = {};
  zk_few_plan plan = {};
  plan.x = (const zk_bf16 *)p.g->a, plan.ldx = p.g->lda, plan.m = (int32_t)p.g->m, plan.k = (int32_t)p.g->k;
  plan.k_boxes = (int32_t)(p.g->k / ZK_FEW_BOX);
  if (p.norm != NULL) plan.norm = (const zk_bf16 *)p.norm->weight, plan.eps = p.norm->eps;
  for (int i = 0; i < (p.pair ? 1 : p.num_w); i++) plan.n[i] = (int32_t)n[i];
  cut_evenly(p, num_sms, &plan);
  const int blocks = plan.num_tiles < num_sms ? plan.num_tiles : num_sms,
            chains = (int)zk_ceil_div(plan.rows, p.pair ? 8 : 16), least = plan.m > 1 ? LEAST_WARPS : ONE_TOKEN_WARPS,
            warps = (chains < least ? least : chains) + 1;
  const int bytes = place(p, blocks, &plan);
  ZK_TRY(make_maps(p, plan, &maps));
  ZK_LAUNCH_DEPENDENT(zk_gemm_few_kernel<Outputs>, dim3((unsigned)blocks), dim3((unsigned)warps * 32), bytes, stream,
                      maps, plan, outputs);
  return ZK_OK;
}

zk_status zk_cuda_gemm_bf16_few(zk_stream *stream, const zk_cuda_gemm *g, int num_parts, const zk_cuda_norm *norm) {
  product p = {g, norm, num_parts};
  zk_few_store store = {};
  int64_t n[ZK_FEW_MOST_PARTS];
  for (int i = 0; i < num_parts; i++) {
    p.w[i] = g[i].b, n[i] = g[i].n;
    store.to[i] = {(const zk_bf16 *)g[i].bias, (const zk_bf16 *)g[i].addend, (zk_bf16 *)g[i].c, g[i].ldaddend,
                   g[i].ldc};
  }
  return run(stream, p, n, store);
}

zk_status zk_cuda_gemm_bf16_few_swiglu(zk_stream *stream, const zk_cuda_gemm *gate, const void *up,
                                       const zk_cuda_norm *norm) {
  const product p = {gate, norm, 2, {gate->b, up}, true};
  const zk_few_store_swiglu store = {(zk_bf16 *)gate->c, gate->ldc};
  return run(stream, p, &gate->n, store);
}
