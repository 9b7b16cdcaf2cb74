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

// The wgmma kernels: the tile of a pair of blocks, one above the other, and what a round of tiles costs (choose_wgmma):
// measured on an H200, relative. A multiprocessor reads a third less for a tile of 256 columns, so that its clock is 5% higher at the limit of
// power, where a training step is; 911 is what a whole step says. Its ends of tiles wait, and fewer rows end before power is the limit.
typedef struct {
  zk_cuda_gemm_variant variant;
  int rows, columns, round, once;
  int end, least_rows; // what a tile's end takes, in k; of a
  bool swiglu; // may share its tiles between gate and up
} wgmma_tile;
static const wgmma_tile wgmma_tiles[] = {{ZK_CUDA_GEMM_BF16_WGMMA_SMALL, 2 * 64, 64, 260, 0, 0, 0, false},
                                         {ZK_CUDA_GEMM_BF16_WGMMA_64, 2 * 64, 128, 350, 0, 0, 0, false},
                                         {ZK_CUDA_GEMM_BF16_WGMMA_96, 2 * 128, 96, 410, 0, 0, 0, true},
                                         {ZK_CUDA_GEMM_BF16_WGMMA_128, 2 * 128, 128, 495, 0, 0, 0, true},
                                         {ZK_CUDA_GEMM_BF16_WGMMA_192, 2 * 128, 192, 760, 0, 0, 0, false},
                                         {ZK_CUDA_GEMM_BF16_WGMMA_256, 2 * 128, 256, 911, 0, 100, 8192, false},
                                         {ZK_CUDA_GEMM_BF16_WGMMA_TURNS, 2 * 128, 128, 490, 8, 0, 0, true}};
enum { NUM_WGMMA_TILES = sizeof wgmma_tiles / sizeof wgmma_tiles[0] };

static const wgmma_tile *find_wgmma(zk_cuda_gemm_variant variant) {
  for (int i = 0; i < NUM_WGMMA_TILES; i++)
    if (wgmma_tiles[i].variant == variant) return &wgmma_tiles[i];
  return NULL;
}
static bool is_wgmma(zk_cuda_gemm_variant variant) { return find_wgmma(variant) != NULL; }

// Of several chunks at once, and never of one product alone.
static bool is_sums(zk_cuda_gemm_variant variant) {
  return variant == ZK_CUDA_GEMM_BF16_WGMMA_SUMS || variant == ZK_CUDA_GEMM_BF16_WGMMA_SUMS_192 || variant == ZK_CUDA_GEMM_BF16_WGMMA_SUMS_256;
}

bool zk_cuda_gemm_available(zk_cuda_gemm_variant variant) {
#ifdef ZK_SIMT
  return !is_wgmma(variant) && !is_sums(variant) && variant != ZK_CUDA_GEMM_BF16_DECODE && variant != ZK_CUDA_GEMM_BF16_FEW;
#else
  return variant < ZK_CUDA_NUM_GEMM;
#endif
}

