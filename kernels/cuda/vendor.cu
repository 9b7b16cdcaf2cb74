// Products by cuBLAS: a handle for each stream, and our description turned into its column-major one.
#include "kernels/cuda/vendor.h"

#include "kernels/cuda/cublas.h"
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

zk_status zk_cuda_vendor_load(void) {
  const zk_cublas *blas;
  return zk_cublas_load(&blas);
}

static zk_status handle_of(zk_stream *stream, void **out) {
  void **handle = zk_cuda_vendor_handle(stream);
  if (*handle == NULL) {
    const zk_cublas *blas;
    ZK_TRY(zk_cublas_load(&blas));
    ZK_TRY(zk_cublas_check(blas->create(handle), "cublasCreate"));
    ZK_TRY(zk_cublas_check(blas->set_stream(*handle, zk_cuda_stream(stream)), "cublasSetStream"));
  }
  *out = *handle;
  return ZK_OK;
}

void zk_cuda_vendor_close(void *handle) {
  const zk_cublas *blas;
  if (handle != NULL && zk_cublas_load(&blas) == ZK_OK) (void)blas->destroy(handle);
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
  zk_cublas_gemm product = {};
  product.transpose_a = !g->b_outer, product.transpose_b = g->a_outer;
  product.m = (int)g->n, product.n = (int)g->m, product.k = (int)g->k;
  product.a = g->b, product.lda = (int)g->ldb;
  product.b = g->a, product.ldb = (int)g->lda;
  product.c = g->c, product.ldc = (int)g->ldc, product.c_is_f32 = is_f32;
  product.beta = g->bias != NULL || g->addend != NULL ? 1.0f : 0.0f;
  return zk_cublas_gemm_run(handle, &product);
}
#endif
