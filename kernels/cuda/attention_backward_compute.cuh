// The computing warpgroups of the fused attention backward (attention_backward_fused.cuh). Of a unit, warpgroup w has
// keys 64 w .. of dk and dv, and columns D / 2 w .. of dq. A step of 64 query rows, all products by wgmma:
//   S^T = K Q^T      [keys x rows], while dq of the step before is added to the sum of the tiles before
//   dP^T = V dO^T    [keys x rows], while the exponentials of S are computed
//   dV += P^T dO     P^T in registers, as S^T's accumulators left it
//   dK += dS^T Q     dS^T by way of shared memory
//   dQ = dS K        of the step before, over the tile's 128 keys from +0: of both warpgroups' dS^T
// As dQ comes a step late, a warpgroup need not wait for the other's exponentials: while one computes them, the other's
// products fill the tensor core.
//
// Thread t of a warpgroup holds of S^T, with g = t % 32 / 4 and c = t % 4 * 2, of keys 16 (t / 32) + g and + 8 the rows
// 8 j + c and the next: wgmma.cuh.
#ifndef ZK_KERNELS_CUDA_ATTENTION_BACKWARD_COMPUTE_CUH
#define ZK_KERNELS_CUDA_ATTENTION_BACKWARD_COMPUTE_CUH

#include "kernels/cuda/attention_backward_store.cuh"

#ifndef ZK_SIMT

// zk_exp2f's operations, the largest of two and the shift by one instruction each; the bits are the same for all x.
static __device__ __forceinline__ float zk_fused_exp2(float x) {
  asm("max.NaN.f32 %0, %0, 0fC2FC0000;" : "+f"(x)); // -126
  const float t = x + ZK_MATH_ROUND_F;
  const float p = zk_math_exp2_near(x - (t - ZK_MATH_ROUND_F), ZK_MATH_EXP2_SLOPE);
  return p * zk_bits_float((zk_float_bits(t) << 23) + 0x3f800000u); // the low bits of ROUND are 0
}

// Zeros in rows `first` .. of a pair of tiles of `rows` rows: what lies behind a sequence is another's, and takes no
// part, not even times 0. By all computing threads.
template <int D>
static __device__ __forceinline__ void zk_fused_clear(zk_bf16 *a, zk_bf16 *b, int32_t first, int32_t rows) {
  for (int32_t i = (int32_t)threadIdx.x - 128; i < (rows - first) * (D / 4); i += ZK_FUSED_COMPUTING) {
    const int32_t r = first + i / (D / 4), piece = i % (D / 8);
    *(zk_vec16 *)((i % (D / 4) < D / 8 ? a : b) + piece / 8 * (rows * 64) + r * 64 + piece % 8 * 8) = {{0, 0, 0, 0}};
  }
  zk_fence_async();
  zk_barrier(1, ZK_FUSED_COMPUTING);
}

// rows of 64 keys by rows of a step, over D: x^T = a b^T.
template <int D>
static __device__ __forceinline__ void zk_fused_scores(float (&x)[32], uint64_t keys, const zk_bf16 *rows) {
  const uint64_t b = zk_wgmma_inner(rows);
  zk_wgmma_begin();
#pragma unroll
  for (int k = 0; k < D / 16; ++k)
    zk_wgmma<false, false>(x, keys + (uint64_t)((k / 4 * (ZK_FUSED_KEYS * 128) + k % 4 * 32) >> 4),
                           b + (uint64_t)((k / 4 * (ZK_FUSED_ROWS * 128) + k % 4 * 32) >> 4), k > 0);
  zk_wgmma_commit();
}

// One unit, the block's number `turn`; `step` counts the block's steps before it.
template <int D>
static __device__ __forceinline__ void zk_fused_compute(const zk_fused &f, const zk_fused_unit &u, int turn, int step,
                                                        zk_fused_shared<D> *shared) {
  const int w = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0) - 1, t = (int)threadIdx.x % 128, lane = t % 32;
  const int first_key = u.key + 64 * w + t / 32 * 16 + lane / 4; // of the thread's, the other is 8 on
  const size_t mine =
      ((size_t)u.head * (size_t)f.num_tiles + (size_t)u.tile) * (ZK_FUSED_KEYS * D) + (size_t)(w * (64 * D) + t * 4);
  const uint64_t k_rows = zk_wgmma_inner(shared->k[0] + 64 * 64 * w),
                 v_rows = zk_wgmma_inner(shared->v[0] + 64 * 64 * w),
                 k_columns = zk_wgmma_outer(shared->k[0] + w * (D == 128 ? ZK_FUSED_KEYS * 64 : 32), 0);
  float dk[D / 2], dv[D / 2], s[32], dp[32], dq[D / 4];
