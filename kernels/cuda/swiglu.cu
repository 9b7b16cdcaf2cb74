// SwiGLU on a GPU: 16 bytes of each array a thread, all read before any is written, so that outputs may lie on inputs.
#include "kernels/swiglu.h"

#include "kernels/cuda/sigmoid.cuh"
#include "kernels/cuda/values.cuh"

template <typename T> __global__ void swiglu_forward_kernel(int64_t n, const T *gate, const T *up, T *out) {
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

// bf16, all three arrays at multiples of 16 bytes and n a multiple of 8: nothing stands between the loads.
static __global__ void __launch_bounds__(ZK_VALUE_THREADS)
    swiglu_forward_whole_kernel(int64_t n, const zk_bf16 *gate, const zk_bf16 *up, zk_bf16 *out) {
  const int64_t i = zk_first_value<8>();
  zk_wait_for_previous();
  zk_let_next_start();
  if (i >= n) return;
  zk_words<4> words = *(const zk_words<4> *)(gate + i);
  const zk_words<4> u = *(const zk_words<4> *)(up + i);
  float g[8], s[8];
#pragma unroll
  for (int j = 0; j < 4; j++) g[2 * j] = zk_low_bf16(words.w[j]), g[2 * j + 1] = zk_high_bf16(words.w[j]);
  zk_sigmoid<8>(g, s);
#pragma unroll
  for (int j = 0; j < 4; j++)
    words.w[j] =
        zk_pack_bf16((g[2 * j] * s[2 * j]) * zk_low_bf16(u.w[j]), (g[2 * j + 1] * s[2 * j + 1]) * zk_high_bf16(u.w[j]));
  *(zk_words<4> *)(out + i) = words;
}

template <typename T>
__global__ void swiglu_backward_kernel(int64_t n, const T *gate, const T *up, const T *dout, T *dgate, T *dup) {
  const int N = 16 / sizeof(T);
  const int64_t i = zk_first_value<N>();
  zk_wait_for_previous();
  zk_let_next_start();
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

// The same backwards, likewise.
static __global__ void __launch_bounds__(ZK_VALUE_THREADS)
    swiglu_backward_whole_kernel(int64_t n, const zk_bf16 *gate, const zk_bf16 *up, const zk_bf16 *dout, zk_bf16 *dgate, zk_bf16 *dup) {
  const int64_t i = zk_first_value<8>();
  zk_wait_for_previous();
  zk_let_next_start();
  if (i >= n) return;
  zk_words<4> gates = *(const zk_words<4> *)(gate + i), ups = *(const zk_words<4> *)(up + i);
  const zk_words<4> outs = *(const zk_words<4> *)(dout + i);
  float g[8], s[8];
#pragma unroll
  for (int j = 0; j < 4; j++) g[2 * j] = zk_low_bf16(gates.w[j]), g[2 * j + 1] = zk_high_bf16(gates.w[j]);
  zk_sigmoid<8>(g, s);
#pragma unroll
  for (int j = 0; j < 4; j++) {
    const float d[2] = {zk_low_bf16(outs.w[j]), zk_high_bf16(outs.w[j])}, u[2] = {zk_low_bf16(ups.w[j]), zk_high_bf16(ups.w[j])};
    float of_gate[2], of_up[2];
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const float x = g[2 * j + e], y = s[2 * j + e], through = d[e] * u[e];
      of_up[e] = d[e] * (x * y);
      of_gate[e] = through * (y * fmaf(x, 1.0f - y, 1.0f));
    }
    gates.w[j] = zk_pack_bf16(of_gate[0], of_gate[1]), ups.w[j] = zk_pack_bf16(of_up[0], of_up[1]);
  }
  *(zk_words<4> *)(dgate + i) = gates;
  *(zk_words<4> *)(dup + i) = ups;
}

template <typename T> static zk_status forward(zk_stream *stream, int64_t n, const T *gate, const T *up, T *out) {
  ZK_LAUNCH_DEPENDENT(swiglu_forward_kernel<T>, zk_value_blocks<16 / sizeof(T)>(n), ZK_VALUE_THREADS, 0, stream, n,
                      gate, up, out);
  return ZK_OK;
}

template <typename T>
static zk_status backward(zk_stream *stream, int64_t n, const T *gate, const T *up, const T *dout, T *dgate, T *dup) {
  ZK_LAUNCH_DEPENDENT(swiglu_backward_kernel<T>, zk_value_blocks<16 / sizeof(T)>(n), ZK_VALUE_THREADS, 0, stream, n, gate, up,
            dout, dgate, dup);
  return ZK_OK;
}

zk_status zk_cuda_swiglu_forward(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *gate,
                                 const void *up, void *out) {
  if (num_elements == 0) return ZK_OK;
  if (numerics != ZK_F32 && num_elements % 8 == 0 && ((uintptr_t)gate | (uintptr_t)up | (uintptr_t)out) % 16 == 0) {
    ZK_LAUNCH_DEPENDENT(swiglu_forward_whole_kernel, zk_value_blocks<8>(num_elements), ZK_VALUE_THREADS, 0, stream,
                        num_elements, (const zk_bf16 *)gate, (const zk_bf16 *)up, (zk_bf16 *)out);
    return ZK_OK;
  }
  return numerics == ZK_F32 ? forward(stream, num_elements, (const float *)gate, (const float *)up, (float *)out)
                            : forward(stream, num_elements, (const zk_bf16 *)gate, (const zk_bf16 *)up, (zk_bf16 *)out);
}

zk_status zk_cuda_swiglu_backward(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *gate,
                                  const void *up, const void *dout, void *dgate, void *dup) {
  if (num_elements == 0) return ZK_OK;
  if (numerics == ZK_F32)
    return backward(stream, num_elements, (const float *)gate, (const float *)up, (const float *)dout, (float *)dgate,
                    (float *)dup);
  const uintptr_t all = (uintptr_t)gate | (uintptr_t)up | (uintptr_t)dout | (uintptr_t)dgate | (uintptr_t)dup;
  if (num_elements % 8 == 0 && all % 16 == 0) {
    ZK_LAUNCH_DEPENDENT(swiglu_backward_whole_kernel, zk_value_blocks<8>(num_elements), ZK_VALUE_THREADS, 0, stream, num_elements, (const zk_bf16 *)gate,
                        (const zk_bf16 *)up, (const zk_bf16 *)dout, (zk_bf16 *)dgate, (zk_bf16 *)dup);
    return ZK_OK;
  }
  return backward(stream, num_elements, (const zk_bf16 *)gate, (const zk_bf16 *)up, (const zk_bf16 *)dout,
                  (zk_bf16 *)dgate, (zk_bf16 *)dup);
}
