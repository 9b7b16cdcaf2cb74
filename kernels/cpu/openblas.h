// OpenBLAS, loaded when it is first asked for: `numerics: vendor` computes its matrix products with it, and `zerokl bench` measures against it.
// A build needs nothing of it, and nothing of the contract ever calls it.
#ifndef ZK_KERNELS_CPU_OPENBLAS_H
#define ZK_KERNELS_CPU_OPENBLAS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/status.h"

typedef struct {
  void (*cblas_sgemm)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a,
                      int lda, const float *b, int ldb, float beta, float *c, int ldc);
  void (*set_num_threads)(int num_threads);
  char name[64]; // "OpenBLAS Haswell"
} zk_openblas;

// The library, once for the process; it reads its environment variables then. ZK_UNSUPPORTED says what to install.
zk_status zk_openblas_load(const zk_openblas **out);

// c[m,n] = op(a) op(b) + beta c, row-major; op transposes what is stored as [k,m] or [n,k]. Threads and blocking are the library's choice.
void zk_openblas_sgemm(const zk_openblas *blas, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                       const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

#endif