#pragma unroll
  for (int i = 0; i < D / 2; ++i) dk[i] = dv[i] = 0.0f;
  bool parts = false; // one or more have been put away
  auto parity_of = [&](int i) { return (uint32_t)((step + i) >> 1 & 1); };

  auto end_rows = [&](int i) { // where the sequence ends within step i
    const int stage = (step + i) & 1, rows_left = u.num_rows - u.key - i * ZK_FUSED_ROWS;
    if (rows_left >= ZK_FUSED_ROWS) return;
    zk_mbar_wait(&shared->q_full[stage], parity_of(i));
    zk_mbar_wait(&shared->dout_full[stage], parity_of(i));
    zk_fused_clear<D>(shared->q[stage][0], shared->dout[stage][0], rows_left, ZK_FUSED_ROWS);
  };
  auto begin_dq = [&](int i) {
    const int stage = (step + i) & 1;
    const uint64_t ds_columns = zk_wgmma_outer(shared->ds[stage], 0);
    zk_wgmma_begin();
#pragma unroll
    for (int k = 0; k < 8; ++k)
      zk_wgmma<true, true>(dq, zk_wgmma_step<true>(ds_columns, k), zk_wgmma_step<true>(k_columns, k), k > 0);
    zk_wgmma_commit();
  };

  zk_mbar_wait(&shared->kv_full, (uint32_t)(turn & 1));
  if (u.num_rows - u.key < ZK_FUSED_KEYS)
    zk_fused_clear<D>(shared->k[0], shared->v[0], u.num_rows - u.key, ZK_FUSED_KEYS);
  zk_mbar_wait(&shared->q_full[step & 1], parity_of(0));
  end_rows(0);
  zk_fused_scores<D>(s, k_rows, shared->q[step & 1][0]);
  zk_wgmma_wait<0>();
  zk_wgmma_settle(s);
#pragma unroll 1
  for (int i = 0; i < u.num_steps; ++i) {
    const int stage = (step + i) & 1, pos = u.key + i * ZK_FUSED_ROWS;
    const bool from_zero = i == 0 || pos % ZK_ATTN_PART == 0; // dk and dv
    zk_mbar_wait(&shared->dout_full[stage], parity_of(i));
    zk_fused_scores<D>(dp, v_rows, shared->dout[stage][0]);

    // s: weights
    const float2 *lse = (const float2 *)shared->lse_delta[stage] + lane % 4; // of rows 8 j + c and the next
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float2 x = lse[4 * j];
#pragma unroll
      for (int e = 0; e < 4; ++e) s[4 * j + e] = zk_fused_exp2(fmaf(s[4 * j + e], f.c, -(e % 2 ? x.y : x.x)));
    }
    const bool edge = i < 2 || pos + ZK_FUSED_ROWS > u.num_rows;
    auto hide = [&](float(&x)[32]) { // pairs that are not visible
#pragma unroll
      for (int e = 0; e < 32; ++e) {
        const int row = pos + e / 4 * 8 + lane % 4 * 2 + e % 2, key = first_key + e / 2 % 2 * 8;
        if (row < key || row >= u.num_rows) x[e] = 0.0f;
      }
    };
    if (edge) hide(s);
    zk_wgmma_wait<0>();
    zk_wgmma_settle(dp);
    uint32_t p[16], ds[16];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float2 x = lse[ZK_FUSED_ROWS / 2 + 4 * j]; // delta
