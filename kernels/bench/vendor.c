// cuBLAS as kernels/cuda/cublas.h loads it, and cuBLASLt beside it: the few functions and constants of its stable C
// interface that a product without split-K needs.
#include "kernels/bench/vendor.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/bench/gpu.h"
#include "kernels/cuda/bench.h"

enum { LT_DESC_TRANSA = 3, LT_DESC_TRANSB = 4, LT_PREF_WORKSPACE = 1, LT_PREF_REDUCTION = 3, LT_REDUCTION_NONE = 0 };
enum { MOST_ALGORITHMS = 8 };
static const size_t workspace_bytes = (size_t)32 << 20; // what NVIDIA advises for this generation

typedef struct {
  uint64_t data[8];
} lt_algorithm;
typedef struct {
  lt_algorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
} lt_candidate;

// X(function, arguments): every function returns a status, 0 when it succeeds.
#define FUNCTIONS(X)                                                                                                   \
  X(cublasLtCreate, (void **))                                                                                         \
  X(cublasLtDestroy, (void *))                                                                                         \
  X(cublasLtMatmulDescCreate, (void **, int, int))                                                                     \
  X(cublasLtMatmulDescSetAttribute, (void *, int, const void *, size_t))                                               \
  X(cublasLtMatmulDescDestroy, (void *))                                                                               \
  X(cublasLtMatrixLayoutCreate, (void **, int, uint64_t, uint64_t, int64_t))                                           \
  X(cublasLtMatrixLayoutDestroy, (void *))                                                                             \
  X(cublasLtMatmulPreferenceCreate, (void **))                                                                         \
  X(cublasLtMatmulPreferenceSetAttribute, (void *, int, const void *, size_t))                                         \
  X(cublasLtMatmulPreferenceDestroy, (void *))                                                                         \
  X(cublasLtMatmulAlgoGetHeuristic,                                                                                    \
    (void *, void *, void *, void *, void *, void *, void *, int, lt_candidate *, int *))                              \
  X(cublasLtMatmul, (void *, void *, const void *, const void *, void *, const void *, void *, const void *,           \
                     const void *, void *, void *, void *, const lt_algorithm *, void *, size_t, void *))

struct zk_vendor {
#define X(function, arguments) int(*function) arguments;
  FUNCTIONS(X)
#undef X
  zk_bench *bench;
  const zk_cublas *blas;
  void *blas_handle, *lt_handle;
  void *stream, *workspace;
  char version[48];
  void *desc, *a, *b, *c; // of the product prepared
  lt_algorithm algorithm;
};

