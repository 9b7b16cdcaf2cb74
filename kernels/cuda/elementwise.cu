// The addition of two arrays, and the product of one with a number, on a GPU, 16 bytes a thread.
#include "kernels/reduce.h"

#include "kernels/cuda/values.cuh"

template <typename T> __global__ void add_kernel(int64_t n, const T *a, const T *b, T *dst) {
  const int N = 16 / sizeof(T);
  const int64_t i = zk_first_value<N>();
  if (i >= n) return;
  zk_values<N> sum = zk_load_values<N>(a, i, n);
  const zk_values<N> more = zk_load_values<N>(b, i, n);
  for (int j = 0; j < N; j++) sum.at[j] = sum.at[j] + more.at[j];
  zk_store_values(dst, i, n, sum);
}

template <typename T> static zk_status add(zk_stream *stream, int64_t n, const void *a, const void *b, void *dst) {
  ZK_LAUNCH(add_kernel<T>, zk_value_blocks<16 / sizeof(T)>(n), ZK_VALUE_THREADS, 0, stream, n, (const T *)a,
            (const T *)b, (T *)dst);
  return ZK_OK;
}

zk_status zk_cuda_add(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *a, const void *b,
                      void *dst) {
  if (num_elements == 0) return ZK_OK;
  return numerics == ZK_F32 ? add<float>(stream, num_elements, a, b, dst)
                            : add<zk_bf16>(stream, num_elements, a, b, dst);
}

template <typename T> __global__ void scale_kernel(int64_t n, const T *a, float scale, T *dst) {
  const int N = 16 / sizeof(T);
  const int64_t i = zk_first_value<N>();
  if (i >= n) return;
  zk_values<N> v = zk_load_values<N>(a, i, n);
  for (int j = 0; j < N; j++) v.at[j] = v.at[j] * scale;
  zk_store_values(dst, i, n, v);
}

template <typename T> static zk_status multiply(zk_stream *stream, int64_t n, const void *a, float scale, void *dst) {
  ZK_LAUNCH(scale_kernel<T>, zk_value_blocks<16 / sizeof(T)>(n), ZK_VALUE_THREADS, 0, stream, n, (const T *)a, scale,
            (T *)dst);
  return ZK_OK;
}

zk_status zk_cuda_scale(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *a, float scale,
                        void *dst) {
  if (num_elements == 0) return ZK_OK;
  return numerics == ZK_F32 ? multiply<float>(stream, num_elements, a, scale, dst)
                            : multiply<zk_bf16>(stream, num_elements, a, scale, dst);
}
