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

bool zk_cuda_gemm_valid(zk_cuda_gemm_variant variant, const zk_cuda_gemm *g) {
  if (variants[variant].numerics != g->numerics) return false;
  switch (variant) {
  case ZK_CUDA_GEMM_F32_SMALL:
  case ZK_CUDA_GEMM_BF16_SMALL:
    return g->m <= 16 && !g->a_outer && !g->b_outer;
  default:
    return g->b_outer || !g->a_outer; // a outer and b inner is no operation's layout
  }
}

void zk_cuda_gemm_force(zk_cuda_gemm_variant variant) { forced = variant, forced_is_used = false; }

bool zk_cuda_gemm_is_idle(void) { return forced != ZK_CUDA_NUM_GEMM && !forced_is_used; }

// Whether 16-byte loads along an operand's contiguous index are aligned.
static bool is_wide(const void *p, int64_t ld, zk_numerics numerics) {
  return (uintptr_t)p % 16 == 0 && (size_t)ld * zk_numerics_bytes(numerics) % 16 == 0;
}

zk_cuda_gemm_variant zk_cuda_gemm_choose(zk_cuda_gemm *g) {
  g->a_wide = is_wide(g->a, g->lda, g->numerics);
  g->b_wide = is_wide(g->b, g->ldb, g->numerics);
  if (forced != ZK_CUDA_NUM_GEMM && zk_cuda_gemm_valid(forced, g)) {
    forced_is_used = true;
    return forced;
  }
  for (int v = 0; v < ZK_CUDA_NUM_GEMM; v++)
    if (zk_cuda_gemm_valid((zk_cuda_gemm_variant)v, g)) return (zk_cuda_gemm_variant)v;
  return ZK_CUDA_NUM_GEMM;
}

zk_status zk_cuda_gemm_run(zk_stream *stream, zk_cuda_gemm g) {
  if (g.m == 0 || g.n == 0) return ZK_OK;
  if (g.numerics == ZK_VENDOR) return zk_cuda_vendor_gemm(stream, &g);
  switch (zk_cuda_gemm_choose(&g)) {
  case ZK_CUDA_GEMM_F32_SMALL:
    return zk_cuda_gemm_f32_small(stream, &g);
  case ZK_CUDA_GEMM_F32_TILE:
    return zk_cuda_gemm_f32_tile(stream, &g);
  case ZK_CUDA_GEMM_BF16_SMALL:
    return zk_cuda_gemm_bf16_small(stream, &g);
  case ZK_CUDA_GEMM_BF16_TILE:
    return zk_cuda_gemm_bf16_tile(stream, &g);
  default:
    return ZK_FAIL(ZK_INTERNAL, "no kernel for a product of %s", zk_numerics_name(g.numerics));
  }
}
