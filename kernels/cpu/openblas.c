// Finds OpenBLAS on the machine it runs on.
#include "kernels/cpu/openblas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static zk_openblas library;
static char reason[256]; // why it could not be loaded

static void load(void) {
  void *handle = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) snprintf(reason, sizeof reason, "%s", dlerror());
  if (handle == NULL) handle = dlopen("libopenblas.so", RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) return;
  // POSIX's own way to turn an object pointer into a function's.
  *(void **)&library.set_num_threads = dlsym(handle, "openblas_set_num_threads");
  char *(*get_corename)(void) = NULL;
  *(void **)&get_corename = dlsym(handle, "openblas_get_corename");
  snprintf(library.name, sizeof library.name, "OpenBLAS%s%s", get_corename != NULL ? " " : "",
           get_corename != NULL ? get_corename() : "");
  if (library.set_num_threads != NULL) *(void **)&library.cblas_sgemm = dlsym(handle, "cblas_sgemm");
  if (library.cblas_sgemm == NULL)
    snprintf(reason, sizeof reason, "it has no cblas_sgemm or no openblas_set_num_threads");
}

zk_status zk_openblas_load(const zk_openblas **out) {
  pthread_once(&once, load);
  *out = &library;
  if (library.cblas_sgemm != NULL) return ZK_OK;
  *out = NULL;
  return ZK_FAIL(ZK_UNSUPPORTED,
                 "numerics: vendor on a CPU computes with OpenBLAS, which cannot be loaded (%s): install it (Debian: "
                 "libopenblas0), or use "
                 "numerics: bf16 or f32",
                 reason);
}

void zk_openblas_sgemm(const zk_openblas *blas, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                       const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
  blas->cblas_sgemm(ROW_MAJOR, transpose_a ? TRANSPOSED : PLAIN, transpose_b ? TRANSPOSED : PLAIN, (int)m, (int)n,
                    (int)k, 1.0f, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}
