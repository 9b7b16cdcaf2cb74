// cuBLAS and cuBLASLt as rivals of the matrix products on a GPU, loaded at run time and only when asked for: nothing of ours computes with them.
#ifndef ZK_KERNELS_BENCH_VENDOR_H
#define ZK_KERNELS_BENCH_VENDOR_H

#include "kernels/bench.h"
#include "kernels/cuda/cublas.h"

typedef struct zk_vendor zk_vendor;

// *out is NULL, with ZK_OK, where there is no such library or the device is emulated. The caller closes it.
zk_status zk_vendor_open(zk_bench *bench, zk_vendor **out);
void zk_vendor_close(zk_vendor *vendor);
const char *zk_vendor_version(const zk_vendor *vendor); // "cuBLAS 13.1.0"

// cublasGemmEx with its default algorithm, queued on the bench's stream.
zk_status zk_vendor_default(zk_vendor *vendor, const zk_cublas_gemm *gemm);
// cuBLASLt without split-K. Prepare asks for algorithms with CUBLASLT_REDUCTION_SCHEME_NONE, times those offered on this gemm, and keeps the
// fastest; *found says whether there was one. Run then takes gemms of the same shape.
zk_status zk_vendor_lt_prepare(zk_vendor *vendor, const zk_cublas_gemm *gemm, bool *found);
zk_status zk_vendor_lt_run(zk_vendor *vendor, const zk_cublas_gemm *gemm);

#endif
