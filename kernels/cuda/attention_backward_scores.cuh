// The scoring warpgroup of the fused attention backward (attention_backward_fused.cuh). Of each step's 64 query rows by
// the unit's 128 keys, all by wgmma:
//   S = Q K^T        while dq of the step before is handed on
//   dP = dO V^T      while the exponentials of S are computed
//   dQ = dS K        over the tile's 128 keys from +0
// P and dS go to shared memory in bf16, where the summing warpgroups and dQ read them. S of the next step follows dQ at
// once. Only then may the summing warpgroups multiply dS, which has time until the next one comes: dQ and S are what
// the exponentials wait for.
//
// Thread t of the warpgroup holds of S, with g = t % 32 / 4 and c = t % 4 * 2, of rows 16 (t / 32) + g and + 8 the keys
// 8 j + c and the next: wgmma.cuh.
#ifndef ZK_KERNELS_CUDA_ATTENTION_BACKWARD_SCORES_CUH
#define ZK_KERNELS_CUDA_ATTENTION_BACKWARD_SCORES_CUH

#include "kernels/cuda/attention_backward_fused.cuh"

#ifndef ZK_SIMT

// zk_exp2f's operations, the largest of two and the shift by one instruction each; the bits are the same for all x.
static __device__ __forceinline__ float zk_fused_exp2(float x) {
  asm("max.NaN.f32 %0, %0, 0fC2FC0000;" : "+f"(x)); // -126
  const float t = x + ZK_MATH_ROUND_F;
  const float p = zk_math_exp2_near(x - (t - ZK_MATH_ROUND_F), ZK_MATH_EXP2_SLOPE);
  return p * zk_bits_float((zk_float_bits(t) << 23) + 0x3f800000u); // the low bits of ROUND are 0
}

// Zeros in rows `first` .. of a pair of tiles of `rows` rows: what lies behind a sequence is another's, and takes no
// part, not even times 0. By the whole warpgroup.
template <int D>
static __device__ __forceinline__ void zk_fused_clear(zk_bf16 *a, zk_bf16 *b, int32_t first, int32_t rows) {
  for (int32_t i = (int32_t)threadIdx.x % 128; i < (rows - first) * (D / 4); i += 128) {
    const int32_t r = first + i / (D / 4), piece = i % (D / 8);
    *(zk_vec16 *)((i % (D / 4) < D / 8 ? a : b) + piece / 8 * (rows * 64) + r * 64 + piece % 8 * 8) = {{0, 0, 0, 0}};
  }
  zk_fence_async();
  zk_barrier(2, 128);
}

// rows of a step by the tile's keys, over D: x = rows keys^T.
template <int D>
static __device__ __forceinline__ void zk_fused_scores(float (&x)[64], const zk_bf16 *rows, const zk_bf16 *keys) {
  const uint64_t a = zk_wgmma_inner(rows), b = zk_wgmma_inner(keys);
  zk_wgmma_begin();
#pragma unroll
  for (int k = 0; k < D / 16; ++k)
    zk_wgmma<false, false>(x, a + (uint64_t)((k / 4 * (ZK_FUSED_ROWS * 128) + k % 4 * 32) >> 4),
                           b + (uint64_t)((k / 4 * (ZK_FUSED_KEYS * 128) + k % 4 * 32) >> 4), k > 0);
  zk_wgmma_commit();
}

// A warp's 16 rows by the tile's keys, rounded, to the two halves of P or dS: swizzled as wgmma reads them.
static __device__ __forceinline__ void zk_fused_place(zk_bf16 *to, const float (&x)[64], int warp, int lane) {
  const int row = warp * 16 + lane % 16;
#pragma unroll
  for (int k = 0; k < 8; ++k) { // keys 16 k ..
    uint32_t y[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) y[e] = zk_pack_bf16(x[8 * k + 2 * e], x[8 * k + 2 * e + 1]);
    zk_store_matrices(to + k / 4 * (ZK_FUSED_ROWS * 64) + row * 64 + ((2 * (k % 4) + lane / 16) ^ (row % 8)) * 8, y);
  }
  zk_fence_async();
}

