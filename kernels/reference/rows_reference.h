// The row-wise and elementwise operations as straight loops, written from the headers' text and from nothing else: what
// the fast kernels are compared with, bit for bit. One thread, no vectors, no aliasing. Shapes as in each operation's
// header. For bf16 the inputs are widened before and the outputs rounded after (zk_check_elements, zk_check_compare_elements).
#ifndef ZK_KERNELS_REFERENCE_ROWS_REFERENCE_H
#define ZK_KERNELS_REFERENCE_ROWS_REFERENCE_H

#include <stdint.h>

#include "kernels/adamw.h"
#include "kernels/chunks.h"

void zk_reference_embedding_forward(int64_t num_rows, int64_t width, const int32_t *tokens, const float *table,
                                    float *x);
void zk_reference_embedding_backward(int64_t num_rows, int64_t width, const int32_t *tokens, const float *dx,
                                     float *dtable);
void zk_reference_embedding_backward_apart(int64_t num_rows, int64_t width, int64_t vocab, const int32_t *tokens,
                                           const float *dx, float *dtable);

void zk_reference_rmsnorm_forward(int64_t rows, int64_t width, float eps, const float *x, const float *weight, float *y,
                                  float *rstd);
// addend may be NULL; dweight is added to.
void zk_reference_rmsnorm_backward(int32_t rows_per_token, int64_t width, const zk_chunks *chunks, const float *dy,
                                   const float *x, const float *weight, const float *rstd, const float *addend,
                                   float *dx, float *dweight);

// In place, as the header says; backward != 0 for the gradient.
void zk_reference_rope(int backward, int64_t num_rows, int32_t num_heads, int32_t head_dim, const int32_t *positions,
                       const float *cos_table, const float *sin_table, float *x);

void zk_reference_swiglu_forward(int64_t n, const float *gate, const float *up, float *out);
void zk_reference_swiglu_backward(int64_t n, const float *gate, const float *up, const float *dout, float *dgate,
                                  float *dup);

void zk_reference_add(int64_t n, const float *a, const float *b, float *dst);
void zk_reference_scale(int64_t n, const float *a, float scale, float *dst);
void zk_reference_sum_squares(int64_t n, const float *x, float *block_sums);
float zk_reference_tree(const float *values, int64_t n);
void zk_reference_init_normal(uint64_t seed, int64_t first, int64_t n, double scale, float *out);
uint64_t zk_reference_hash(int32_t element_bytes, int64_t n, uint64_t first_index, const void *data);

void zk_reference_adamw(const zk_adamw_params *params, int decays, int64_t n, float *master, float *m, float *v,
                        const float *grad);

#endif
