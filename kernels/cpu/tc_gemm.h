// The CPU's bf16 matrix multiplication: C[m,n] = A B^T with every output one chain of tensor-core steps (kernels/tensor_core.h), bit for
// bit, vectorised over outputs.
#ifndef ZK_KERNELS_CPU_TC_GEMM_H
#define ZK_KERNELS_CPU_TC_GEMM_H

#include "kernels/bf16.h"
#include "kernels/cpu/gemm.h"

// Rows and columns of one finished block, at most. A fixed size, whatever the instruction set, so that a block's owner may keep one on its
// stack.
#define ZK_TC_BLOCK_ROWS 64
#define ZK_TC_BLOCK_COLUMNS 32

typedef struct {
  const zk_bf16 *data;
  int64_t ld;            // elements between rows of `data`
  zk_gemm_layout layout; // ZK_GEMM_K_INNER or ZK_GEMM_K_OUTER
} zk_tc_operand;

// Takes a finished block: rows [row, row + rows), columns [col, col + cols) of C; element (r, j) of it at block[r * ld + j]. Called by the
// thread that made the block, in no particular order.
typedef void zk_tc_finish(void *arg, int64_t row, int64_t rows, int64_t col, int64_t cols, const float *block,
                          int64_t ld);

// c[i][j] = tc chain over k ascending of a[i][k] b[j][k], from +0 or from initial[i][j]. Blocks go to `finish`, or to c when that is NULL.
// `initial` may be c.
typedef struct {
  int64_t m, n, k;
  zk_tc_operand a, b;   // a: [m, k] or its transpose, b: [n, k] or its transpose
  const float *initial; // [m, n] with rows of ld_initial, or NULL
  int64_t ld_initial;
  float *c;
  int64_t ldc;
  zk_tc_finish *finish;
  void *finish_arg;
  int threads;
} zk_tc_gemm;

// Needs no scratch. With one thread it opens no parallel region, so that threads of an outer one may each make their own calls.
ZK_ISA_DECLARE(void, zk_tc_gemm_run, (const zk_tc_gemm *call));

// Finishers of a linear layer. y = bf16(block (+ bias) (+ addend)), each addition rounded to f32 on its own.
typedef struct {
  zk_bf16 *y;            // [m, n]
  int64_t ld;            // of y and addend
  const zk_bf16 *bias;   // [n] or NULL
  const zk_bf16 *addend; // [m, n] or NULL; may be y
} zk_tc_rounded;
ZK_ISA_DECLARE(void, zk_tc_finish_rounded,
               (void *rounded, int64_t row, int64_t rows, int64_t col, int64_t cols, const float *block, int64_t ld));
// sum = sum + block.
typedef struct {
  float *sum; // [m, n]
  int64_t ld;
} zk_tc_added;
ZK_ISA_DECLARE(void, zk_tc_finish_added,
               (void *added, int64_t row, int64_t rows, int64_t col, int64_t cols, const float *block, int64_t ld));

#endif
