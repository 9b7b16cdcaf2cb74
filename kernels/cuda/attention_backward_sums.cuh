// The summing warpgroups of the fused attention backward (attention_backward_fused.cuh): dk and dv of 64 of a unit's
// keys each, over its steps. Of P and dS, as the scoring warpgroup left them in shared memory, all by wgmma:
//   dV += P^T dO
//   dK += dS^T Q
#ifndef ZK_KERNELS_CUDA_ATTENTION_BACKWARD_SUMS_CUH
#define ZK_KERNELS_CUDA_ATTENTION_BACKWARD_SUMS_CUH

#include "kernels/cuda/attention_backward_store.cuh"

// x += a^T b, of 64 keys and a step's rows; from +0 if `from_zero`.
template <int D>
static __device__ __forceinline__ void zk_fused_sum(float (&x)[D / 2], uint64_t a, const zk_bf16 *rows,
                                                    bool from_zero) {
  const uint64_t b = zk_wgmma_outer(rows, ZK_FUSED_ROWS * 128);
  zk_wgmma_begin();
#pragma unroll
  for (int k = 0; k < 4; ++k)
    zk_wgmma<true, true>(x, zk_wgmma_step<true>(a, k), zk_wgmma_step<true>(b, k), k > 0 || !from_zero);
  zk_wgmma_commit();
}

// One unit; `step` counts the block's steps before it.
template <int D>
static __device__ __forceinline__ void zk_fused_sum_unit(const zk_fused &f, const zk_fused_unit &u, int step,
                                                         zk_fused_shared<D> *shared) {
  const int w = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0) - 2, t = (int)threadIdx.x % 128, lane = t % 32;
  const size_t mine =
      ((size_t)u.head * (size_t)f.num_tiles + (size_t)u.tile) * (ZK_FUSED_KEYS * D) + (size_t)(w * (64 * D) + t * 4);
  const uint64_t p_columns = zk_wgmma_outer(shared->p[w], 0), ds_columns = zk_wgmma_outer(shared->ds[w], 0);
  float dk[D / 2], dv[D / 2];
  zk_wgmma_forget(dk), zk_wgmma_forget(dv);
  for (int i = 0; i < u.num_steps;) { // a part
    const int first = i, whole = (ZK_ATTN_PART - (u.key + i * ZK_FUSED_ROWS) % ZK_ATTN_PART) / ZK_FUSED_ROWS,
              end = u.num_steps - i < whole ? u.num_steps : i + whole;
#pragma unroll 1
    for (; i < end; ++i) {
      const int stage = (step + i) & 1;
      const uint32_t parity = (uint32_t)((step + i) >> 1 & 1), round = (uint32_t)stage;
      zk_mbar_wait(&shared->rows_full[stage], parity);
      zk_mbar_wait(&shared->p_full, round);
      zk_fused_sum<D>(dv, p_columns, shared->dout[stage][0], i == first);
      zk_wgmma_wait<0>();
      if (lane == 0) zk_mbar_arrive(&shared->p_empty);
      zk_mbar_wait(&shared->ds_full, round);
      zk_fused_sum<D>(dk, ds_columns, shared->q[stage][0], i == first);
      zk_wgmma_wait<0>();
      if (lane == 0) zk_mbar_arrive(&shared->ds_empty), zk_mbar_arrive(&shared->rows_empty[stage]);
    }
    zk_wgmma_settle(dk), zk_wgmma_settle(dv);
    zk_fused_put(f.dk_sums + mine, dk, first > 0), zk_fused_put(f.dv_sums + mine, dv, first > 0);
  }
  if (zk_fused_joins<D>(f, u, shared)) {
    zk_fused_join<D>(f, u, f.dk_sums, f.at.scale, f.dk);
    zk_fused_join<D>(f, u, f.dv_sums, 1.0f, f.dv);
  }
}

#endif