static bool find_functions(zk_vendor *v) {
  if (zk_cublas_load(&v->blas) != ZK_OK) return false;
  void *library = zk_cublas_open_library("cublasLt");
  if (library == NULL) return false;
#define X(function, arguments)                                                                                         \
  *(void **)&v->function = dlsym(library, #function);                                                                  \
  if (v->function == NULL) return false;
  FUNCTIONS(X)
#undef X
  return true;
}

#define LT(v, function, ...) ZK_TRY(zk_cublas_check((v)->function(__VA_ARGS__), #function))

static zk_status set_up(zk_vendor *v) {
  int version = 0;
  ZK_TRY(zk_cublas_check(v->blas->create(&v->blas_handle), "cublasCreate"));
  ZK_TRY(zk_cublas_check(v->blas->set_stream(v->blas_handle, v->stream), "cublasSetStream"));
  LT(v, cublasLtCreate, &v->lt_handle);
  ZK_TRY(zk_device_alloc(zk_bench_device(v->bench), workspace_bytes, "the rival's workspace", &v->workspace));
  ZK_TRY(zk_cublas_check(v->blas->set_workspace(v->blas_handle, v->workspace, workspace_bytes), "cublasSetWorkspace"));
  ZK_TRY(zk_cublas_check(v->blas->get_version(v->blas_handle, &version), "cublasGetVersion"));
  snprintf(v->version, sizeof v->version, "cuBLAS %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
  return ZK_OK;
}

zk_status zk_vendor_open(zk_bench *bench, zk_vendor **out) {
  *out = NULL;
  void *stream = NULL;
#ifdef ZK_WITH_CUDA
  stream = zk_cuda_bench_handle(zk_bench_stream(bench));
#endif
  if (stream == NULL) return ZK_OK;
  zk_vendor *v = calloc(1, sizeof *v);
  if (v == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the rival");
  v->bench = bench, v->stream = stream;
  if (!find_functions(v)) {
    zk_vendor_close(v);
    return ZK_OK;
  }
  const zk_status status = set_up(v);
  if (status != ZK_OK) zk_vendor_close(v);
  else *out = v;
  return status;
}

static void forget_product(zk_vendor *v) {
  if (v->desc != NULL) (void)v->cublasLtMatmulDescDestroy(v->desc);
  if (v->a != NULL) (void)v->cublasLtMatrixLayoutDestroy(v->a);
  if (v->b != NULL) (void)v->cublasLtMatrixLayoutDestroy(v->b);
  if (v->c != NULL) (void)v->cublasLtMatrixLayoutDestroy(v->c);
  v->desc = v->a = v->b = v->c = NULL;
}

void zk_vendor_close(zk_vendor *v) {
  if (v == NULL) return;
  forget_product(v);
  if (v->blas_handle != NULL) (void)v->blas->destroy(v->blas_handle);
  if (v->lt_handle != NULL) (void)v->cublasLtDestroy(v->lt_handle);
  zk_device_free(zk_bench_device(v->bench), v->workspace);
  free(v);
}

const char *zk_vendor_version(const zk_vendor *v) { return v->version; }

static const float one = 1.0f;

zk_status zk_vendor_default(zk_vendor *v, const zk_cublas_gemm *g) { return zk_cublas_gemm_run(v->blas_handle, g); }

// ---- cuBLASLt without split-K

static zk_status describe(zk_vendor *v, const zk_cublas_gemm *g) {
  const int32_t op_a = g->transpose_a ? ZK_CUBLAS_TRANSPOSED : ZK_CUBLAS_PLAIN;
  const int32_t op_b = g->transpose_b ? ZK_CUBLAS_TRANSPOSED : ZK_CUBLAS_PLAIN;
  const uint64_t m = (uint64_t)g->m, n = (uint64_t)g->n, k = (uint64_t)g->k;
  forget_product(v);
  LT(v, cublasLtMatmulDescCreate, &v->desc, ZK_CUBLAS_COMPUTE_F32, ZK_CUBLAS_F32);
  LT(v, cublasLtMatmulDescSetAttribute, v->desc, LT_DESC_TRANSA, &op_a, sizeof op_a);
  LT(v, cublasLtMatmulDescSetAttribute, v->desc, LT_DESC_TRANSB, &op_b, sizeof op_b);
  LT(v, cublasLtMatrixLayoutCreate, &v->a, ZK_CUBLAS_BF16, g->transpose_a ? k : m, g->transpose_a ? m : k, g->lda);
  LT(v, cublasLtMatrixLayoutCreate, &v->b, ZK_CUBLAS_BF16, g->transpose_b ? n : k, g->transpose_b ? k : n, g->ldb);
  LT(v, cublasLtMatrixLayoutCreate, &v->c, g->c_is_f32 ? ZK_CUBLAS_F32 : ZK_CUBLAS_BF16, m, n, g->ldc);
  return ZK_OK;
}

static zk_status ask(zk_vendor *v, void *preference, lt_candidate *candidates, int *num) {
  const uint32_t reduction = LT_REDUCTION_NONE;
  LT(v, cublasLtMatmulPreferenceSetAttribute, preference, LT_PREF_WORKSPACE, &workspace_bytes, sizeof workspace_bytes);
  LT(v, cublasLtMatmulPreferenceSetAttribute, preference, LT_PREF_REDUCTION, &reduction, sizeof reduction);
  if (v->cublasLtMatmulAlgoGetHeuristic(v->lt_handle, v->desc, v->a, v->b, v->c, v->c, preference, MOST_ALGORITHMS,
                                        candidates, num) != 0)
    *num = 0;
  return ZK_OK;
}

zk_status zk_vendor_lt_run(zk_vendor *v, const zk_cublas_gemm *g) {
  LT(v, cublasLtMatmul, v->lt_handle, v->desc, &one, g->a, v->a, g->b, v->b, &g->beta, g->c, v->c, g->c, v->c,
     &v->algorithm, v->workspace, workspace_bytes, v->stream);
  return ZK_OK;
}

typedef struct {
  zk_vendor *vendor;
  const zk_cublas_gemm *gemm;
} trial;
static zk_status try_once(void *arg) {
  const trial *t = arg;
  return zk_vendor_lt_run(t->vendor, t->gemm);
}

zk_status zk_vendor_lt_prepare(zk_vendor *v, const zk_cublas_gemm *g, bool *found) {
  lt_candidate candidates[MOST_ALGORITHMS];
  lt_algorithm best = {{0}};
  double best_us = 0.0, us;
  int num = 0;
  void *preference = NULL;
  *found = false;
  ZK_TRY(describe(v, g));
  LT(v, cublasLtMatmulPreferenceCreate, &preference);
  const zk_status asked = ask(v, preference, candidates, &num);
  (void)v->cublasLtMatmulPreferenceDestroy(preference);
  ZK_TRY(asked);
  for (int i = 0; i < num; i++) {
    if (candidates[i].state != 0) continue;
    v->algorithm = candidates[i].algorithm;
    if (zk_bench_time_gpu(v->bench, try_once, &(trial){v, g}, 0.02, &us) != ZK_OK || (*found && us >= best_us))
      continue;
    *found = true, best_us = us, best = v->algorithm;
  }
  v->algorithm = best;
  return ZK_OK;
}
