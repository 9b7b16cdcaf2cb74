// SwiGLU on a GPU: 16 bytes of each array a thread, all read before any is written, so that outputs may lie on inputs.
#include "kernels/swiglu.h"

#include "kernels/cuda/sigmoid.cuh"
#include "kernels/cuda/values.cuh"

template <typename T>
__global__ void swiglu_forward_kernel(int64_t n, const T *gate, const T *up, T *out) {
  const int N = 16 / sizeof(T);
  const int64_t i = zk_first_value<N>();
  zk_wait_for_previous();
  zk_let_next_start();
  if (i >= n) return;
  zk_values<N> g = zk_load_values<N>(gate, i, n);
  const zk_values<N> u = zk_load_values<N>(up, i, n);
  float s[N];
  zk_sigmoid<N>(g.at, s);
  for (int j = 0; j < N; j++) g.at[j] = (g.at[j] * s[j]) * u.at[j];
  zk_store_values(out, i, n, g);
}

template <typename T>
__global__ void swiglu_backward_kernel(int64_t n, const T *gate, const T *up, const T *dout, T *dgate, T *dup) {
  const int N = 16 / sizeof(T);
  const int64_t i = zk_first_value<N>();
  if (i >= n) return;
  zk_values<N> g = zk_load_values<N>(gate, i, n), u = zk_load_values<N>(up, i, n);
  const zk_values<N> d = zk_load_values<N>(dout, i, n);
  float s[N];
  zk_sigmoid<N>(g.at, s);
  for (int j = 0; j < N; j++) {
    const float x = g.at[j], through = d.at[j] * u.at[j];
    u.at[j] = d.at[j] * (x * s[j]);
    g.at[j] = through * (s[j] * fmaf(x, 1.0f - s[j], 1.0f));
  }
  zk_store_values(dgate, i, n, g);
  zk_store_values(dup, i, n, u);
}

template <typename T>
static zk_status forward(zk_stream *stream, int64_t n, const T *gate, const T *up, T *out) {
  ZK_LAUNCH_DEPENDENT(swiglu_forward_kernel<T>, zk_value_blocks<16 / sizeof(T)>(n), ZK_VALUE_THREADS, 0, stream, n, gate, up, out);
  return ZK_OK;
}

template <typename T>
static zk_status backward(zk_stream *stream, int64_t n, const T *gate, const T *up, const T *dout, T *dgate, T *dup) {
  ZK_LAUNCH(swiglu_backward_kernel<T>, zk_value_blocks<16 / sizeof(T)>(n), ZK_VALUE_THREADS, 0, stream, n, gate, up, dout,
            dgate, dup);
  return ZK_OK;
}

zk_status zk_cuda_swiglu_forward(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *gate,
                                 const void *up, void *out) {
  if (num_elements == 0) return ZK_OK;
  return numerics == ZK_F32
             ? forward(stream, num_elements, (const float *)gate, (const float *)up, (float *)out)
             : forward(stream, num_elements, (const zk_bf16 *)gate, (const zk_bf16 *)up, (zk_bf16 *)out);
}

zk_status zk_cuda_swiglu_backward(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *gate,
                                  const void *up, const void *dout, void *dgate, void *dup) {
  if (num_elements == 0) return ZK_OK;
  if (numerics == ZK_F32)
    return backward(stream, num_elements, (const float *)gate, (const float *)up, (const float *)dout, (float *)dgate,
                    (float *)dup);
  return backward(stream, num_elements, (const zk_bf16 *)gate, (const zk_bf16 *)up, (const zk_bf16 *)dout,
                  (zk_bf16 *)dgate, (zk_bf16 *)dup);
}