#pragma unroll
      for (int e = 0; e < 4; ++e) dp[4 * j + e] = s[4 * j + e] * (dp[4 * j + e] - (e % 2 ? x.y : x.x));
    }
    if (edge) hide(dp);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        p[2 * j + e] = zk_pack_bf16(s[4 * j + 2 * e], s[4 * j + 2 * e + 1]);
        ds[2 * j + e] = zk_pack_bf16(dp[4 * j + 2 * e], dp[4 * j + 2 * e + 1]);
      }
    }
    if (from_zero && i > 0) { // a part has ended
      zk_fused_put(f.dk_sums + mine, dk, parts), zk_fused_put(f.dv_sums + mine, dv, parts);
      parts = true;
    }
    const bool more = i + 1 < u.num_steps;
    if (more) end_rows(i + 1);
    if (w == 0) zk_barrier(4, ZK_FUSED_COMPUTING); // this one's turn
    else zk_barrier(5, ZK_FUSED_COMPUTING);
    const uint64_t dout_columns = zk_wgmma_outer(shared->dout[stage][0], ZK_FUSED_ROWS * 128);
    zk_wgmma_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      zk_wgmma_ra<true>(dv, p + 4 * k, zk_wgmma_step<true>(dout_columns, k), k > 0 || !from_zero);
    zk_wgmma_commit();

    const int ds_row = 64 * w + t / 32 * 16 + lane % 16; // whose 16 bytes this lane places
    zk_mbar_wait(&shared->ds_empty[stage], parity_of(i) ^ 1);
#pragma unroll
    for (int x = 0; x < 4; ++x)
      zk_store_matrices(shared->ds[stage] + ds_row * 64 + ((2 * x + lane / 16) ^ (ds_row % 8)) * 8, ds + 4 * x);
    zk_fence_async();
    if (w == 0) zk_barrier(2, 128);
    else zk_barrier(3, 128);
    if (t == 0) zk_mbar_arrive(&shared->ds_full[stage]);
    const uint64_t ds_rows = zk_wgmma_inner(shared->ds[stage] + 64 * 64 * w),
                   q_columns = zk_wgmma_outer(shared->q[stage][0], ZK_FUSED_ROWS * 128);
    zk_wgmma_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      zk_wgmma<false, true>(dk, zk_wgmma_step<false>(ds_rows, k), zk_wgmma_step<true>(q_columns, k),
                            k > 0 || !from_zero);
    zk_wgmma_commit();
    // The step before; a unit's first step has none, and does this for nothing.
    if (i > 0) zk_mbar_wait(&shared->ds_full[stage ^ 1], parity_of(i - 1));
    begin_dq(i - 1);
    if (more) zk_mbar_wait(&shared->q_full[stage ^ 1], parity_of(i + 1));
    zk_fused_scores<D>(s, k_rows, shared->q[more ? stage ^ 1 : stage][0]); // the last step does this for nothing
    if (w == 0) zk_barrier_arrive(5, ZK_FUSED_COMPUTING);
    else zk_barrier_arrive(4, ZK_FUSED_COMPUTING);
    zk_wgmma_wait<1>();
    zk_wgmma_settle(dv), zk_wgmma_settle(dk), zk_wgmma_settle(dq);
#pragma unroll
    for (int x = 0; x < 16; ++x)
      asm volatile("" : "+r"(p[x])); // operands stay where they are until they have been read
    if (lane == 0) {
      zk_mbar_arrive(&shared->dout_empty[stage]);
      if (more) zk_mbar_arrive(&shared->q_empty[stage]);
      if (i > 0) zk_mbar_arrive(&shared->ds_empty[stage ^ 1]);
    }
    if (i > 0) zk_fused_add_dq<D>(f, u, step, i - 1, dq, shared);
    zk_wgmma_wait<0>();
    zk_wgmma_settle(s);
  }
  const int last = u.num_steps - 1, stage = (step + last) & 1;
  zk_mbar_wait(&shared->ds_full[stage], parity_of(last));
  begin_dq(last);
  zk_wgmma_wait<0>();
  zk_wgmma_settle(dq);
  if (lane == 0) {
    zk_mbar_arrive(&shared->q_empty[stage]);
    zk_mbar_arrive(&shared->ds_empty[stage]);
    zk_mbar_arrive(&shared->kv_empty);
  }
  zk_fused_add_dq<D>(f, u, step, last, dq, shared);
  zk_fused_put(f.dk_sums + mine, dk, parts), zk_fused_put(f.dv_sums + mine, dv, parts);
  if (zk_fused_joins<D>(f, u, shared)) {
    zk_fused_join<D>(f, u, f.dk_sums, f.at.scale, f.dk);
    zk_fused_join<D>(f, u, f.dv_sums, 1.0f, f.dv);
  }
}

#endif
#endif
