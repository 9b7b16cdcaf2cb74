// cuBLAS through dlopen: the few functions and constants of its stable C interface that two kinds of product need.
#include "kernels/bench/vendor.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "kernels/bench/gpu.h"
#include "kernels/cuda/bench.h"

enum { OP_N = 0, OP_T = 1, R_32F = 0, R_16BF = 14, COMPUTE_32F = 68, GEMM_DEFAULT = -1 };
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

// X(library, function, arguments): every function returns a status, 0 when it succeeds.
#define FUNCTIONS(X)                                                                                                   \
  X(blas, cublasCreate_v2, (void **))                                                                                  \
  X(blas, cublasDestroy_v2, (void *))                                                                                  \
  X(blas, cublasGetVersion_v2, (void *, int *))                                                                        \
  X(blas, cublasSetStream_v2, (void *, void *))                                                                        \
  X(blas, cublasSetWorkspace_v2, (void *, void *, size_t))                                                             \
  X(blas, cublasGemmEx,                                                                                                \
    (void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int, int, const void *,      \
     void *, int, int, int, int))                                                                                      \
  X(lt, cublasLtCreate, (void **))                                                                                     \
  X(lt, cublasLtDestroy, (void *))                                                                                     \
  X(lt, cublasLtMatmulDescCreate, (void **, int, int))                                                                 \
  X(lt, cublasLtMatmulDescSetAttribute, (void *, int, const void *, size_t))                                           \
  X(lt, cublasLtMatmulDescDestroy, (void *))                                                                           \
  X(lt, cublasLtMatrixLayoutCreate, (void **, int, uint64_t, uint64_t, int64_t))                                       \
  X(lt, cublasLtMatrixLayoutDestroy, (void *))                                                                         \
  X(lt, cublasLtMatmulPreferenceCreate, (void **))                                                                     \
  X(lt, cublasLtMatmulPreferenceSetAttribute, (void *, int, const void *, size_t))                                     \
  X(lt, cublasLtMatmulPreferenceDestroy, (void *))                                                                     \
  X(lt, cublasLtMatmulAlgoGetHeuristic,                                                                                \
    (void *, void *, void *, void *, void *, void *, void *, int, lt_candidate *, int *))                              \
  X(lt, cublasLtMatmul,                                                                                                \
    (void *, void *, const void *, const void *, void *, const void *, void *, const void *, const void *, void *,     \
     void *, void *, const lt_algorithm *, void *, size_t, void *))

struct zk_vendor {
#define X(library, function, arguments) int(*function) arguments;
  FUNCTIONS(X)
#undef X
  zk_bench *bench;
  void *blas, *lt, *blas_handle, *lt_handle; // the libraries, and what they gave
  void *stream, *workspace;
  char version[48];
  void *desc, *a, *b, *c; // of the product prepared
  lt_algorithm algorithm;
};

static void *open_library(const char *const *names) {
  void *library = NULL;
  for (; library == NULL && *names != NULL; names++) library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
  return library;
}

