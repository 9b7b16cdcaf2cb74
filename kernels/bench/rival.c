// OpenBLAS as the rival, loaded only when it is there: nothing of ours ever computes with it.
#include <dlfcn.h>
#include <stdlib.h>

#include "kernels/bench.h"
#include "kernels/cpu/isa.h"

typedef void cblas_sgemm_fn(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                            const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);
static cblas_sgemm_fn *cblas_sgemm;

static void sgemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda, const float *b,
                  int ldb, float *c, int ldc) {
  enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
  cblas_sgemm(ROW_MAJOR, transpose_a ? TRANSPOSED : PLAIN, transpose_b ? TRANSPOSED : PLAIN, m, n, k, 1.0f, a, lda, b,
              ldb, 0.0f, c, ldc);
}

static char name[64] = "OpenBLAS";
const char *zk_rival_name(void) { return name; }

zk_sgemm *zk_rival_sgemm(zk_bench *bench) {
  const zk_device *device = zk_bench_device(bench);
  static void (*set_num_threads)(int);
  if (cblas_sgemm == NULL) {
    // The same instruction set for both. OpenBLAS looks at this once, when it is loaded.
    setenv("OPENBLAS_CORETYPE", zk_device_isa(device) == ZK_CPU_AVX512 ? "SkylakeX" : "Haswell", 1);
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return NULL;
    *(void **)&cblas_sgemm =
        dlsym(library, "cblas_sgemm"); // POSIX's own way to turn an object pointer into a function's
    *(void **)&set_num_threads = dlsym(library, "openblas_set_num_threads");
    char *(*get_corename)(void) = NULL;
    *(void **)&get_corename = dlsym(library, "openblas_get_corename");
    if (get_corename != NULL) snprintf(name, sizeof name, "OpenBLAS %s", get_corename());
  }
  if (cblas_sgemm == NULL || set_num_threads == NULL) return NULL;
  set_num_threads(zk_device_threads(device));
  return sgemm;
}
