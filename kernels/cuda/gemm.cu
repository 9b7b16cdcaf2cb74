// Which kernel a product gets (kernels/cuda/gemm.h).
#include "kernels/cuda/gemm.h"

#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/vendor.h"

static zk_cuda_gemm_variant forced = ZK_CUDA_NUM_GEMM; // written by checks and tests, before they launch anything
static bool forced_is_used;                            // some product has taken it

static const struct {
  const char *name;
  zk_numerics numerics;
} variants[] = {
#define X(name, text, numerics) {text, numerics},
    ZK_CUDA_GEMM_LIST(X)
#undef X
};

const char *zk_cuda_gemm_name(zk_cuda_gemm_variant variant) {
  return variant < ZK_CUDA_NUM_GEMM ? variants[variant].name : "preferred";
}

zk_numerics zk_cuda_gemm_numerics(zk_cuda_gemm_variant variant) { return variants[variant].numerics; }

// Columns of a wgmma kernel's tile, 128 rows high; 0: another kernel.
static int wgmma_tile(zk_cuda_gemm_variant variant) {
  switch (variant) {
  case ZK_CUDA_GEMM_BF16_WGMMA_64:
    return 64;
  case ZK_CUDA_GEMM_BF16_WGMMA_128:
    return 128;
  case ZK_CUDA_GEMM_BF16_WGMMA_192:
    return 192;
  case ZK_CUDA_GEMM_BF16_WGMMA_256:
    return 256;
  default:
    return 0;
  }
}

bool zk_cuda_gemm_available(zk_cuda_gemm_variant variant) {
#ifdef ZK_SIMT
  return wgmma_tile(variant) == 0 && variant != ZK_CUDA_GEMM_BF16_DECODE;
#else
  return variant < ZK_CUDA_NUM_GEMM;
#endif
}

bool zk_cuda_gemm_valid(zk_cuda_gemm_variant variant, const zk_cuda_gemm *g) {
  if (variants[variant].numerics != g->numerics) return false;
  if (wgmma_tile(variant) != 0) return zk_cuda_gemm_wgmma_valid(g);
  switch (variant) {
  case ZK_CUDA_GEMM_F32_SMALL:
  case ZK_CUDA_GEMM_BF16_SMALL:
    return g->m <= 16 && !g->a_outer && !g->b_outer;
  case ZK_CUDA_GEMM_BF16_DECODE:
    return zk_cuda_gemm_bf16_decode_valid(g);
  default:
    return g->b_outer || !g->a_outer; // a outer and b inner is no operation's layout
  }
}

void zk_cuda_gemm_force(zk_cuda_gemm_variant variant) { forced = variant, forced_is_used = false; }

bool zk_cuda_gemm_is_idle(void) { return forced != ZK_CUDA_NUM_GEMM && !forced_is_used; }
bool zk_cuda_gemm_is_forced(zk_cuda_gemm_variant variant) {
  if (forced != variant) return false;
  forced_is_used = true;
  return true;
}

// Whether 16-byte loads along an operand's contiguous index are aligned.
static bool is_wide(const void *p, int64_t ld, zk_numerics numerics) {
  return (uintptr_t)p % 16 == 0 && (size_t)ld * zk_numerics_bytes(numerics) % 16 == 0;
}

// The wgmma kernel that should be done first, or none: pairs of blocks form pairs of tiles, one below the other, as many
// at a time as there are pairs of multiprocessors. A round takes as long as a tile; measured on an H200.
static zk_cuda_gemm_variant choose_wgmma(const zk_cuda_gemm *g) {
  enum { PAIRS = 66, FIRST_ROW = 65 };
  static const struct {
    zk_cuda_gemm_variant variant;
    int cost; // of a tile, relative
  } tiles[] = {{ZK_CUDA_GEMM_BF16_WGMMA_256, 100},
               {ZK_CUDA_GEMM_BF16_WGMMA_192, 77},
               {ZK_CUDA_GEMM_BF16_WGMMA_128, 51},
               {ZK_CUDA_GEMM_BF16_WGMMA_64, 40}};
  zk_cuda_gemm_variant best = ZK_CUDA_NUM_GEMM;
  int64_t least = INT64_MAX;
  for (size_t i = 0; g->m >= FIRST_ROW && i < sizeof tiles / sizeof tiles[0]; i++) {
    const int64_t pairs = zk_ceil_div(g->m, 256) * zk_ceil_div(g->n, wgmma_tile(tiles[i].variant));
    const int64_t cost = zk_ceil_div(pairs, PAIRS) * tiles[i].cost;
    if (cost < least && zk_cuda_gemm_valid(tiles[i].variant, g)) {
      best = tiles[i].variant;
      least = cost;
    }
  }
  return best;
}

zk_cuda_gemm_variant zk_cuda_gemm_choose(zk_cuda_gemm *g) {
  g->a_wide = is_wide(g->a, g->lda, g->numerics);
  g->b_wide = is_wide(g->b, g->ldb, g->numerics);
  if (forced != ZK_CUDA_NUM_GEMM && zk_cuda_gemm_valid(forced, g)) {
    forced_is_used = true;
    return forced;
  }
  if (zk_cuda_gemm_valid(ZK_CUDA_GEMM_BF16_DECODE, g)) return ZK_CUDA_GEMM_BF16_DECODE;
  const zk_cuda_gemm_variant large = choose_wgmma(g);
  if (large != ZK_CUDA_NUM_GEMM) return large;
  for (int v = 0; v < ZK_CUDA_NUM_GEMM; v++)
    if (zk_cuda_gemm_valid((zk_cuda_gemm_variant)v, g)) return (zk_cuda_gemm_variant)v;
  return ZK_CUDA_NUM_GEMM;
}

zk_status zk_cuda_gemm_run(zk_stream *stream, zk_cuda_gemm g) {
  if (g.m == 0 || g.n == 0) return ZK_OK;
  if (g.numerics == ZK_VENDOR) return zk_cuda_vendor_gemm(stream, &g);
  const zk_cuda_gemm_variant variant = zk_cuda_gemm_choose(&g);
  switch (variant) {
  case ZK_CUDA_GEMM_F32_SMALL:
    return zk_cuda_gemm_f32_small(stream, &g);
  case ZK_CUDA_GEMM_F32_TILE:
    return zk_cuda_gemm_f32_tile(stream, &g);
  case ZK_CUDA_GEMM_BF16_DECODE:
    return zk_cuda_gemm_bf16_decode(stream, &g, 1);
  case ZK_CUDA_GEMM_BF16_SMALL:
    return zk_cuda_gemm_bf16_small(stream, &g);
  case ZK_CUDA_GEMM_BF16_TILE:
    return zk_cuda_gemm_bf16_tile(stream, &g);
  case ZK_CUDA_GEMM_BF16_WGMMA_64:
  case ZK_CUDA_GEMM_BF16_WGMMA_128:
  case ZK_CUDA_GEMM_BF16_WGMMA_192:
  case ZK_CUDA_GEMM_BF16_WGMMA_256:
    return zk_cuda_gemm_wgmma(stream, wgmma_tile(variant), &g);
  default:
    return ZK_FAIL(ZK_INTERNAL, "no kernel for a product of %s", zk_numerics_name(g.numerics));
  }
}