bool zk_cuda_gemm_valid(zk_cuda_gemm_variant variant, const zk_cuda_gemm *g) {
  if (variants[variant].numerics != g->numerics) return false;
  if (is_wgmma(variant)) return zk_cuda_gemm_wgmma_valid(variant, g);
  switch (variant) {
  case ZK_CUDA_GEMM_F32_SMALL:
  case ZK_CUDA_GEMM_BF16_SMALL:
    return g->m <= 16 && !g->a_outer && !g->b_outer;
  case ZK_CUDA_GEMM_BF16_FEW:
    return zk_cuda_gemm_bf16_few_valid(g);
  case ZK_CUDA_GEMM_BF16_DECODE:
    return zk_cuda_gemm_bf16_decode_valid(g);
  case ZK_CUDA_GEMM_BF16_WGMMA_SUMS:
  case ZK_CUDA_GEMM_BF16_WGMMA_SUMS_192:
  case ZK_CUDA_GEMM_BF16_WGMMA_SUMS_256:
    return false;
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

// One launch may be of several products of one a, whose tiles follow each other, or of gate and up for SwiGLU, who share
// theirs; or for SwiGLU and themselves.
typedef enum { ALONE, PARTS, SWIGLU, KEPT_SWIGLU } together;

static bool takes(zk_cuda_gemm_variant variant, together how) {
  if (how == KEPT_SWIGLU) return variant == ZK_CUDA_GEMM_BF16_WGMMA_TURNS;
  if (how == ALONE || variant == ZK_CUDA_GEMM_BF16_FEW || variant == ZK_CUDA_GEMM_BF16_DECODE) return true;
  const wgmma_tile *t = find_wgmma(variant);
  return t != NULL && (how == PARTS || t->swiglu);
}

// Whether it computes all of them, unasked.
static bool suits(zk_cuda_gemm_variant variant, const zk_cuda_gemm *g, int num) {
  for (int i = 0; i < num; i++)
    if (!zk_cuda_gemm_valid(variant, &g[i])) return false;
  return zk_cuda_gemm_available(variant);
}

enum { FIRST_ROW = 65 }; // of a's, that the wgmma kernels are for

// The wgmma kernel that should be done first, or none: tiles of pairs of blocks are computed in rounds of as many as there
// are pairs of multiprocessors.
static zk_cuda_gemm_variant choose_wgmma(const zk_cuda_gemm *g, int num, together how) {
  enum { PAIRS = 66 };
  zk_cuda_gemm_variant best = ZK_CUDA_NUM_GEMM;
  int64_t least = INT64_MAX;
  for (int i = 0; g->m >= FIRST_ROW && i < NUM_WGMMA_TILES; i++) {
    const wgmma_tile *t = &wgmma_tiles[i];
    if (g->m < t->least_rows) continue;
    int64_t columns = 0;
    const bool halves = how == SWIGLU || how == KEPT_SWIGLU;
    for (int part = 0; part < (halves ? 1 : num); part++)
      columns += zk_ceil_div(g[part].n, halves ? t->columns / 2 : t->columns);
    const int64_t rounds = zk_ceil_div(zk_ceil_div(g->m, t->rows) * columns, PAIRS), cost = (rounds * t->round + t->once) * g->k + rounds * t->round * t->end;
    if (cost < least && takes(t->variant, how) && suits(t->variant, g, num)) {
      best = t->variant;
      least = cost;
    }
  }
  return best;
}

static void note_alignment(zk_cuda_gemm *g) {
  g->a_wide = is_wide(g->a, g->lda, g->numerics);
  g->b_wide = is_wide(g->b, g->ldb, g->numerics);
}

zk_cuda_gemm_variant zk_cuda_gemm_choose_sums(zk_cuda_gemm *g, int num, zk_cuda_gemm_variant preferred) {
  for (int i = 0; i < num; i++) {
    note_alignment(&g[i]);
    if (g[i].m < FIRST_ROW || !zk_cuda_gemm_valid(ZK_CUDA_GEMM_BF16_WGMMA_TURNS, &g[i])) return ZK_CUDA_NUM_GEMM;
  }
  if (forced == ZK_CUDA_NUM_GEMM) return zk_cuda_gemm_available(preferred) ? preferred : ZK_CUDA_NUM_GEMM;
  return is_sums(forced) && zk_cuda_gemm_is_forced(forced) ? forced : ZK_CUDA_NUM_GEMM;
}

// Measured on an H200, in a layer's chain of products: for one row, up to so many weights, the kernel of few rows is the faster one;
// with a norm, which is a kernel less, up to more of them.
enum { FEW_ROWS = 1, FEW_ELEMENTS = 12 << 20, FEW_NORM_ELEMENTS = 64 << 20 };

// Together: ZK_CUDA_NUM_GEMM if they must be computed one by one. A forced kernel has all it is valid for. norm: of
// a, before them.
static zk_cuda_gemm_variant choose(zk_cuda_gemm *g, int num, together how, bool norm) {
  int num_forced = 0;
  int64_t elements = 0;
  for (int i = 0; i < num; i++) {
    note_alignment(&g[i]);
    elements += g[i].n * g[i].k;
    num_forced += forced != ZK_CUDA_NUM_GEMM && zk_cuda_gemm_valid(forced, &g[i]);
  }
  if (num_forced > 0) {
    if (num_forced < num || !takes(forced, how) || (norm && forced != ZK_CUDA_GEMM_BF16_FEW)) return ZK_CUDA_NUM_GEMM;
    forced_is_used = true;
    return forced;
  }
  if (takes(ZK_CUDA_GEMM_BF16_FEW, how) && g->m <= FEW_ROWS && elements <= (norm ? FEW_NORM_ELEMENTS : FEW_ELEMENTS) && suits(ZK_CUDA_GEMM_BF16_FEW, g, num))
    return ZK_CUDA_GEMM_BF16_FEW;
  if (norm) return ZK_CUDA_NUM_GEMM;
  if (takes(ZK_CUDA_GEMM_BF16_DECODE, how) && suits(ZK_CUDA_GEMM_BF16_DECODE, g, num)) return ZK_CUDA_GEMM_BF16_DECODE;
  const zk_cuda_gemm_variant large = choose_wgmma(g, num, how);
  if (large != ZK_CUDA_NUM_GEMM) return large;
  for (int v = 0; how == ALONE && v < ZK_CUDA_NUM_GEMM; v++)
    if (suits((zk_cuda_gemm_variant)v, g, 1)) return (zk_cuda_gemm_variant)v;
  return ZK_CUDA_NUM_GEMM;
}

zk_cuda_gemm_variant zk_cuda_gemm_choose(zk_cuda_gemm *g) { return choose(g, 1, ALONE, false); }

zk_status zk_cuda_gemm_run_parts(zk_stream *stream, zk_cuda_gemm *g, int num_parts, const zk_cuda_norm *norm, bool *done) {
  const zk_cuda_gemm_variant variant = choose(g, num_parts, PARTS, norm != NULL);
  *done = variant != ZK_CUDA_NUM_GEMM;
  if (!*done) return ZK_OK;
  if (variant == ZK_CUDA_GEMM_BF16_FEW) return zk_cuda_gemm_bf16_few(stream, g, num_parts, norm);
  if (variant == ZK_CUDA_GEMM_BF16_DECODE) return zk_cuda_gemm_bf16_decode(stream, g, num_parts);
  return zk_cuda_gemm_wgmma(stream, variant, g, num_parts);
}

zk_status zk_cuda_gemm_run_swiglu(zk_stream *stream, zk_cuda_gemm g[2], const zk_cuda_norm *norm, void *out, bool keeps, bool *done) {
  zk_cuda_gemm stored[3] = {g[0], g[1], g[0]}; // out is stored as they would be: alone, or behind both
  stored[2].c = out;
  if (!keeps) stored[0].c = stored[1].c = out;
  const zk_cuda_gemm_variant variant = choose(stored, keeps ? 3 : 2, keeps ? KEPT_SWIGLU : SWIGLU, norm != NULL);
  *done = variant != ZK_CUDA_NUM_GEMM;
  if (!*done) return ZK_OK;
  if (keeps) return zk_cuda_gemm_wgmma_swiglu_keeping(stream, stored, out);
  g = stored;
  if (variant == ZK_CUDA_GEMM_BF16_FEW) return zk_cuda_gemm_bf16_few_swiglu(stream, &g[0], g[1].b, norm);
  if (variant == ZK_CUDA_GEMM_BF16_DECODE) return zk_cuda_gemm_bf16_decode_swiglu(stream, &g[0], g[1].b);
  return zk_cuda_gemm_wgmma_swiglu(stream, variant, &g[0], g[1].b);
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
  case ZK_CUDA_GEMM_BF16_FEW:
    return zk_cuda_gemm_bf16_few(stream, &g, 1, NULL);
  case ZK_CUDA_GEMM_BF16_DECODE:
    return zk_cuda_gemm_bf16_decode(stream, &g, 1);
  case ZK_CUDA_GEMM_BF16_SMALL:
    return zk_cuda_gemm_bf16_small(stream, &g);
  case ZK_CUDA_GEMM_BF16_TILE:
    return zk_cuda_gemm_bf16_tile(stream, &g);
  default:
    if (variant < ZK_CUDA_NUM_GEMM && is_wgmma(variant)) return zk_cuda_gemm_wgmma(stream, variant, &g, 1);
    return ZK_FAIL(ZK_INTERNAL, "no kernel for a product of %s", zk_numerics_name(g.numerics));
  }
}
