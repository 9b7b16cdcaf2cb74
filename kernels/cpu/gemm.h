// The CPU's one matrix multiplication: C[m,n] = A B^T with every output one ascending fma chain, in blocks that change
// no bit.
//
// Both operands are read from panels, "k-major": a panel holds W neighbouring rows (of A) or columns (of C) and stores,
// for each k in turn, its W values side by side, so that a vector of outputs is a vector of neighbouring floats.
// Operands that are not panels yet are packed first; weights of the forward pass are kept packed (ZK_GEMM_PANELS).
#ifndef ZK_KERNELS_CPU_GEMM_H
#define ZK_KERNELS_CPU_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/isa.h"

#define ZK_PANEL 16 // columns of C in one packed panel of B, the same for every instruction set

typedef enum {
  ZK_GEMM_PANELS,  // packed: [ceil(count / width)][k][width], the last panel padded with zeros
  ZK_GEMM_K_INNER, // [count, k] row-major: the summed index is contiguous
  ZK_GEMM_K_OUTER, // [k, count] row-major: the summed index is the row
} zk_gemm_layout;

typedef struct {
  const float *data;
  int64_t ld; // elements between rows of `data`; of panels: their width (B: ZK_PANEL, A: zk_gemm_row_width)
  zk_gemm_layout layout;
} zk_gemm_operand;

// c[i][j] = chain over k ascending fma(a[i][k], b[j][k], acc), from +0 or, with `resume`, from resume[i][j] (a chain
// cut between two calls: an f32 store and load rounds nothing); then + bias[j], then + addend[i][j], each one rounding.
// addend and resume may be c.
typedef struct {
  int64_t m, n, k;
  zk_gemm_operand a, b;
  float *c;
  int64_t ldc;
  const float *bias;   // [n] or NULL
  const float *addend; // [m, n] with rows of ld_addend, or NULL
  int64_t ld_addend;
  const float *resume; // [m, n] with rows of ldc, or NULL
  int threads;
} zk_gemm;

// Width of the panels a multiplication by `m` rows wants A in.
ZK_ISA_DECLARE(int, zk_gemm_row_width, (int64_t m));
// Bytes of 64-byte aligned scratch a call needs (as much serves calls of fewer rows or columns that are otherwise the
// same); the call, which returns when c is complete. With one thread it opens no parallel region, so that threads of an
// outer one may each make their own.
ZK_ISA_DECLARE(size_t, zk_gemm_scratch_bytes, (const zk_gemm *call));
ZK_ISA_DECLARE(void, zk_gemm_run, (const zk_gemm *call, void *scratch));

// Threads worth waking for a multiplication.
static inline int zk_gemm_threads(const zk_device *device, int64_t m, int64_t n, int64_t k) {
  return (double)m * (double)n * (double)k < 131072.0 ? 1 : zk_device_threads(device);
}

// Floats of `count` columns packed over k.
static inline size_t zk_gemm_panel_floats(int64_t count, int64_t k) {
  return (size_t)((count + ZK_PANEL - 1) / ZK_PANEL) * (size_t)k * ZK_PANEL;
}
// Packs an operand of `count` rows into panels of `width` each (the last one padded with zeros), with `threads`
// threads.
ZK_ISA_DECLARE(void, zk_gemm_pack,
               (const zk_gemm_operand *src, int64_t count, int64_t k, int width, int threads, float *dst));

#endif
