// AdamW on a GPU: four elements a thread; the working copy is rounded to what it is stored as.
#include "kernels/cuda/adamw_math.cuh"
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
  for (int j = 0; j < N; j++) zk_adamw_element(q, decay, gradient.at[j], w.at[j], first.at[j], second.at[j]);
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
