// One matrix product on the GPU, and the kernels that can compute it: c = a b^T, every output one ascending chain over
// k (kernels/linear.h; in bf16 a chain of k16 tensor-core steps). Linear layers and the LM head's gradients are calls
// of this.
//
// description (zk_cuda_gemm) -> which kernels are valid for it -> the first valid one -> its launch shape. All kernels
// give the same bits, so the choice is free: a faster kernel for some shapes is a row of the table, put before the
// others.
#ifndef ZK_KERNELS_CUDA_GEMM_H
#define ZK_KERNELS_CUDA_GEMM_H

#include <stdbool.h>

#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// a: m rows, b: n rows, k elements each, of `numerics`. Element (i, k) of an operand is at [i * ld + k], or at [k * ld
// + i] when it is `outer` (k is the slow index). Outputs: c[i * ldc + j] = chain, then + bias[j], then + addend[i *
// ldaddend + j], each a rounded f32 addition; then one rounding if c is stored as bf16. bias (of `numerics`) and addend
// may be NULL; addend may be c itself. b is weights unless it is `outer`: on a stream that overlaps (cuda.cuh) it may be
// read before the kernel ahead has ended.
typedef struct {
  zk_numerics numerics;
  int64_t m, n, k;
  const void *a, *b;
  int64_t lda, ldb;
  bool a_outer, b_outer;
  const void *bias, *addend;
  int64_t ldaddend;
  void *c;
  int64_t ldc;
  zk_numerics addend_as, c_as; // how each is stored: f32, else bf16
  bool a_wide, b_wide;         // 16-byte loads are aligned; zk_cuda_gemm_choose fills these
} zk_cuda_gemm;

// X(enumerator, name, numerics), the preferred first.
#define ZK_CUDA_GEMM_LIST(X)                                                                                           \
  X(F32_SMALL, "f32_small", ZK_F32)    /* up to 16 rows of a: an output a thread, weights through shared memory */     \
  X(F32_TILE, "f32_tile", ZK_F32)      /* 128 x 128 outputs a block, 8 x 8 a thread */                                 \
  X(BF16_FEW, "bf16_few", ZK_BF16)       /* up to 8 rows of a, and their norm: b as early as it can be, mma */          \
  X(BF16_DECODE, "bf16_decode", ZK_BF16) /* up to 128 rows of a: b streamed once through a ring, wgmma */              \
  X(BF16_SMALL, "bf16_small", ZK_BF16) /* up to 16 rows of a: they are the mma's 8 columns, weights its 16 rows */     \
  X(BF16_TILE, "bf16_tile", ZK_BF16)   /* 128 x 128 outputs a block, 64 x 32 a warp */                                 \
  X(BF16_WGMMA_SMALL, "bf16_wgmma_small", ZK_BF16) /* Hopper's warpgroups and copy engine, 64 x 64 outputs a block */  \
  X(BF16_WGMMA_64, "bf16_wgmma_64", ZK_BF16)   /* 64 x 128 */                                                          \
  X(BF16_WGMMA_96, "bf16_wgmma_96", ZK_BF16)   /* 128 x 96 */                                                          \
  X(BF16_WGMMA_128, "bf16_wgmma_128", ZK_BF16) /* 128 x 128 */                                                         \
  X(BF16_WGMMA_192, "bf16_wgmma_192", ZK_BF16) /* 128 x 192 */                                                         \
  X(BF16_WGMMA_256, "bf16_wgmma_256", ZK_BF16) /* 128 x 256 */                                                         \
  X(BF16_WGMMA_TURNS, "bf16_wgmma_turns", ZK_BF16) /* 128 x 128, two tiles by turns */          \
  X(BF16_WGMMA_SUMS, "bf16_wgmma_sums", ZK_BF16) /* weight gradients of several chunks and layers, 128 x 128 */        \
  X(BF16_WGMMA_SUMS_192, "bf16_wgmma_sums_192", ZK_BF16) /* 128 x 192 */                                               \
  X(BF16_WGMMA_SUMS_256, "bf16_wgmma_sums_256", ZK_BF16) /* 128 x 256 */

typedef enum {
#define X(name, text, numerics) ZK_CUDA_GEMM_##name,
  ZK_CUDA_GEMM_LIST(X)
#undef X
      ZK_CUDA_NUM_GEMM
} zk_cuda_gemm_variant;

