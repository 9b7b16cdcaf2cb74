// AdamW on a GPU: four elements a thread; the working copy is rounded to what it is stored as.
#include "kernels/adamw.h"

#include "kernels/cuda/values.cuh"

#define N 4

template <typename T>
__global__ void adamw_kernel(zk_adamw_params q, float decay, int64_t n, float *master, float *m, float *v,
                             const float *grad, T *working) {
  const int64_t i = zk_first_value<N>();
  if (i >= n) return;
  zk_values<N> w = zk_load_values<N>(master, i, n), first = zk_load_values<N>(m, i, n);
  zk_values<N> second = zk_load_values<N>(v, i, n);
  const zk_values<N> gradient = zk_load_values<N>(grad, i, n);
  for (int j = 0; j < N; j++) {
    const float g = gradient.at[j] * q.grad_scale;
    first.at[j] = fmaf(q.beta1, first.at[j], q.one_minus_beta1 * g);
    second.at[j] = fmaf(q.beta2, second.at[j], (q.one_minus_beta2 * g) * g);
    const float direction = (first.at[j] / q.bias1) / (sqrtf(second.at[j] / q.bias2) + q.eps);
    w.at[j] = fmaf(-q.lr, direction, w.at[j] * decay);
  }
  zk_store_values(m, i, n, first);
  zk_store_values(v, i, n, second);
  zk_store_values(master, i, n, w);
  zk_store_values(working, i, n, w);
}

zk_status zk_cuda_adamw(zk_stream *stream, zk_numerics numerics, const zk_adamw_params *params, int decays,
                        int64_t num_elements, float *master, float *m, float *v, const float *grad, void *working) {
  if (num_elements == 0) return ZK_OK;
  const float decay = decays ? params->decay : 1.0f; // times 1: no rounding
  if (numerics == ZK_F32)
    ZK_LAUNCH(adamw_kernel<float>, zk_value_blocks<N>(num_elements), ZK_VALUE_THREADS, 0, stream, *params, decay,
              num_elements, master, m, v, grad, (float *)working);
  else
    ZK_LAUNCH(adamw_kernel<zk_bf16>, zk_value_blocks<N>(num_elements), ZK_VALUE_THREADS, 0, stream, *params, decay,
              num_elements, master, m, v, grad, (zk_bf16 *)working);
  return ZK_OK;
}
