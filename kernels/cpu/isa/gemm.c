// Blocked matrix multiplication: packed panels, blocks of k that continue the chain, threads over blocks of C.
#include <omp.h>
#include <stdint.h>

#include "kernels/cpu/isa/gemm_block.h"

// Steps of k in one block: ZK_NR columns of B stay in the nearest caches while the row panels of A pass by.
#define ZK_BLOCK_K 1024
// One block of A in the second-level cache, in floats.
#define ZK_BLOCK_A (28 * 1024)
#define ZK_BLOCK_COLUMNS 1024
#define ZK_PACK_PANELS 4 // packed at once

typedef struct {
  int height;                             // rows in a panel of A: the same for all, so that none is left nearly empty
  int64_t num_panels;                     // of A
  int64_t num_strips;                     // ZK_NR columns each
  int64_t kc;                             // k in a block
  int64_t block_panels, block_strips;     // one block of C
  size_t a_floats, b_floats, tile_floats; // scratch: packed A, packed B, waiting tiles of one thread
} plan;

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static size_t round16(size_t n) { return (n + 15) & ~(size_t)15; }
// Size of equal parts of `total`, each at most `most`.
static int64_t even_part(int64_t total, int64_t most) { return ceil_div(total, ceil_div(total, most < 1 ? 1 : most)); }

int ZK_ISA_FN(zk_gemm_row_width)(int64_t m) { return (int)even_part(m, ZK_MR); }

static plan make_plan(const zk_gemm *call) {
  plan p;
  p.height = call->a.layout == ZK_GEMM_PANELS ? (int)call->a.ld : ZK_ISA_FN(zk_gemm_row_width)(call->m);
  p.num_panels = ceil_div(call->m, p.height);
  p.num_strips = ceil_div(call->n, ZK_NR);
  p.kc = even_part(call->k, ZK_BLOCK_K);
  const int64_t most_panels = ZK_BLOCK_A / (p.kc * p.height), most_strips = ZK_BLOCK_COLUMNS / ZK_NR;
  p.block_panels = even_part(p.num_panels, most_panels);
  p.block_strips = even_part(p.num_strips, most_strips);
  // Few blocks leave threads idle at the end.
  while (call->threads > 1 && p.block_strips > 2 &&
         ceil_div(p.num_panels, p.block_panels) * ceil_div(p.num_strips, p.block_strips) < 4 * call->threads)
    p.block_strips = ceil_div(p.block_strips, 2);
  // Sizes that never grow when m or n shrinks, so that scratch for a large call serves its remainders.
  const int64_t waiting = p.kc < call->k ? min64(p.num_panels, most_panels) * min64(p.num_strips, most_strips) : 1;
  p.a_floats = call->a.layout == ZK_GEMM_PANELS ? 0 : round16((size_t)(call->m + ZK_MR) * (size_t)call->k);
  p.b_floats = call->b.layout == ZK_GEMM_PANELS ? 0 : zk_gemm_panel_floats(call->n, call->k);
  p.tile_floats = round16((size_t)ZK_TILE_FLOATS * (size_t)waiting);
  return p;
}

size_t ZK_ISA_FN(zk_gemm_scratch_bytes)(const zk_gemm *call) {
  if (zk_gemm_is_small(call) || call->m == 0 || call->n == 0) return 64;
  const plan p = make_plan(call);
  return (p.a_floats + p.b_floats + p.tile_floats * call->threads) * sizeof(float);
}

// While a strip of B is used by `num` panels of A, each asks for its part of the next strip.
static zk_prefetch prefetch_part(const float *next, int64_t panel_stride, int64_t kc, int64_t i, int64_t num) {
  const int64_t bytes = kc * ZK_PANEL * (int64_t)sizeof(float);
  if (ZK_NR > ZK_PANEL) { // two panels: the first half of the calls for one, the rest for the other
    const int64_t half = (num + 1) / 2, which = i / half;
    const int64_t part = bytes / (which == 0 ? half : num - half);
    return (zk_prefetch){(const char *)(next + which * panel_stride) + (i - which * half) * part, part / kc};
  }
  return (zk_prefetch){(const char *)next + i * (bytes / num), bytes / num / kc};
}

