// Products by cuBLAS: the library found at run time, a handle for each stream, and our description turned into its column-major one.
#include "kernels/cuda/vendor.h"

#include "kernels/cuda/cuda.cuh"

#ifdef ZK_SIMT
zk_status zk_cuda_vendor_load(void) {
  return ZK_FAIL(
      ZK_UNSUPPORTED,
      "numerics: vendor computes with cuBLAS, which needs a GPU, and this one is emulated: use device: cpu, or "
      "numerics: bf16 or f32");
}
zk_status zk_cuda_vendor_gemm(zk_stream *stream, const zk_cuda_gemm *g) { return zk_cuda_vendor_load(); }
void zk_cuda_vendor_close(void *handle) {}
#else

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

// What we use of cublas_v2.h; enumerations are int. Compared with the toolkit's header where the build has it.
enum { PLAIN = 0, TRANSPOSED = 1, AS_F32 = 0, AS_BF16 = 14, COMPUTE_F32 = 68, ANY_ALGORITHM = -1 };
#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
static_assert(PLAIN == (int)CUBLAS_OP_N && TRANSPOSED == (int)CUBLAS_OP_T && AS_F32 == (int)CUDA_R_32F &&
                  AS_BF16 == (int)CUDA_R_16BF && COMPUTE_F32 == (int)CUBLAS_COMPUTE_32F &&
                  ANY_ALGORITHM == (int)CUBLAS_GEMM_DEFAULT && sizeof(cublasOperation_t) == sizeof(int),
              "cuBLAS has changed its numbers");
#endif

static struct {
  int (*create)(void **handle);
  int (*destroy)(void *handle);
  int (*set_stream)(void *handle, cudaStream_t stream);
  int (*gemm)(void *handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int a_as,
              int lda, const void *b, int b_as, int ldb, const void *beta, void *c, int c_as, int ldc, int compute,
              int algorithm);
  const char *(*text)(int status);
} blas; // gemm NULL: not there

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char reason[256]; // why it could not be loaded

// The system's path first, then where toolkits are installed.
static void *find_library(void) {
  static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
  const char *const homes[] = {"", getenv("CUDA_HOME"), getenv("CUDA_PATH"), "/usr/local/cuda"};
  for (size_t h = 0; h < sizeof homes / sizeof homes[0]; h++) {
    if (homes[h] == NULL) continue;
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
      char path[1024];
      snprintf(path, sizeof path, "%s%s%s", homes[h], homes[h][0] != '\0' ? "/lib64/" : "", names[n]);
      void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
      if (handle != NULL) return handle;
      const char *error = dlerror();
      if (reason[0] == '\0') snprintf(reason, sizeof reason, "%s", error);
    }
  }
  return NULL;
}

static void load(void) {
  void *library = find_library();
  if (library == NULL) return;
  *(void **)&blas.create = dlsym(library, "cublasCreate_v2");
  *(void **)&blas.destroy = dlsym(library, "cublasDestroy_v2");
  *(void **)&blas.set_stream = dlsym(library, "cublasSetStream_v2");
  *(void **)&blas.text = dlsym(library, "cublasGetStatusString");
  if (blas.create != NULL && blas.destroy != NULL && blas.set_stream != NULL && blas.text != NULL)
    *(void **)&blas.gemm = dlsym(library, "cublasGemmEx");
  if (blas.gemm == NULL) snprintf(reason, sizeof reason, "it is too old");
}

zk_status zk_cuda_vendor_load(void) {
  pthread_once(&once, load);
  if (blas.gemm != NULL) return ZK_OK;
  return ZK_FAIL(ZK_UNSUPPORTED,
                 "numerics: vendor on a GPU computes with cuBLAS, which cannot be loaded (%s): install it (Debian, "
                 "Ubuntu: libcublas-13-0 of "
                 "NVIDIA's packages; pip: nvidia-cublas), set CUDA_HOME or LD_LIBRARY_PATH to where it is, or use "
                 "numerics: bf16 or f32",
                 reason);
}

static zk_status check(int status, const char *call) {
  return status == 0 ? ZK_OK : ZK_FAIL(ZK_DEVICE, "cuBLAS: %s in %s", blas.text(status), call);
}

static zk_status handle_of(zk_stream *stream, void **out) {
  void **handle = zk_cuda_vendor_handle(stream);
  if (*handle == NULL) {
    ZK_TRY(zk_cuda_vendor_load());
    ZK_TRY(check(blas.create(handle), "cublasCreate"));
    ZK_TRY(check(blas.set_stream(*handle, zk_cuda_stream(stream)), "cublasSetStream"));
  }
  *out = *handle;
  return ZK_OK;
}

void zk_cuda_vendor_close(void *handle) {
  if (handle != NULL) (void)blas.destroy(handle);
}

// c[i][j] = bias[j] + addend[i][j], either of which may be absent.
template <class T> static __global__ void begin_kernel(zk_cuda_gemm g) {
  const int64_t at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, i = at / g.n, j = at % g.n;
  if (i >= g.m) return;
  float sum = g.bias != NULL ? zk_load((const zk_bf16 *)g.bias, j) : 0.0f;
  if (g.addend != NULL) sum = sum + zk_load((const T *)g.addend, i * g.ldaddend + j);
  zk_store((T *)g.c, i * g.ldc + j, sum);
}

zk_status zk_cuda_vendor_gemm(zk_stream *stream, const zk_cuda_gemm *g) {
  void *handle = NULL;
  ZK_TRY(handle_of(stream, &handle));
  const bool is_f32 = g->c_as == ZK_F32;
  if (g->bias != NULL || (g->addend != NULL && g->addend != g->c)) {
    const unsigned threads = 256, grid = (unsigned)zk_ceil_div(g->m * g->n, threads);
    if (is_f32) ZK_LAUNCH((begin_kernel<float>), grid, threads, 0, stream, *g);
    else ZK_LAUNCH((begin_kernel<zk_bf16>), grid, threads, 0, stream, *g);
  }
  // Row-major c is column-major c^T = b a^T.
  const float alpha = 1.0f, beta = g->bias != NULL || g->addend != NULL ? 1.0f : 0.0f;
  return check(blas.gemm(handle, g->b_outer ? PLAIN : TRANSPOSED, g->a_outer ? TRANSPOSED : PLAIN, (int)g->n, (int)g->m,
                         (int)g->k, &alpha, g->b, AS_BF16, (int)g->ldb, g->a, AS_BF16, (int)g->lda, &beta, g->c,
                         is_f32 ? AS_F32 : AS_BF16, (int)g->ldc, COMPUTE_F32, ANY_ALGORITHM),
               "cublasGemmEx");
}
#endif
