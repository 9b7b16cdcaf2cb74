// What the splits of a row weigh when they are merged (kernels/README.md, bf16 attention), computed by lanes at once:
// a split's factors want the smallest reference b up to it, which is a scan, and not the sums before it. The walk over
// the splits that follows, ascending, is then all that is a chain.
#ifndef ZK_KERNELS_CUDA_ATTENTION_FACTORS_CUH
#define ZK_KERNELS_CUDA_ATTENTION_FACTORS_CUH

#include "kernels/cuda/attention_bf16.cuh"

// Of one split, in the lane that has it: N, the smallest b up to it; A and a; its own l; whether it is the row's first
// with a b, and so copied.
struct zk_merge_factors {
  float n, of_total, of_split, l;
  bool copied;
};

// Lane i has split i, of SPLITS at most, and its b and l (INFINITY and 0 where there is none); B is the smallest of
// the splits before them. All threads of a warp call it, WIDTH of them a row.
template <int SPLITS, int WIDTH>
static __device__ __forceinline__ zk_merge_factors zk_merge_scan(const zk_attn_exp_bf16 &weight, float b, float l,
                                                                 float B) {
  const int32_t lane = (int32_t)threadIdx.x % WIDTH;
  float n = b;
  for (int distance = 1; distance < SPLITS; distance *= 2) {
    const float left = __shfl_up_sync(0xffffffffu, n, (unsigned)distance, WIDTH);
    if (lane >= distance && left < n) n = left;
  }
  n = B < n ? B : n;
  float before = __shfl_up_sync(0xffffffffu, n, 1, WIDTH);
  if (lane == 0) before = B;
  const bool copied = before == INFINITY;
  const float A = weight(before, n), a = weight(b, n);
  return {n, A, a, l, copied};
}

// Those of the split that lane i has, in all lanes of its row.
template <int WIDTH>
static __device__ __forceinline__ zk_merge_factors zk_merge_factors_at(const zk_merge_factors &f, int i) {
  const float A = __shfl_sync(0xffffffffu, f.of_total, i, WIDTH), a = __shfl_sync(0xffffffffu, f.of_split, i, WIDTH),
              l = __shfl_sync(0xffffffffu, f.l, i, WIDTH);
  const bool copied = __shfl_sync(0xffffffffu, (int)f.copied, i, WIDTH) != 0;
  return {f.n, A, a, l, copied};
}

// A sum, L or O, after the split whose own is x.
static __device__ __forceinline__ float zk_merge_sum(const zk_merge_factors &f, float sum, float x) {
  return f.copied ? x : fmaf(sum, f.of_total, x * f.of_split);
}

#endif
