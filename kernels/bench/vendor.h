// cuBLAS and cuBLASLt as rivals of the matrix products on a GPU, loaded at run time and only when asked for: nothing of ours computes with them.
#ifndef ZK_KERNELS_BENCH_VENDOR_H
#define ZK_KERNELS_BENCH_VENDOR_H

#include "kernels/bench.h"

typedef struct zk_vendor zk_vendor;

// c[n][m] = op(a) op(b) + beta c as cuBLAS counts, column-major; a, b bf16, c bf16 or f32, sums in f32.
typedef struct {
  bool transpose_a, transpose_b;
  int m, n, k, lda, ldb, ldc;
  const void *a, *b;
  void *c;
  bool c_is_f32;
  float beta;
} zk_vendor_gemm;

// *out is NULL, with ZK_OK, where there is no such library or the device is emulated. The caller closes it.
zk_status zk_vendor_open(zk_bench *bench, zk_vendor **out);
void zk_vendor_close(zk_vendor *vendor);
const char *zk_vendor_version(const zk_vendor *vendor); // "cuBLAS 13.1.0"

// cublasGemmEx with its default algorithm, queued on the bench's stream.
zk_status zk_vendor_default(zk_vendor *vendor, const zk_vendor_gemm *gemm);
// cuBLASLt without split-K. Prepare asks for algorithms with CUBLASLT_REDUCTION_SCHEME_NONE, times those offered on this gemm, and keeps the
// fastest; *found says whether there was one. Run then takes gemms of the same shape.
zk_status zk_vendor_lt_prepare(zk_vendor *vendor, const zk_vendor_gemm *gemm, bool *found);
zk_status zk_vendor_lt_run(zk_vendor *vendor, const zk_vendor_gemm *gemm);

#endif
