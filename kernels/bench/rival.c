// OpenBLAS as the rival, loaded only when it is there.
#include <stdlib.h>

#include "kernels/bench.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/openblas.h"

static const zk_openblas *rival;

static void sgemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda, const float *b,
                  int ldb, float *c, int ldc) {
  zk_openblas_sgemm(rival, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, 0.0f, c, ldc);
}

const char *zk_rival_name(void) { return rival != NULL ? rival->name : "OpenBLAS"; }

zk_sgemm *zk_rival_sgemm(zk_bench *bench) {
  const zk_device *device = zk_bench_device(bench);
  if (rival == NULL) {
    // The same instruction set for both. OpenBLAS looks at this once, when it is loaded.
    setenv("OPENBLAS_CORETYPE", zk_device_isa(device) == ZK_CPU_AVX512 ? "SkylakeX" : "Haswell", 1);
    if (zk_openblas_load(&rival) != ZK_OK) return NULL;
  }
  rival->set_num_threads(zk_device_threads(device));
  return sgemm;
}
