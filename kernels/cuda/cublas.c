// Finds cuBLAS on the machine it runs on.
#include "kernels/cuda/cublas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

// Compared with the toolkit's header where the build has it.
#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
_Static_assert(ZK_CUBLAS_PLAIN == (int)CUBLAS_OP_N && ZK_CUBLAS_TRANSPOSED == (int)CUBLAS_OP_T &&
                   ZK_CUBLAS_F32 == (int)CUDA_R_32F && ZK_CUBLAS_BF16 == (int)CUDA_R_16BF &&
                   ZK_CUBLAS_COMPUTE_F32 == (int)CUBLAS_COMPUTE_32F &&
                   ZK_CUBLAS_ANY_ALGORITHM == (int)CUBLAS_GEMM_DEFAULT && sizeof(cublasOperation_t) == sizeof(int),
               "cuBLAS has changed its numbers");
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static zk_cublas library;
static bool is_loaded;
static char reason[256]; // why it could not be

// The system's path first, then where toolkits are installed.
void *zk_cublas_open_library(const char *name) {
  static const char *const suffixes[] = {".so.13", ".so.12", ".so"};
  const char *const homes[] = {"", getenv("CUDA_HOME"), getenv("CUDA_PATH"), "/usr/local/cuda"};
  for (size_t h = 0; h < sizeof homes / sizeof homes[0]; h++) {
    if (homes[h] == NULL) continue;
    for (size_t s = 0; s < sizeof suffixes / sizeof suffixes[0]; s++) {
      char path[1024];
      snprintf(path, sizeof path, "%s%slib%s%s", homes[h], homes[h][0] != '\0' ? "/lib64/" : "", name, suffixes[s]);
      void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
      if (handle != NULL) return handle;
      const char *error = dlerror();
      if (reason[0] == '\0') snprintf(reason, sizeof reason, "%s", error);
    }
  }
  return NULL;
}

static void load(void) {
  void *handle = zk_cublas_open_library("cublas");
  if (handle == NULL) return;
  // POSIX's own way to turn an object pointer into a function's.
  *(void **)&library.create = dlsym(handle, "cublasCreate_v2");
  *(void **)&library.destroy = dlsym(handle, "cublasDestroy_v2");
  *(void **)&library.get_version = dlsym(handle, "cublasGetVersion_v2");
  *(void **)&library.set_stream = dlsym(handle, "cublasSetStream_v2");
  *(void **)&library.set_workspace = dlsym(handle, "cublasSetWorkspace_v2");
  *(void **)&library.gemm_ex = dlsym(handle, "cublasGemmEx");
  *(void **)&library.status_text = dlsym(handle, "cublasGetStatusString");
  is_loaded = library.create != NULL && library.destroy != NULL && library.get_version != NULL &&
              library.set_stream != NULL && library.set_workspace != NULL && library.gemm_ex != NULL &&
              library.status_text != NULL;
  if (!is_loaded) snprintf(reason, sizeof reason, "it is too old");
}

zk_status zk_cublas_load(const zk_cublas **out) {
  pthread_once(&once, load);
  *out = is_loaded ? &library : NULL;
  if (is_loaded) return ZK_OK;
  return ZK_FAIL(ZK_UNSUPPORTED,
                 "numerics: vendor on a GPU computes with cuBLAS, which cannot be loaded (%s): install it (Debian, "
                 "Ubuntu: libcublas-13-0 of NVIDIA's packages; pip: nvidia-cublas), set CUDA_HOME or LD_LIBRARY_PATH "
                 "to where it is, or use numerics: bf16 or f32",
                 reason);
}

zk_status zk_cublas_check(int status, const char *call) {
  return status == 0 ? ZK_OK : ZK_FAIL(ZK_DEVICE, "cuBLAS: %s in %s", library.status_text(status), call);
}

zk_status zk_cublas_gemm_run(void *handle, const zk_cublas_gemm *g) {
  static const float one = 1.0f;
  const int op_a = g->transpose_a ? ZK_CUBLAS_TRANSPOSED : ZK_CUBLAS_PLAIN;
  const int op_b = g->transpose_b ? ZK_CUBLAS_TRANSPOSED : ZK_CUBLAS_PLAIN;
  return zk_cublas_check(library.gemm_ex(handle, op_a, op_b, g->m, g->n, g->k, &one, g->a, ZK_CUBLAS_BF16, g->lda, g->b,
                                         ZK_CUBLAS_BF16, g->ldb, &g->beta, g->c,
                                         g->c_is_f32 ? ZK_CUBLAS_F32 : ZK_CUBLAS_BF16, g->ldc, ZK_CUBLAS_COMPUTE_F32,
                                         ZK_CUBLAS_ANY_ALGORITHM),
                         "cublasGemmEx");
}
