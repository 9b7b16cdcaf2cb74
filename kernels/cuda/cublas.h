// cuBLAS, loaded when it is first asked for: `numerics: vendor` computes its matrix products on a GPU with it, and
// `zerokl bench` measures against it. A build needs nothing of it, and nothing of the contract ever calls it.
#ifndef ZK_KERNELS_CUDA_CUBLAS_H
#define ZK_KERNELS_CUDA_CUBLAS_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// What we use of cublas_v2.h; enumerations are int, and so is a status, 0 for success.
enum {
  ZK_CUBLAS_PLAIN = 0,
  ZK_CUBLAS_TRANSPOSED = 1,
  ZK_CUBLAS_F32 = 0,
  ZK_CUBLAS_BF16 = 14,
  ZK_CUBLAS_COMPUTE_F32 = 68,
  ZK_CUBLAS_ANY_ALGORITHM = -1
};
typedef struct {
  int (*create)(void **handle);
  int (*destroy)(void *handle);
  int (*get_version)(void *handle, int *version);
  int (*set_stream)(void *handle, void *stream);
  int (*set_workspace)(void *handle, void *workspace, size_t bytes);
  int (*gemm_ex)(void *handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int a_as,
                 int lda, const void *b, int b_as, int ldb, const void *beta, void *c, int c_as, int ldc, int compute,
                 int algorithm);
  const char *(*status_text)(int status);
} zk_cublas;

// The library, once for the process. ZK_UNSUPPORTED says why it cannot be had and what to install.
zk_status zk_cublas_load(const zk_cublas **out);
// dlopen of a library of the toolkit, "cublas" or "cublasLt"; NULL: not here. It stays loaded: CUDA's libraries do not
// survive being unloaded.
void *zk_cublas_open_library(const char *name);
// ZK_DEVICE with the library's text unless `status` is 0; `call` is what returned it.
zk_status zk_cublas_check(int status, const char *call);

// c[n][m] = op(a) op(b) + beta c as cuBLAS counts, column-major; a, b bf16, c bf16 or f32, sums in f32.
typedef struct {
  bool transpose_a, transpose_b;
  int m, n, k, lda, ldb, ldc;
  const void *a, *b;
  void *c;
  bool c_is_f32;
  float beta;
} zk_cublas_gemm;

// Queues the product by cublasGemmEx with its default algorithm, which may split k as it likes. The library is loaded.
zk_status zk_cublas_gemm_run(void *handle, const zk_cublas_gemm *gemm);

#ifdef __cplusplus
}
#endif
#endif