const char *zk_cuda_gemm_name(zk_cuda_gemm_variant variant);
zk_numerics zk_cuda_gemm_numerics(zk_cuda_gemm_variant variant); // what it computes in
// Whether this device takes it of its own accord: the emulated one, where Hopper's kernels are slow, takes those only when they are forced.
bool zk_cuda_gemm_available(zk_cuda_gemm_variant variant);
// Whether `variant` computes this product.
bool zk_cuda_gemm_valid(zk_cuda_gemm_variant variant, const zk_cuda_gemm *g);
// Checks and tests: from now on this process takes `variant` wherever it is valid, or, given ZK_CUDA_NUM_GEMM, what it
// prefers.
void zk_cuda_gemm_force(zk_cuda_gemm_variant variant);
// Whether a variant is forced and has been valid for no product since: what was computed says nothing about it.
bool zk_cuda_gemm_is_idle(void);
// For products with kernels of their own (the LM head): whether this variant is forced, and so is about to be used.
bool zk_cuda_gemm_is_forced(zk_cuda_gemm_variant variant);

// Fills a_wide and b_wide and says which kernel the product gets.
zk_cuda_gemm_variant zk_cuda_gemm_choose(zk_cuda_gemm *g);
// Queues the product; nothing when m or n is 0. Of numerics vendor: cuBLAS's (kernels/cuda/vendor.h).
zk_status zk_cuda_gemm_run(zk_stream *stream, zk_cuda_gemm g);

// The RMSNorm of a's rows, which are k elements apart, before the products; weight at a multiple of 16 bytes.
typedef struct {
  const void *weight; // [k]
  float eps;
} zk_cuda_norm;

// Up to ZK_CUDA_GEMM_MOST_PARTS bf16 products of one a as one launch, all of them alike but for b, n, bias and c, without
// addend, m and n above 0. norm: what a goes through first, or NULL. *done false: no kernel does, and nothing is queued.
#define ZK_CUDA_GEMM_MOST_PARTS 3
zk_status zk_cuda_gemm_run_parts(zk_stream *stream, zk_cuda_gemm *g, int num_parts, const zk_cuda_norm *norm, bool *done);
// The same of gate and up: out = SwiGLU of both products, which are of one n and have no bias, each rounded as it would be
// stored; with `keeps` they are stored too.
zk_status zk_cuda_gemm_run_swiglu(zk_stream *stream, zk_cuda_gemm g[2], const zk_cuda_norm *norm, void *out, bool keeps, bool *done);

// The kernel of gemm_gradients.h for weight gradients g[num], of one b, k and n: `preferred`, or one that is forced; ZK_CUDA_NUM_GEMM: there is
// none for them, or another one is forced.
zk_cuda_gemm_variant zk_cuda_gemm_choose_sums(zk_cuda_gemm *g, int num, zk_cuda_gemm_variant preferred);

// The launches behind the table (gemm_f32.cu, gemm_bf16.cu, gemm_few.cu, gemm_decode.cu).
zk_status zk_cuda_gemm_f32_small(zk_stream *stream, const zk_cuda_gemm *g);
zk_status zk_cuda_gemm_f32_tile(zk_stream *stream, const zk_cuda_gemm *g);
// As the two below, of fewer rows, with the norm if there is one.
zk_status zk_cuda_gemm_bf16_few(zk_stream *stream, const zk_cuda_gemm *g, int num_parts, const zk_cuda_norm *norm);
zk_status zk_cuda_gemm_bf16_few_swiglu(zk_stream *stream, const zk_cuda_gemm *gate, const void *up, const zk_cuda_norm *norm);
bool zk_cuda_gemm_bf16_few_valid(const zk_cuda_gemm *g);
// g[num_parts]: up to three products of one a, all of them alike but for b, n, bias and c.
zk_status zk_cuda_gemm_bf16_decode(zk_stream *stream, const zk_cuda_gemm *g, int num_parts);
// gate->c = SwiGLU of gate's product and of the same with `up` for b; no bias, no addend, c of bf16.
zk_status zk_cuda_gemm_bf16_decode_swiglu(zk_stream *stream, const zk_cuda_gemm *gate, const void *up);
bool zk_cuda_gemm_bf16_decode_valid(const zk_cuda_gemm *g);
zk_status zk_cuda_gemm_bf16_small(zk_stream *stream, const zk_cuda_gemm *g);
zk_status zk_cuda_gemm_bf16_tile(zk_stream *stream, const zk_cuda_gemm *g);
// Those of wgmma (gemm_wgmma.cu), and whether they can be. Parts and SwiGLU as above.
zk_status zk_cuda_gemm_wgmma(zk_stream *stream, zk_cuda_gemm_variant variant, const zk_cuda_gemm *g, int num_parts);
zk_status zk_cuda_gemm_wgmma_swiglu(zk_stream *stream, zk_cuda_gemm_variant variant, const zk_cuda_gemm *gate,
                                    const void *up);
// out = SwiGLU of g[0] and g[1], which are stored as well, by turns.
zk_status zk_cuda_gemm_wgmma_swiglu_keeping(zk_stream *stream, const zk_cuda_gemm *g, void *out);
bool zk_cuda_gemm_wgmma_valid(zk_cuda_gemm_variant variant, const zk_cuda_gemm *g);

#ifdef __cplusplus
}
#endif
#endif