static bool find_functions(zk_vendor *v) {
  static const char *const blas[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so",
                                     "/usr/local/cuda/lib64/libcublas.so", NULL};
  static const char *const lt[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so",
                                   "/usr/local/cuda/lib64/libcublasLt.so", NULL};
  v->lt = open_library(lt);
  v->blas = open_library(blas);
  if (v->blas == NULL || v->lt == NULL) return false;
#define X(library, function, arguments)                                                                                \
  *(void **)&v->function = dlsym(v->library, #function);                                                               \
  if (v->function == NULL) return false;
  FUNCTIONS(X)
#undef X
  return true;
}

static zk_status failed(const char *function, int code) {
  return ZK_FAIL(ZK_DEVICE,
                 "%s failed with status %d: run bench with another cuBLAS, or without one in the library path",
                 function, code);
}
#define VENDOR(v, function, ...)                                                                                       \
  do {                                                                                                                 \
    const int code_ = (v)->function(__VA_ARGS__);                                                                      \
    if (code_ != 0) return failed(#function, code_);                                                                   \
  } while (0)

static zk_status set_up(zk_vendor *v) {
  int version = 0;
  VENDOR(v, cublasCreate_v2, &v->blas_handle);
  VENDOR(v, cublasLtCreate, &v->lt_handle);
  VENDOR(v, cublasSetStream_v2, v->blas_handle, v->stream);
  ZK_TRY(zk_device_alloc(zk_bench_device(v->bench), workspace_bytes, "the rival's workspace", &v->workspace));
  VENDOR(v, cublasSetWorkspace_v2, v->blas_handle, v->workspace, workspace_bytes);
  VENDOR(v, cublasGetVersion_v2, v->blas_handle, &version);
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

// The libraries stay loaded: CUDA libraries do not survive being unloaded.
void zk_vendor_close(zk_vendor *v) {
  if (v == NULL) return;
  forget_product(v);
  if (v->blas_handle != NULL) (void)v->cublasDestroy_v2(v->blas_handle);
  if (v->lt_handle != NULL) (void)v->cublasLtDestroy(v->lt_handle);
  zk_device_free(zk_bench_device(v->bench), v->workspace);
  free(v);
}

const char *zk_vendor_version(const zk_vendor *v) { return v->version; }

static const float one = 1.0f;

zk_status zk_vendor_default(zk_vendor *v, const zk_vendor_gemm *g) {
  VENDOR(v, cublasGemmEx, v->blas_handle, g->transpose_a, g->transpose_b, g->m, g->n, g->k, &one, g->a, R_16BF, g->lda,
         g->b, R_16BF, g->ldb, &g->beta, g->c, g->c_is_f32 ? R_32F : R_16BF, g->ldc, COMPUTE_32F, GEMM_DEFAULT);
  return ZK_OK;
}

// ---- cuBLASLt without split-K

static zk_status describe(zk_vendor *v, const zk_vendor_gemm *g) {
  const int32_t op_a = g->transpose_a ? OP_T : OP_N, op_b = g->transpose_b ? OP_T : OP_N;
  const uint64_t m = (uint64_t)g->m, n = (uint64_t)g->n, k = (uint64_t)g->k;
  forget_product(v);
  VENDOR(v, cublasLtMatmulDescCreate, &v->desc, COMPUTE_32F, R_32F);
  VENDOR(v, cublasLtMatmulDescSetAttribute, v->desc, LT_DESC_TRANSA, &op_a, sizeof op_a);
  VENDOR(v, cublasLtMatmulDescSetAttribute, v->desc, LT_DESC_TRANSB, &op_b, sizeof op_b);
  VENDOR(v, cublasLtMatrixLayoutCreate, &v->a, R_16BF, g->transpose_a ? k : m, g->transpose_a ? m : k, g->lda);
  VENDOR(v, cublasLtMatrixLayoutCreate, &v->b, R_16BF, g->transpose_b ? n : k, g->transpose_b ? k : n, g->ldb);
  VENDOR(v, cublasLtMatrixLayoutCreate, &v->c, g->c_is_f32 ? R_32F : R_16BF, m, n, g->ldc);
  return ZK_OK;
}

static zk_status ask(zk_vendor *v, void *preference, lt_candidate *candidates, int *num) {
  const uint32_t reduction = LT_REDUCTION_NONE;
  VENDOR(v, cublasLtMatmulPreferenceSetAttribute, preference, LT_PREF_WORKSPACE, &workspace_bytes,
         sizeof workspace_bytes);
  VENDOR(v, cublasLtMatmulPreferenceSetAttribute, preference, LT_PREF_REDUCTION, &reduction, sizeof reduction);
  if (v->cublasLtMatmulAlgoGetHeuristic(v->lt_handle, v->desc, v->a, v->b, v->c, v->c, preference, MOST_ALGORITHMS,
                                        candidates, num) != 0)
    *num = 0;
  return ZK_OK;
}

zk_status zk_vendor_lt_run(zk_vendor *v, const zk_vendor_gemm *g) {
  VENDOR(v, cublasLtMatmul, v->lt_handle, v->desc, &one, g->a, v->a, g->b, v->b, &g->beta, g->c, v->c, g->c, v->c,
         &v->algorithm, v->workspace, workspace_bytes, v->stream);
  return ZK_OK;
}

typedef struct {
  zk_vendor *vendor;
  const zk_vendor_gemm *gemm;
} trial;
static zk_status try_once(void *arg) {
  const trial *t = arg;
  return zk_vendor_lt_run(t->vendor, t->gemm);
}

zk_status zk_vendor_lt_prepare(zk_vendor *v, const zk_vendor_gemm *g, bool *found) {
  lt_candidate candidates[MOST_ALGORITHMS];
  lt_algorithm best = {{0}};
  double best_us = 0.0, us;
  int num = 0;
  void *preference = NULL;
  *found = false;
  ZK_TRY(describe(v, g));
  VENDOR(v, cublasLtMatmulPreferenceCreate, &preference);
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
