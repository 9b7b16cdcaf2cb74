// Where the results of the fused attention backward go (attention_backward_fused.cuh), by the computing warpgroups: dq
// to the sum of the tiles before, dk and dv to the sums of their head, and those of a group's last unit to dk and dv.
#ifndef ZK_KERNELS_CUDA_ATTENTION_BACKWARD_STORE_CUH
#define ZK_KERNELS_CUDA_ATTENTION_BACKWARD_STORE_CUH

#include "kernels/cuda/attention_backward_fused.cuh"

#ifndef ZK_SIMT

// This warpgroup's columns of a step's dq, to the sum of the tiles before.
template <int D>
static __device__ __forceinline__ void zk_fused_add_dq(const zk_fused &f, const zk_fused_unit &u, int step, int i,
                                                       float (&dq)[D / 4], zk_fused_shared<D> *shared) {
  const int w = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0) - 1, t = (int)threadIdx.x % 128, lane = t % 32;
  const int stage = (step + i) & 1, pos = u.key + i * ZK_FUSED_ROWS;
  zk_mbar_wait(&shared->dq_full[stage][w], (uint32_t)((step + i) >> 1 & 1));
  float4 *sum = (float4 *)(shared->dq[stage][w] + t * 4);
  if (u.key > 0) {
#pragma unroll
    for (int r = 0; r < D / 16; ++r) {
      const float4 z = sum[128 * r];
      dq[4 * r] = z.x + dq[4 * r], dq[4 * r + 1] = z.y + dq[4 * r + 1];
      dq[4 * r + 2] = z.z + dq[4 * r + 2], dq[4 * r + 3] = z.w + dq[4 * r + 3];
    }
  }
  if (i >= 2) {
#pragma unroll
    for (int r = 0; r < D / 16; ++r) sum[128 * r] = make_float4(dq[4 * r], dq[4 * r + 1], dq[4 * r + 2], dq[4 * r + 3]);
    zk_fence_async();
  } else { // this is the last tile that these rows see
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int row = pos + t / 32 * 16 + lane / 4 + 8 * e;
      uint32_t *to = (uint32_t *)(f.dq + ((size_t)(u.row_start + row) * (size_t)f.at.num_heads + (size_t)u.head) * D +
                                  D / 2 * w + lane % 4 * 2);
      if (row >= u.num_rows) continue;
#pragma unroll
      for (int r = 0; r < D / 16; ++r)
        to[4 * r] = zk_pack_bf16((dq[4 * r + 2 * e] + 0.0f) * f.at.scale, (dq[4 * r + 2 * e + 1] + 0.0f) * f.at.scale);
    }
  }
  __syncwarp();
  if (lane == 0) zk_mbar_arrive(&shared->dq_done[stage][w]);
}

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

// Whether this unit is the last of its tile whose sums have been put away. By all computing threads.
template <int D>
static __device__ __forceinline__ bool zk_fused_joins(const zk_fused &f, const zk_fused_unit &u,
                                                      zk_fused_shared<D> *shared) {
  __threadfence();
  zk_barrier(1, ZK_FUSED_COMPUTING);
  if (threadIdx.x == 128) {
    shared->joins =
        atomicAdd(f.num_heads_done + u.head / f.at.group * f.num_tiles + u.tile, 1u) + 1 == (uint32_t)f.at.group;
    __threadfence();
  }
  zk_barrier(1, ZK_FUSED_COMPUTING);
  return shared->joins != 0;
}

// dk or dv of a unit's tile: the group's sums, heads added ascending. A thread has of each 16 bytes what it has of its
// own.
template <int D>
static __device__ __forceinline__ void zk_fused_join(const zk_fused &f, const zk_fused_unit &u, const float *sums,
                                                     float scale, zk_bf16 *out) {
  const int w = (int)threadIdx.x / 128 - 1, t = (int)threadIdx.x % 128, kv_head = u.head / f.at.group;
  const int key = u.key + 64 * w + t / 32 * 16 + t % 32 / 4;
  const size_t head = (size_t)f.num_tiles * (ZK_FUSED_KEYS * D), row = (size_t)f.at.num_kv_heads * D;
  const float *from = sums + (size_t)(kv_head * f.at.group) * head + (size_t)u.tile * (ZK_FUSED_KEYS * D) +
                      (size_t)(w * (64 * D) + t * 4);
  zk_bf16 *to = out + (size_t)(u.row_start + key) * row + (size_t)(kv_head * D + t % 4 * 2);
#pragma unroll 4
  for (int r = 0; r < D / 8; ++r) {
    float4 x = __ldcg((const float4 *)(from + 512 * r));
    for (int g = 1; g < f.at.group; ++g) {
      const float4 y = __ldcg((const float4 *)(from + (size_t)g * head + 512 * r));
      x = make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w);
    }
    if (key < u.num_rows) *(uint32_t *)(to + 8 * r) = zk_pack_bf16((x.x + 0.0f) * scale, (x.y + 0.0f) * scale);
    if (key + 8 < u.num_rows)
      *(uint32_t *)(to + 8 * row + 8 * r) = zk_pack_bf16((x.z + 0.0f) * scale, (x.w + 0.0f) * scale);
  }
}

#endif
#endif
