// Linear layers of `numerics: vendor` on the CPU: operands widened into scratch, one sgemm, the result rounded to bf16.
#include "kernels/cpu/convert.h"
#include "kernels/cpu/openblas.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tc_gemm.h"
#include "kernels/cpu/vendor.h"

void zk_cpu_vendor_widen(const zk_device *device, int64_t n, const zk_bf16 *x, float *y) {
  const int threads = zk_cpu_threads_for(device, n);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t i = 0; i < n; i += ZK_CPU_GRAIN)
    ZK_ISA_CALL(zk_device_isa(device), zk_cpu_widen, zk_cpu_min(ZK_CPU_GRAIN, n - i), x + i, y + i);
}

// out = bf16(sums (+ bias) (+ addend)), sums[rows][columns].
static void finish(const zk_device *device, zk_tc_rounded out, int64_t rows, int64_t columns, const float *sums) {
  const int threads = zk_cpu_threads_for(device, rows * columns);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < columns; j += ZK_TC_BLOCK_COLUMNS)
      ZK_ISA_CALL(zk_device_isa(device), zk_tc_finish_rounded, &out, r, 1, j,
                  zk_cpu_min(ZK_TC_BLOCK_COLUMNS, columns - j), sums + r * columns + j, columns);
}

static zk_status scratch_of(zk_stream *stream, int64_t a, int64_t b, int64_t c, float *out[3]) {
  ZK_TRY(zk_stream_scratch(stream, (size_t)(a + b + c) * sizeof(float), (void **)out));
  out[1] = out[0] + a, out[2] = out[1] + b;
  return ZK_OK;
}

zk_status zk_cpu_vendor_linear_forward(zk_stream *stream, const zk_linear_desc *desc, const zk_bf16 *x,
                                       const float *packed, const zk_bf16 *bias, const zk_bf16 *addend, zk_bf16 *y) {
  const zk_device *device = zk_stream_device(stream);
  const int64_t rows = desc->num_rows, in = desc->in_features, out = desc->out_features;
  const zk_openblas *blas;
  float *at[3]; // x [T,K], x W^T [T,N]
  ZK_TRY(zk_openblas_load(&blas));
  if (packed == NULL) return ZK_FAIL(ZK_INTERNAL, "linear: numerics vendor reads packed weights on a CPU");
  if (rows == 0) return ZK_OK;
  ZK_TRY(scratch_of(stream, rows * in, rows * out, 0, at));
  zk_cpu_vendor_widen(device, rows * in, x, at[0]);
  zk_openblas_sgemm(blas, false, true, rows, out, in, at[0], in, packed, in, 0.0f, at[1], out);
  finish(device, (zk_tc_rounded){.y = y, .ld = out, .bias = bias, .addend = addend}, rows, out, at[1]);
  return ZK_OK;
}

zk_status zk_cpu_vendor_linear_backward_input(zk_stream *stream, const zk_linear_desc *desc, const zk_bf16 *dy,
                                              const zk_bf16 *weight, const zk_bf16 *addend, zk_bf16 *dx) {
  const zk_device *device = zk_stream_device(stream);
  const int64_t rows = desc->num_rows, in = desc->in_features, out = desc->out_features;
  const zk_openblas *blas;
  float *at[3]; // dy [T,N], W [N,K], dy W [T,K]
  ZK_TRY(zk_openblas_load(&blas));
  if (rows == 0) return ZK_OK;
  ZK_TRY(scratch_of(stream, rows * out, out * in, rows * in, at));
  zk_cpu_vendor_widen(device, rows * out, dy, at[0]);
  zk_cpu_vendor_widen(device, out * in, weight, at[1]);
  zk_openblas_sgemm(blas, false, false, rows, in, out, at[0], out, at[1], in, 0.0f, at[2], in);
  finish(device, (zk_tc_rounded){.y = dx, .ld = in, .addend = addend}, rows, in, at[2]);
  return ZK_OK;
}

zk_status zk_cpu_vendor_linear_backward_weight(zk_stream *stream, const zk_linear_desc *desc, int64_t num_rows,
                                               const zk_bf16 *dy, const zk_bf16 *x, float *dweight) {
  const zk_device *device = zk_stream_device(stream);
  const int64_t in = desc->in_features, out = desc->out_features;
  const zk_openblas *blas;
  float *at[3]; // dy [T,N], x [T,K]
  ZK_TRY(zk_openblas_load(&blas));
  if (num_rows == 0) return ZK_OK;
  ZK_TRY(scratch_of(stream, num_rows * out, num_rows * in, 0, at));
  zk_cpu_vendor_widen(device, num_rows * out, dy, at[0]);
  zk_cpu_vendor_widen(device, num_rows * in, x, at[1]);
  zk_openblas_sgemm(blas, true, false, out, in, num_rows, at[0], out, at[1], in, 1.0f, dweight, in);
  return ZK_OK;
}
