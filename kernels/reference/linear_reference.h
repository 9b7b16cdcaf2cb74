// The orders of kernels/linear.h as straight loops, one output after another: what every fast linear kernel must equal
// bit for bit. Host memory, row-major as in kernels/linear.h; slow on purpose. Stored values are floats in both numerics; those of bf16 are
// bf16 values exactly, inputs and results.
#ifndef ZK_KERNELS_REFERENCE_LINEAR_REFERENCE_H
#define ZK_KERNELS_REFERENCE_LINEAR_REFERENCE_H

#include <stdint.h>

#include "kernels/chunks.h"
#include "kernels/numerics.h"

#ifdef __cplusplus
extern "C" {
#endif

// y[t][n] for one t and n: x, w [in], bias and addend point at their one element or are NULL.
float zk_linear_reference_element(zk_numerics numerics, int32_t in, const float *x, const float *w, const float *bias, const float *addend);

void zk_linear_reference_forward(zk_numerics numerics, int64_t rows, int32_t in, int32_t out, const float *x, const float *weight,
                                 const float *bias, const float *addend, float *y);
void zk_linear_reference_backward_input(zk_numerics numerics, int64_t rows, int32_t in, int32_t out, const float *dy, const float *weight,
                                        const float *addend, float *dx);
void zk_linear_reference_backward_weight(zk_numerics numerics, int64_t rows, int32_t in, int32_t out, const zk_chunks *chunks,
                                         const float *dy, const float *x, float *dweight, float *dbias);

#ifdef __cplusplus
}
#endif
#endif
