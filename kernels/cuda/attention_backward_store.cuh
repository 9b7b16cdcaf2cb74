// Where dk and dv of the fused attention backward go (attention_backward_fused.cuh), by the two warpgroups that hold
// them: to the sums of their head, and those of a group's last unit to dk and dv.
#ifndef ZK_KERNELS_CUDA_ATTENTION_BACKWARD_STORE_CUH
#define ZK_KERNELS_CUDA_ATTENTION_BACKWARD_STORE_CUH

#include "kernels/cuda/attention_backward_fused.cuh"

// dk or dv as it stands, to its place in `to`; added to what lies there if `more`.
template <int N> static __device__ __forceinline__ void zk_fused_put(float *to, const float (&x)[N], bool more) {
#pragma unroll
  for (int r = 0; r < N / 4; ++r) {
    float4 y = make_float4(x[4 * r], x[4 * r + 1], x[4 * r + 2], x[4 * r + 3]);
    float4 *at = (float4 *)(to + 512 * r);
    if (more) {
      const float4 z = *at;
      y = make_float4(z.x + y.x, z.y + y.y, z.z + y.z, z.w + y.w);
    }
    *at = y;
  }
}

// Whether this unit is the last of its tile whose sums have been put away. By all threads of both.
template <int D>
static __device__ __forceinline__ bool zk_fused_joins(const zk_fused &f, const zk_fused_unit &u,
                                                      zk_fused_shared<D> *shared) {
  __threadfence();
  zk_barrier(1, ZK_FUSED_SUM_WARPS * 32);
  if (threadIdx.x == 256) {
    shared->joins =
        atomicAdd(f.num_heads_done + u.head / f.at.group * f.num_tiles + u.tile, 1u) + 1 == (uint32_t)f.at.group;
    __threadfence();
  }
  zk_barrier(1, ZK_FUSED_SUM_WARPS * 32);
  return shared->joins != 0;
}

// dk or dv of a unit's tile: the group's sums, heads added ascending. A thread has of each 16 bytes what it has of its
// own; some of them at a time, so that their loads are on their way together.
template <int D>
static __device__ __forceinline__ void zk_fused_join(const zk_fused &f, const zk_fused_unit &u, const float *sums,
                                                     float scale, zk_bf16 *out) {
  constexpr int at_once = 8;
  const int w = (int)threadIdx.x / 128 - 2, t = (int)threadIdx.x % 128, kv_head = u.head / f.at.group;
  const int key = u.key + 64 * w + t / 32 * 16 + t % 32 / 4;
  const size_t head = (size_t)f.num_tiles * (ZK_FUSED_KEYS * D), row = (size_t)f.at.num_kv_heads * D;
  const float *from = sums + (size_t)(kv_head * f.at.group) * head + (size_t)u.tile * (ZK_FUSED_KEYS * D) +
                      (size_t)(w * (64 * D) + t * 4);
  zk_bf16 *to = out + (size_t)(u.row_start + key) * row + (size_t)(kv_head * D + t % 4 * 2);
#pragma unroll 1
  for (int r = 0; r < D / 8; r += at_once, from += 512 * at_once, to += 8 * at_once) {
    float4 x[at_once];
#pragma unroll
    for (int i = 0; i < at_once; ++i) x[i] = __ldcg((const float4 *)(from + 512 * i));
#pragma unroll 1
    for (int g = 1; g < f.at.group; ++g) {
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const float4 y = __ldcg((const float4 *)(from + (size_t)g * head + 512 * i));
        x[i] = make_float4(x[i].x + y.x, x[i].y + y.y, x[i].z + y.z, x[i].w + y.w);
      }
    }
#pragma unroll
    for (int i = 0; i < at_once; ++i) {
      uint32_t *at = (uint32_t *)(to + 8 * i), *below = (uint32_t *)(to + 8 * row + 8 * i);
      if (key < u.num_rows) *at = zk_pack_bf16((x[i].x + 0.0f) * scale, (x[i].y + 0.0f) * scale);
      if (key + 8 < u.num_rows) *below = zk_pack_bf16((x[i].z + 0.0f) * scale, (x[i].w + 0.0f) * scale);
    }
  }
}

#endif
