// Bias gradient: columns side by side, the order of kernels/linear.h in each.
#include "kernels/bf16.h"
#include "kernels/cpu/bias.h"

// sum[j] = the chain over rows [first, end) of column j.
static void add_f32(const float *dy, int64_t first, int64_t end, int64_t width, float *sum) {
  for (int64_t r = first; r < end; r++)
    for (int64_t j = 0; j < width; j++) sum[j] = sum[j] + dy[r * width + j];
}
static void add_bf16(const zk_bf16 *dy, int64_t first, int64_t end, int64_t width, float *sum) {
  for (int64_t r = first; r < end; r++)
    for (int64_t j = 0; j < width; j++) sum[j] = sum[j] + zk_bf16_to_float(dy[r * width + j]);
}

void ZK_ISA_FN(zk_bias_gradient)(zk_numerics numerics, int64_t num_rows, int64_t width, const void *dy, int threads,
                                 float *sums, float *dbias) {
  const int64_t num_blocks = (num_rows + ZK_GRAD_BLOCK_ROWS - 1) / ZK_GRAD_BLOCK_ROWS;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t b = 0; b < num_blocks; b++) {
    float *sum = sums + b * width;
    const int64_t first = b * ZK_GRAD_BLOCK_ROWS, most = first + ZK_GRAD_BLOCK_ROWS;
    const int64_t end = most < num_rows ? most : num_rows;
    for (int64_t j = 0; j < width; j++) sum[j] = 0.0f;
    if (numerics == ZK_F32) add_f32(dy, first, end, width, sum);
    else add_bf16(dy, first, end, width, sum);
  }
  // zk_reduce_tree over the blocks, in every column: a missing right child leaves the left one as it is.
  for (int64_t step = 1; step < num_blocks; step *= 2)
    for (int64_t b = 0; b + step < num_blocks; b += 2 * step)
      for (int64_t j = 0; j < width; j++) sums[b * width + j] = sums[b * width + j] + sums[(b + step) * width + j];
  for (int64_t j = 0; j < width; j++) dbias[j] = dbias[j] + sums[j];
}