// One unit, the block's number `turn`; `step` counts the block's steps before it.
template <int D>
static __device__ __forceinline__ void zk_fused_score(const zk_fused &f, const zk_fused_unit &u, int turn, int step,
                                                      zk_fused_shared<D> *shared) {
  const int t = (int)threadIdx.x % 128, lane = t % 32, warp = t / 32, my_row = warp * 16 + lane / 4;
  const uint64_t k_columns = zk_wgmma_outer(shared->k[0], ZK_FUSED_KEYS * 128),
                 ds_rows = zk_wgmma_inner(shared->ds[0]);
  float s[64], lse_of[2]; // of rows my_row and 8 further
  auto parity_of = [&](int i) { return (uint32_t)((step + i) >> 1 & 1); };
  auto begin_scores = [&](int i, bool here) { // here: the rows have come
    const int stage = (step + i) & 1, rows_left = u.num_rows - u.key - i * ZK_FUSED_ROWS;
    if (!here) zk_mbar_wait(&shared->rows_full[stage], parity_of(i));
    if (rows_left < ZK_FUSED_ROWS)
      zk_fused_clear<D>(shared->q[stage][0], shared->dout[stage][0], rows_left, ZK_FUSED_ROWS);
    zk_fused_scores<D>(s, shared->q[stage][0], shared->k[0]);
    lse_of[0] = shared->lse_delta[stage][my_row], lse_of[1] = shared->lse_delta[stage][my_row + 8];
  };

  zk_mbar_wait(&shared->kv_full, (uint32_t)(turn & 1));
  if (u.num_rows - u.key < ZK_FUSED_KEYS)
    zk_fused_clear<D>(shared->k[0], shared->v[0], u.num_rows - u.key, ZK_FUSED_KEYS);
  begin_scores(0, false);
  zk_wgmma_wait<0>();
  zk_wgmma_settle(s);
#pragma unroll 1
  for (int i = 0; i < u.num_steps; ++i) {
    const int stage = (step + i) & 1, pos = u.key + i * ZK_FUSED_ROWS;
    const bool more = i + 1 < u.num_steps, edge = i < 2 || pos + ZK_FUSED_ROWS > u.num_rows;
    auto hide = [&](float(&x)[64]) { // pairs that are not visible
#pragma unroll
      for (int e = 0; e < 64; ++e) {
        const int row = pos + my_row + e / 2 % 2 * 8, key = u.key + e / 4 * 8 + lane % 4 * 2 + e % 2;
        if (row < key || row >= u.num_rows) x[e] = 0.0f;
      }
    };
    float dp[64], dq[D / 2];
    zk_fused_scores<D>(dp, shared->dout[stage][0], shared->v[0]);
    const float *delta = shared->lse_delta[stage] + ZK_FUSED_ROWS + my_row, delta_of[2] = {delta[0], delta[8]};

    // s: weights
#pragma unroll
    for (int e = 0; e < 64; ++e) s[e] = zk_fused_exp2(fmaf(s[e], f.c, -lse_of[e / 2 % 2]));
    if (edge) hide(s);
    zk_mbar_wait(&shared->pairs_empty, (uint32_t)stage ^ 1);
    zk_fused_place(shared->p[0], s, warp, lane);
    __syncwarp();
    if (lane == 0) zk_mbar_arrive(&shared->p_full);

    zk_wgmma_wait<0>();
    zk_wgmma_settle(dp);
    if (lane == 0) zk_mbar_arrive(&shared->rows_empty[stage]);
    // A look ahead: a wait for what has come long since takes time, too.
    const bool next_here = more && zk_mbar_is_over(&shared->rows_full[stage ^ 1], parity_of(i + 1)),
               dq_free = zk_mbar_is_over(&shared->dq_empty[stage], parity_of(i) ^ 1);
#pragma unroll
    for (int e = 0; e < 64; ++e) dp[e] = s[e] * (dp[e] - delta_of[e / 2 % 2]);
    if (edge) hide(dp);
    zk_fused_place(shared->ds[0], dp, warp, lane);
    zk_barrier(2, 128);
    if (lane == 0) zk_mbar_arrive(&shared->ds_full);

    zk_wgmma_begin();
#pragma unroll
    for (int k = 0; k < 8; ++k)
      zk_wgmma<false, true>(dq, ds_rows + (uint64_t)((k / 4 * (ZK_FUSED_ROWS * 128) + k % 4 * 32) >> 4),
                            zk_wgmma_step<true>(k_columns, k), k > 0);
    zk_wgmma_commit();
    auto hand_on = [&] {
      zk_wgmma_settle(dq);
      if (lane == 0) zk_mbar_arrive(&shared->pairs_empty);
      if (!dq_free) zk_mbar_wait(&shared->dq_empty[stage], parity_of(i) ^ 1);
      float4 *to = (float4 *)shared->dq[stage] + t;
#pragma unroll
      for (int r = 0; r < D / 8; ++r) to[128 * r] = make_float4(dq[4 * r], dq[4 * r + 1], dq[4 * r + 2], dq[4 * r + 3]);
      zk_fence_async();
      __syncwarp();
      if (lane == 0) zk_mbar_arrive(&shared->dq_full[stage]);
    };
    if (more) {
      begin_scores(i + 1, next_here);
      zk_wgmma_wait<1>();
      hand_on();
      zk_wgmma_wait<0>();
      zk_wgmma_settle(s);
    } else {
      zk_wgmma_wait<0>();
      hand_on();
    }
    if (lane == 0) zk_mbar_arrive(&shared->scored);
  }
  if (lane == 0) zk_mbar_arrive(&shared->kv_empty);
}

#endif
#endif
