// Rotary position embedding on a GPU: a thread turns four neighbouring elements of a head's first half with their partners.
#include "kernels/rope.h"

#include "kernels/cuda/values.cuh"

#define THREADS 128
#define N 4 // elements of each half a thread has

// x [T, num_heads, 2 half] in place; blockIdx.x is the token, blockIdx.y counts its groups of N; sign is +1 or -1 (backward).
template <typename T>
__global__ void rope_kernel(int32_t num_heads, int32_t half, float sign, const int32_t *positions,
                            const float *cos_table, const float *sin_table, T *x) {
  const int32_t groups = (half + N - 1) / N; // of a head
  const int32_t group = blockIdx.y * THREADS + threadIdx.x, head = group / groups, i = group % groups * N;
  if (head >= num_heads) return;
  const int64_t token = blockIdx.x, row = (int64_t)positions[token] * half;
  T *lower = x + (token * num_heads + head) * 2 * half, *upper = lower + half;
  const zk_values<N> c = zk_load_values<N>(cos_table + row, i, half), s = zk_load_values<N>(sin_table + row, i, half);
  zk_values<N> a = zk_load_values<N>(lower, i, half), b = zk_load_values<N>(upper, i, half);
  for (int j = 0; j < N; j++) {
    const float first = a.at[j], second = b.at[j], sine = sign * s.at[j];
    a.at[j] = fmaf(-second, sine, first * c.at[j]);
    b.at[j] = fmaf(first, sine, second * c.at[j]);
  }
  zk_store_values(lower, i, half, a);
  zk_store_values(upper, i, half, b);
}

static zk_status rotate(zk_stream *stream, const zk_rope_desc *desc, float sign, const int32_t *positions,
                        const float *cos_table, const float *sin_table, void *x) {
  if (desc->num_rows == 0) return ZK_OK;
  const int32_t half = desc->head_dim / 2, groups = desc->num_heads * (int32_t)zk_ceil_div(half, N);
  const dim3 grid((unsigned)desc->num_rows, (unsigned)zk_ceil_div(groups, THREADS));
  if (desc->numerics == ZK_F32)
    ZK_LAUNCH(rope_kernel<float>, grid, THREADS, 0, stream, desc->num_heads, half, sign, positions, cos_table, sin_table,
              (float *)x);
  else
    ZK_LAUNCH(rope_kernel<zk_bf16>, grid, THREADS, 0, stream, desc->num_heads, half, sign, positions, cos_table,
              sin_table, (zk_bf16 *)x);
  return ZK_OK;
}

zk_status zk_cuda_rope_forward(zk_stream *stream, const zk_rope_desc *desc, const int32_t *positions,
                               const float *cos_table, const float *sin_table, void *x) {
  return rotate(stream, desc, 1.0f, positions, cos_table, sin_table, x);
}

zk_status zk_cuda_rope_backward(zk_stream *stream, const zk_rope_desc *desc, const int32_t *positions,
                                const float *cos_table, const float *sin_table, void *dx) {
  return rotate(stream, desc, -1.0f, positions, cos_table, sin_table, dx);
}
