// RMSNorm's rows (kernels/rmsnorm.h): the reduction by the written lanes, everything else across columns.
#include "kernels/cpu/convert.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/rows.h"

void ZK_ISA_FN(zk_cpu_rmsnorm_rows)(int64_t rows, int64_t width, float eps, const float *x, const float *weight,
                                    float *y, float *rstd) {
  for (int64_t r = 0; r < rows; r++, x += width, y += width) {
    float scale = 1.0f / sqrtf(zk_lanes_sum_squares(x, width) / (float)width + eps);
    if (rstd != NULL) rstd[r] = scale;
    ZK_INDEPENDENT_LOOP
    for (int64_t h = 0; h < width; h++) y[h] = (x[h] * scale) * weight[h];
  }
}

void ZK_ISA_FN(zk_cpu_rmsnorm_rows_bf16)(int64_t rows, int64_t width, float eps, const zk_bf16 *x, const float *weight,
                                         zk_bf16 *y, float *rstd, float *scratch) {
  for (int64_t r = 0; r < rows; r++) {
    ZK_ISA_FN(zk_cpu_widen)(width, x + r * width, scratch);
    ZK_ISA_FN(zk_cpu_rmsnorm_rows)(1, width, eps, scratch, weight, scratch, rstd != NULL ? rstd + r : NULL);
    ZK_ISA_FN(zk_cpu_narrow)(width, scratch, y + r * width);
  }
}

// One row: its terms of the weight gradient added to block_sum; then dx.
static void backward_row(int64_t width, const float *dy, const float *x, const float *weight, float rstd,
                         const float *addend, float *dx, float *block_sum) {
  const float c = zk_lanes_sum_products(dy, weight, x, width);
  const float k = (((c * rstd) * rstd) * rstd) / (float)width;
  ZK_INDEPENDENT_LOOP
  for (int64_t h = 0; h < width; h++) block_sum[h] = fmaf(dy[h], x[h] * rstd, block_sum[h]);
  if (addend == NULL) {
    ZK_INDEPENDENT_LOOP
    for (int64_t h = 0; h < width; h++) dx[h] = fmaf(-k, x[h], (dy[h] * weight[h]) * rstd);
  } else {
    ZK_INDEPENDENT_LOOP
    for (int64_t h = 0; h < width; h++) dx[h] = fmaf(-k, x[h], (dy[h] * weight[h]) * rstd) + addend[h];
  }
}

void ZK_ISA_FN(zk_cpu_rmsnorm_backward_rows)(int64_t rows, int64_t width, const float *dy, const float *x,
                                             const float *weight, const float *rstd, const float *addend, float *dx,
                                             float *block_sum) {
  for (int64_t h = 0; h < width; h++) block_sum[h] = 0.0f;
  for (int64_t r = 0; r < rows; r++) {
    const int64_t at = r * width;
    backward_row(width, dy + at, x + at, weight, rstd[r], addend != NULL ? addend + at : NULL, dx + at, block_sum);
  }
}

void ZK_ISA_FN(zk_cpu_rmsnorm_backward_rows_bf16)(int64_t rows, int64_t width, const zk_bf16 *dy, const zk_bf16 *x,
                                                  const float *weight, const float *rstd, const zk_bf16 *addend,
                                                  zk_bf16 *dx, float *block_sum, float *scratch) {
  float *dy_row = scratch, *x_row = scratch + width, *addend_row = addend != NULL ? scratch + 2 * width : NULL;
  for (int64_t h = 0; h < width; h++) block_sum[h] = 0.0f;
  for (int64_t r = 0; r < rows; r++) {
    const int64_t at = r * width;
    ZK_ISA_FN(zk_cpu_widen)(width, dy + at, dy_row);
    ZK_ISA_FN(zk_cpu_widen)(width, x + at, x_row);
    if (addend != NULL) ZK_ISA_FN(zk_cpu_widen)(width, addend + at, addend_row);
    backward_row(width, dy_row, x_row, weight, rstd[r], addend_row, dy_row, block_sum);
    ZK_ISA_FN(zk_cpu_narrow)(width, dy_row, dx + at);
  }
}

void ZK_ISA_FN(zk_cpu_tree_columns)(int64_t num_blocks, int64_t stride, int64_t width, float *block_sums, float *out) {
  for (int64_t step = 1; step < num_blocks; step *= 2)
    for (int64_t b = 0; b + step < num_blocks; b += 2 * step) {
      float *left = block_sums + b * stride;
      const float *right = left + step * stride;
      ZK_INDEPENDENT_LOOP
      for (int64_t h = 0; h < width; h++) left[h] = left[h] + right[h];
    }
  ZK_INDEPENDENT_LOOP
  for (int64_t h = 0; h < width; h++) out[h] = out[h] + block_sums[h];
}
