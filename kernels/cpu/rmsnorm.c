// RMSNorm on a CPU: rows shared among threads; the weight gradient by 64-row blocks, each owned by one thread, then the
// tree.
#include "kernels/backend.h"

#include <omp.h>

#include "kernels/cpu/convert.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/reduce.h"

#define ROWS_AT_A_TIME 16
#define COLUMNS_AT_A_TIME 64

// bf16's scratch: the weight widened to f32, then `num_floats` more.
static zk_status widen_weight(zk_stream *stream, int64_t width, const void *weight, int64_t num_floats,
                              const float **widened, float **rest) {
  void *scratch;
  ZK_TRY(zk_stream_scratch(stream, (size_t)(width + num_floats) * sizeof(float), &scratch));
  ZK_ISA_CALL(zk_device_isa(zk_stream_device(stream)), zk_cpu_widen, width, weight, scratch);
  *widened = scratch;
  *rest = (float *)scratch + width;
  return ZK_OK;
}

zk_status zk_cpu_rmsnorm_forward(zk_stream *stream, const zk_rmsnorm_desc *desc, const void *x, const void *weight,
                                 void *y, float *rstd) {
  const zk_device *device = zk_stream_device(stream);
  const int64_t rows = desc->num_rows * desc->rows_per_token, width = desc->width;
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, rows * width);
  const float *w = weight; // f32
  float *scratch = NULL;   // [threads, width]
  if (desc->numerics != ZK_F32) ZK_TRY(widen_weight(stream, width, weight, threads * width, &w, &scratch));
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; r += ROWS_AT_A_TIME) {
    const int64_t n = zk_cpu_min(ROWS_AT_A_TIME, rows - r), at = r * width;
    float *rstd_at = rstd != NULL ? rstd + r : NULL;
    if (desc->numerics == ZK_F32)
      ZK_ISA_CALL(isa, zk_cpu_rmsnorm_rows, n, width, desc->eps, (const float *)x + at, w, (float *)y + at, rstd_at);
    else
      ZK_ISA_CALL(isa, zk_cpu_rmsnorm_rows_bf16, n, width, desc->eps, (const zk_bf16 *)x + at, w, (zk_bf16 *)y + at,
                  rstd_at, scratch + omp_get_thread_num() * width);
  }
  return ZK_OK;
}

// dx of one chunk's rows, and block_sums[num_blocks, width] of its weight gradient.
static void backward_blocks(const zk_device *device, const zk_rmsnorm_desc *desc, int64_t first, int64_t rows,
                            int threads, const void *dy, const void *x, const float *weight, const float *rstd,
                            const void *addend, void *dx, float *block_sums, float *scratch) {
  const zk_cpu_isa isa = zk_device_isa(device);
  const int64_t width = desc->width;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = first; r < first + rows; r += ZK_GRAD_BLOCK_ROWS) {
    const int64_t n = zk_cpu_min(ZK_GRAD_BLOCK_ROWS, first + rows - r), at = r * width;
    float *block_sum = block_sums + (r - first) / ZK_GRAD_BLOCK_ROWS * width;
    if (desc->numerics == ZK_F32)
      ZK_ISA_CALL(isa, zk_cpu_rmsnorm_backward_rows, n, width, (const float *)dy + at, (const float *)x + at, weight,
                  rstd + r, addend != NULL ? (const float *)addend + at : NULL, (float *)dx + at, block_sum);
    else
      ZK_ISA_CALL(isa, zk_cpu_rmsnorm_backward_rows_bf16, n, width, (const zk_bf16 *)dy + at, (const zk_bf16 *)x + at,
                  weight, rstd + r, addend != NULL ? (const zk_bf16 *)addend + at : NULL, (zk_bf16 *)dx + at, block_sum,
                  scratch + omp_get_thread_num() * 3 * width);
  }
}

zk_status zk_cpu_rmsnorm_backward(zk_stream *stream, const zk_rmsnorm_desc *desc, const zk_chunks *chunks,
                                  const void *dy, const void *x, const void *weight, const float *rstd,
                                  const void *addend, void *dx, float *dweight) {
  const zk_device *device = zk_stream_device(stream);
  const int64_t width = desc->width;
  for (int32_t c = 0; c < chunks->num_chunks; c++) {
    const int64_t first = (int64_t)chunks->row_start[c] * desc->rows_per_token;
    const int64_t rows = (int64_t)chunks->row_start[c + 1] * desc->rows_per_token - first;
    const int64_t num_blocks = (rows + ZK_GRAD_BLOCK_ROWS - 1) / ZK_GRAD_BLOCK_ROWS;
    if (rows == 0) continue;
    const int threads = zk_cpu_threads_for(device, rows * width);
    const float *w = weight; // f32
    float *block_sums;       // [num_blocks, width], then for bf16 [threads, 3, width]
    if (desc->numerics == ZK_F32)
      ZK_TRY(zk_stream_scratch(stream, (size_t)(num_blocks * width) * sizeof(float), (void **)&block_sums));
    else ZK_TRY(widen_weight(stream, width, weight, (num_blocks + 3 * threads) * width, &w, &block_sums));
    backward_blocks(device, desc, first, rows, threads, dy, x, w, rstd, addend, dx, block_sums,
                    block_sums + num_blocks * width);
    if (dweight == NULL) continue;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t h = 0; h < width; h += COLUMNS_AT_A_TIME) {
      const int64_t n = zk_cpu_min(COLUMNS_AT_A_TIME, width - h);
      ZK_ISA_CALL(zk_device_isa(device), zk_cpu_tree_columns, num_blocks, width, n, block_sums + h, dweight + h);
    }
  }
  return ZK_OK;
}
