// Bias gradient: columns side by side, the order of kernels/linear.h in each.
#include "kernels/cpu/bias.h"

void ZK_ISA_FN(zk_bias_gradient)(int64_t num_rows, int64_t width, const float *dy, int threads, float *sums,
                                 float *dbias) {
  const int64_t num_blocks = (num_rows + ZK_GRAD_BLOCK_ROWS - 1) / ZK_GRAD_BLOCK_ROWS;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t b = 0; b < num_blocks; b++) {
    float *sum = sums + b * width;
    const int64_t first = b * ZK_GRAD_BLOCK_ROWS, end = first + ZK_GRAD_BLOCK_ROWS;
    for (int64_t j = 0; j < width; j++) sum[j] = 0.0f;
    for (int64_t r = first; r < (end < num_rows ? end : num_rows); r++)
      for (int64_t j = 0; j < width; j++) sum[j] = sum[j] + dy[r * width + j];
  }
  // zk_reduce_tree over the blocks, in every column: a missing right child leaves the left one as it is.
  for (int64_t step = 1; step < num_blocks; step *= 2)
    for (int64_t b = 0; b + step < num_blocks; b += 2 * step)
      for (int64_t j = 0; j < width; j++) sums[b * width + j] = sums[b * width + j] + sums[(b + step) * width + j];
  for (int64_t j = 0; j < width; j++) dbias[j] = dbias[j] + sums[j];
}
