// The inner loops of cpu/isa/ behind the row-wise and elementwise operations. Orders: the operation's header. The _bf16 form of a loop
// widens a piece, does the f32 loop's work on it and rounds: the same bits as if the whole operation had been done so.
// Pointers that a header allows to be one buffer may be equal here; each element is read before it is written.
#ifndef ZK_KERNELS_CPU_ROWS_H
#define ZK_KERNELS_CPU_ROWS_H

#include "kernels/adamw.h"
#include "kernels/bf16.h"
#include "kernels/cpu/isa.h"

// y[rows,width], rstd[rows] (or NULL) from x, weight.
ZK_ISA_DECLARE(void, zk_cpu_rmsnorm_rows,
               (int64_t rows, int64_t width, float eps, const float *x, const float *weight, float *y, float *rstd));
// `weight` is widened already; scratch[width].
ZK_ISA_DECLARE(void, zk_cpu_rmsnorm_rows_bf16,
               (int64_t rows, int64_t width, float eps, const zk_bf16 *x, const float *weight, zk_bf16 *y, float *rstd,
                float *scratch));
// block_sum[width] = the chain of dweight over these rows; then dx[rows,width] (addend may be NULL).
ZK_ISA_DECLARE(void, zk_cpu_rmsnorm_backward_rows,
               (int64_t rows, int64_t width, const float *dy, const float *x, const float *weight, const float *rstd,
                const float *addend, float *dx, float *block_sum));
// `weight` is widened already; scratch[3 * width].
ZK_ISA_DECLARE(void, zk_cpu_rmsnorm_backward_rows_bf16,
               (int64_t rows, int64_t width, const zk_bf16 *dy, const zk_bf16 *x, const float *weight,
                const float *rstd, const zk_bf16 *addend, zk_bf16 *dx, float *block_sum, float *scratch));
// The tree over num_blocks rows of block_sums[num_blocks, stride], columns [0, width): in place, result in row 0, then
// added to out[width].
ZK_ISA_DECLARE(void, zk_cpu_tree_columns,
               (int64_t num_blocks, int64_t stride, int64_t width, float *block_sums, float *out));
// Rotates heads x[num_heads, 2 * half] of one token; sign is +1 or -1 (backward) and multiplies sin exactly.
ZK_ISA_DECLARE(void, zk_cpu_rope_token,
               (int32_t num_heads, int32_t half, float sign, const float *cos_row, const float *sin_row, float *x));
ZK_ISA_DECLARE(void, zk_cpu_rope_token_bf16,
               (int32_t num_heads, int32_t half, float sign, const float *cos_row, const float *sin_row, zk_bf16 *x));
ZK_ISA_DECLARE(void, zk_cpu_swiglu, (int64_t n, const float *gate, const float *up, float *out));
ZK_ISA_DECLARE(void, zk_cpu_swiglu_bf16, (int64_t n, const zk_bf16 *gate, const zk_bf16 *up, zk_bf16 *out));
ZK_ISA_DECLARE(void, zk_cpu_swiglu_backward,
               (int64_t n, const float *gate, const float *up, const float *dout, float *dgate, float *dup));
ZK_ISA_DECLARE(void, zk_cpu_swiglu_backward_bf16,
               (int64_t n, const zk_bf16 *gate, const zk_bf16 *up, const zk_bf16 *dout, zk_bf16 *dgate, zk_bf16 *dup));
ZK_ISA_DECLARE(void, zk_cpu_add, (int64_t n, const float *a, const float *b, float *dst));
ZK_ISA_DECLARE(void, zk_cpu_add_bf16, (int64_t n, const zk_bf16 *a, const zk_bf16 *b, zk_bf16 *dst));
ZK_ISA_DECLARE(void, zk_cpu_scale, (int64_t n, const float *a, float scale, float *dst));
ZK_ISA_DECLARE(void, zk_cpu_scale_bf16, (int64_t n, const zk_bf16 *a, float scale, zk_bf16 *dst));
ZK_ISA_DECLARE(void, zk_cpu_add_widened, (int64_t n, const zk_bf16 *x, float *sum)); // sum[i] += x[i]
ZK_ISA_DECLARE(float, zk_cpu_sum_squares, (int64_t n, const float *x));              // one block
ZK_ISA_DECLARE(int, zk_cpu_all_finite, (int64_t n, const float *x));
ZK_ISA_DECLARE(void, zk_cpu_adamw,
               (const zk_adamw_params *p, float decay, int64_t n, float *master, float *m, float *v, const float *grad,
                float *working));
ZK_ISA_DECLARE(uint64_t, zk_cpu_hash32, (int64_t n, uint64_t first_index, const uint32_t *data));
ZK_ISA_DECLARE(uint64_t, zk_cpu_hash16, (int64_t n, uint64_t first_index, const uint16_t *data));

#endif
