// Bias gradients on the CPU: one chunk of rows summed by 64-row blocks and a tree (kernels/linear.h).
#ifndef ZK_KERNELS_CPU_BIAS_H
#define ZK_KERNELS_CPU_BIAS_H

#include "kernels/cpu/isa.h"
#include "kernels/reduce.h"

static inline size_t zk_bias_scratch_bytes(int64_t num_rows, int64_t width) {
  return (size_t)((num_rows + ZK_GRAD_BLOCK_ROWS - 1) / ZK_GRAD_BLOCK_ROWS) * (size_t)width * sizeof(float);
}
// dbias[width] += sum over rows of dy[num_rows, width], f32 or (widened) bf16.
ZK_ISA_DECLARE(void, zk_bias_gradient,
               (zk_numerics numerics, int64_t num_rows, int64_t width, const void *dy, int threads, float *scratch,
                float *dbias));

#endif