static void run_block(const zk_gemm *call, const plan *p, int64_t block, const float *a, const float *b, float *tiles) {
  const int64_t rows_of_blocks = ceil_div(p->num_panels, p->block_panels);
  const int64_t panel0 = block % rows_of_blocks * p->block_panels,
                panel1 = min64(panel0 + p->block_panels, p->num_panels);
  const int64_t strip0 = block / rows_of_blocks * p->block_strips,
                strip1 = min64(strip0 + p->block_strips, p->num_strips);
  const size_t tile_floats = (size_t)p->height * ZK_NR;
  for (int64_t k0 = 0; k0 < call->k; k0 += p->kc) {
    const int64_t kc = min64(p->kc, call->k - k0);
    const bool first = k0 == 0, last = k0 + kc == call->k;
    size_t slot = 0;
    for (int64_t s = strip0; s < strip1; s++) {
      const float *bs = zk_panel_column(b, call->k, s * ZK_NR) + k0 * ZK_PANEL;
      const int vecs = zk_strip_vectors(call->n - s * ZK_NR);
      const float *next = s + 1 < strip1 ? zk_panel_column(b, call->k, (s + 1) * ZK_NR) + k0 * ZK_PANEL : bs;
      const int64_t next_stride = zk_strip_vectors(call->n - (s + 1) * ZK_NR) == ZK_NV ? call->k * ZK_PANEL : 0;
      for (int64_t i = panel0; i < panel1; i++, slot++) {
        float *tile = p->kc < call->k ? tiles + slot * tile_floats : tiles;
        if (first && call->resume) zk_tile_load(call, i * p->height, p->height, s * ZK_NR, vecs, tile);
        zk_micro_run(p->height, vecs, kc, a + (i * call->k + k0) * p->height, bs, call->k * ZK_PANEL,
                     !first || call->resume != NULL, prefetch_part(next, next_stride, kc, i - panel0, panel1 - panel0),
                     tile);
        if (last) zk_tile_finish(call, i * p->height, p->height, s * ZK_NR, vecs, tile);
      }
    }
  }
}

void ZK_ISA_FN(zk_gemm_run)(const zk_gemm *call, void *scratch) {
  if (call->m == 0 || call->n == 0) return;
  if (zk_gemm_is_small(call)) {
    ZK_ISA_FN(zk_gemm_small)(call);
    return;
  }
  const plan p = make_plan(call);
  float *own_a = scratch, *own_b = own_a + p.a_floats, *tiles = own_b + p.b_floats;
  const float *a = call->a.layout == ZK_GEMM_PANELS ? call->a.data : own_a;
  const float *b = call->b.layout == ZK_GEMM_PANELS ? call->b.data : own_b;
  const int64_t pack_a = a == own_a ? p.num_panels : 0, pack_b = b == own_b ? ceil_div(call->n, ZK_PANEL) : 0;
  const int64_t num_blocks = ceil_div(p.num_panels, p.block_panels) * ceil_div(p.num_strips, p.block_strips);
  if (call->threads == 1) {
    zk_pack_panels(&call->b, call->n, call->k, ZK_PANEL, 0, pack_b, own_b);
    zk_pack_panels(&call->a, call->m, call->k, p.height, 0, pack_a, own_a);
    for (int64_t i = 0; i < num_blocks; i++) run_block(call, &p, i, a, b, tiles);
    return;
  }
#pragma omp parallel num_threads(call->threads)
  {
#pragma omp for schedule(dynamic, 1) nowait
    for (int64_t i = 0; i < pack_b; i += ZK_PACK_PANELS)
      zk_pack_panels(&call->b, call->n, call->k, ZK_PANEL, i, min64(i + ZK_PACK_PANELS, pack_b), own_b);
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < pack_a; i += ZK_PACK_PANELS)
      zk_pack_panels(&call->a, call->m, call->k, p.height, i, min64(i + ZK_PACK_PANELS, pack_a), own_a);
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < num_blocks; i++) run_block(call, &p, i, a, b, tiles + omp_get_thread_num() * p.tile_floats);
  }
}

void ZK_ISA_FN(zk_gemm_pack)(const zk_gemm_operand *src, int64_t count, int64_t k, int width, int threads, float *dst) {
  const int64_t num = ceil_div(count, width);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t i = 0; i < num; i += ZK_PACK_PANELS)
    zk_pack_panels(src, count, k, width, i, min64(i + ZK_PACK_PANELS, num), dst);
}
