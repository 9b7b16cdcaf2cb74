// RMSNorm on a CPU: rows shared among threads; the weight gradient by 64-row blocks, each owned by one thread, then the
// tree.
#include "kernels/backend.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/reduce.h"

#define ROWS_AT_A_TIME 16
#define COLUMNS_AT_A_TIME 64

zk_status zk_cpu_rmsnorm_forward(zk_stream *stream, const zk_rmsnorm_desc *desc, const void *x, const void *weight, void *y,
                             float *rstd) {
  ZK_TRY(zk_cpu_require_f32(desc->numerics, ZK_OP_RMSNORM));
  const zk_device *device = zk_stream_device(stream);
  const int64_t rows = desc->num_rows * desc->rows_per_token, width = desc->width;
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, rows * width);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; r += ROWS_AT_A_TIME) {
    const int64_t n = zk_cpu_min(ROWS_AT_A_TIME, rows - r), at = r * width;
    ZK_ISA_CALL(isa, zk_cpu_rmsnorm_rows, n, width, desc->eps, (const float *)x + at, weight, (float *)y + at,
                rstd != NULL ? rstd + r : NULL);
  }
  return ZK_OK;
}

zk_status zk_cpu_rmsnorm_backward(zk_stream *stream, const zk_rmsnorm_desc *desc, const zk_chunks *chunks, const void *dy,
                              const void *x, const void *weight, const float *rstd, const void *addend, void *dx,
                              float *dweight) {
  ZK_TRY(zk_cpu_require_f32(desc->numerics, ZK_OP_RMSNORM_BACKWARD));
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  const int64_t width = desc->width;
  for (int32_t c = 0; c < chunks->num_chunks; c++) {
    const int64_t first = (int64_t)chunks->row_start[c] * desc->rows_per_token;
    const int64_t rows = (int64_t)chunks->row_start[c + 1] * desc->rows_per_token - first;
    const int64_t num_blocks = (rows + ZK_GRAD_BLOCK_ROWS - 1) / ZK_GRAD_BLOCK_ROWS;
    if (rows == 0) continue;
    void *scratch;
    ZK_TRY(zk_stream_scratch(stream, (size_t)(num_blocks * width) * sizeof(float), &scratch));
    float *block_sums = scratch; // [num_blocks, width]
    const int threads = zk_cpu_threads_for(device, rows * width);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
      for (int64_t b = 0; b < num_blocks; b++) {
        const int64_t r = first + b * ZK_GRAD_BLOCK_ROWS, n = zk_cpu_min(ZK_GRAD_BLOCK_ROWS, first + rows - r),
                      at = r * width;
        const float *addend_at = addend != NULL ? (const float *)addend + at : NULL;
        ZK_ISA_CALL(isa, zk_cpu_rmsnorm_backward_rows, n, width, (const float *)dy + at, (const float *)x + at, weight,
                    rstd + r, addend_at, (float *)dx + at, block_sums + b * width);
      }
#pragma omp for schedule(static)
      for (int64_t h = 0; h < width; h += COLUMNS_AT_A_TIME) {
        const int64_t n = zk_cpu_min(COLUMNS_AT_A_TIME, width - h);
        ZK_ISA_CALL(isa, zk_cpu_tree_columns, num_blocks, width, n, block_sums + h, dweight + h);
      }
    }
  }
  return ZK_OK;
}
