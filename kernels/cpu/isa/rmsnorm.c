// RMSNorm's rows (kernels/rmsnorm.h): the reduction by the written lanes, everything else across columns.
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

void ZK_ISA_FN(zk_cpu_rmsnorm_backward_rows)(int64_t rows, int64_t width, const float *dy, const float *x,
                                             const float *weight, const float *rstd, const float *addend, float *dx,
                                             float *block_sum) {
  for (int64_t h = 0; h < width; h++) block_sum[h] = 0.0f;
  for (int64_t r = 0; r < rows; r++) {
    const float *dy_r = dy + r * width, *x_r = x + r * width, *addend_r = addend != NULL ? addend + r * width : NULL;
    float *dx_r = dx + r * width;
    const float scale = rstd[r];
    float c = zk_lanes_sum_products(dy_r, weight, x_r, width);
    float k = (((c * scale) * scale) * scale) / (float)width;
    ZK_INDEPENDENT_LOOP
    for (int64_t h = 0; h < width; h++) block_sum[h] = fmaf(dy_r[h], x_r[h] * scale, block_sum[h]);
    if (addend_r == NULL) {
      ZK_INDEPENDENT_LOOP
      for (int64_t h = 0; h < width; h++) dx_r[h] = fmaf(-k, x_r[h], (dy_r[h] * weight[h]) * scale);
    } else {
      ZK_INDEPENDENT_LOOP
      for (int64_t h = 0; h < width; h++) dx_r[h] = fmaf(-k, x_r[h], (dy_r[h] * weight[h]) * scale) + addend_r[h];
    }
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
