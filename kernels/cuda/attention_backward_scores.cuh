// The scoring warpgroup of the fused attention backward (attention_backward_fused.cuh). Of each step's 64 query rows by
// the unit's 128 keys, all by wgmma, in this order:
//   dP = dO V^T      while the weights P go to shared memory
//   dS = P (dP - delta)
//   S = Q K^T        of the next step, while dS goes to shared memory
//   dQ = dS K        over the tile's 128 keys from +0, while the exponentials of the next step's S are computed
// and dQ is handed on. P and dS are bf16; the summing warpgroups and dQ read them.
//
// A warp that queues products waits while the queue is full, and what follows in its program waits with it: so P and dS
// are stored between the steps of a product, 32 keys at a time. S is waited for before dQ is queued, as its weights can
// then begin. And dQ is computed in halves of its columns: with all of its accumulators beside those of S the compiler
// has too few registers left to compute exponentials side by side, and one after the other they take three times as
// long. Each half of the exponentials reads lse anew: a volatile load stays behind the products that are queued before
// it, which else the compiler would queue when all exponentials are done.
//
// Thread t of the warpgroup holds of S, with g = t % 32 / 4 and c = t % 4 * 2, of rows 16 (t / 32) + g and + 8 the keys
// 8 j + c and the next: wgmma.cuh.
#ifndef ZK_KERNELS_CUDA_ATTENTION_BACKWARD_SCORES_CUH
#define ZK_KERNELS_CUDA_ATTENTION_BACKWARD_SCORES_CUH

#include "kernels/cuda/attention_backward_fused.cuh"

// zk_exp2f's operations, the largest of two and the shift by one instruction each; the bits are the same for all x.
static __device__ __forceinline__ float zk_fused_exp2(float x) {
#ifdef __CUDA_ARCH__
  asm("max.NaN.f32 %0, %0, 0fC2FC0000;" : "+f"(x)); // -126
#else
  x = x < -126.0f ? -126.0f : x;
#endif
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

// 16 of D's products of a step's rows by the tile's keys: x = rows keys^T.
static __device__ __forceinline__ void zk_fused_scores(float (&x)[64], const zk_bf16 *rows, const zk_bf16 *keys,
                                                       int k) {
  zk_wgmma<false, false>(x, zk_wgmma_inner(rows) + (uint64_t)((k / 4 * (ZK_FUSED_ROWS * 128) + k % 4 * 32) >> 4),
                         zk_wgmma_inner(keys) + (uint64_t)((k / 4 * (ZK_FUSED_KEYS * 128) + k % 4 * 32) >> 4), k > 0);
}

// A warp's 16 rows by 16 of the tile's keys, rounded, to their place in P or dS: swizzled as wgmma reads them.
static __device__ __forceinline__ void zk_fused_place(zk_bf16 (*to)[ZK_FUSED_ROWS * 64], const float (&x)[64], int k,
                                                      int warp, int lane) {
  const int row = warp * 16 + lane % 16;
  uint32_t y[4];
#pragma unroll
  for (int e = 0; e < 4; ++e) y[e] = zk_pack_bf16(x[8 * k + 2 * e], x[8 * k + 2 * e + 1]);
  zk_store_matrices(to[k / 4] + row * 64 + ((2 * (k % 4) + lane / 16) ^ (row % 8)) * 8, y);
}

// What one thread of the warpgroup has of a unit.
template <int D> struct zk_fused_scoring {
  const zk_fused &f;
  const zk_fused_unit &u;
  zk_fused_shared<D> *shared;
  int step, t, lane, warp, my_row; // the block's steps before the unit; the thread; its first row
  float s[64];                     // S, then P

  __device__ __forceinline__ int stage_of(int i) const { return (step + i) & 1; }
  __device__ __forceinline__ uint32_t parity_of(int i) const { return (uint32_t)((step + i) >> 1 & 1); }

  // Waits for step i's rows unless they are `here`.
  __device__ __forceinline__ void begin(int i, bool here) {
    const int stage = stage_of(i), left = u.num_rows - u.key - i * ZK_FUSED_ROWS;
    if (!here) zk_mbar_wait(&shared->rows_full[stage], parity_of(i));
    if (left < ZK_FUSED_ROWS) zk_fused_clear<D>(shared->q[stage][0], shared->dout[stage][0], left, ZK_FUSED_ROWS);
  }
  // x = rows keys^T is queued while y goes to shared memory; or the latter alone.
  template <bool QUEUE>
  __device__ __forceinline__ void queue_and_place(float (&x)[64], const zk_bf16 *rows, const zk_bf16 *keys,
                                                  zk_bf16 (*to)[ZK_FUSED_ROWS * 64], const float (&y)[64]) {
    if (QUEUE) zk_wgmma_begin();
#pragma unroll
    for (int k = 0; k < 8; k += 2) {
#pragma unroll
      for (int j = k; j < k + 2; ++j)
        if (QUEUE && j < D / 16) zk_fused_scores(x, rows, keys, j);
#pragma unroll
      for (int j = k; j < k + 2; ++j) zk_fused_place(to, y, j, warp, lane);
    }
    if (QUEUE) zk_wgmma_commit();
    zk_fence_async();
  }
  // Half of step i's S to weights.
  template <int HALF> __device__ __forceinline__ void weigh(int i) {
    const volatile float *of = shared->lse_delta[stage_of(i)] + my_row;
    const float lse[2] = {of[0], of[8]};
#pragma unroll
    for (int e = 32 * HALF; e < 32 * HALF + 32; ++e) s[e] = zk_fused_exp2(fmaf(s[e], f.c, -lse[e / 2 % 2]));
    zk_wgmma_settle<32 * HALF, 32 * HALF + 32>(s);
  }
  // Zeros for pairs of step i that are not visible.
  __device__ __forceinline__ void hide(int i, float (&x)[64]) {
    const int pos = u.key + i * ZK_FUSED_ROWS;
    if (i >= 2 && pos + ZK_FUSED_ROWS <= u.num_rows) return;
#pragma unroll
    for (int r = 0; r < 2; ++r) { // keys before `end` of the thread's, the first of which is the tile's lane % 4 * 2
      const int row = pos + my_row + 8 * r, end = row < u.num_rows ? row + 1 - u.key - lane % 4 * 2 : 0;
#pragma unroll
      for (int e = 2 * r; e < 64; e += e % 2 == 0 ? 1 : 3)
        if (e / 4 * 8 + e % 2 >= end) x[e] = 0.0f;
    }
  }
  // Half of dq's columns = dS K's, and where they go to.
  template <int HALF> __device__ __forceinline__ void queue_dq(float (&dq)[D / 4]) {
    const uint64_t ds_rows = zk_wgmma_inner(shared->ds[0]),
                   columns =
                       zk_wgmma_outer(shared->k[0] + HALF * (D == 64 ? 32 : ZK_FUSED_KEYS * 64), ZK_FUSED_KEYS * 128);
    zk_wgmma_begin();
#pragma unroll
    for (int k = 0; k < 8; ++k)
      zk_wgmma<false, true>(dq, ds_rows + (uint64_t)((k / 4 * (ZK_FUSED_ROWS * 128) + k % 4 * 32) >> 4),
                            zk_wgmma_step<true>(columns, k), k > 0);
    zk_wgmma_commit();
  }
  template <int HALF> __device__ __forceinline__ void store_dq(int stage, const float (&dq)[D / 4]) {
    float4 *to = (float4 *)shared->dq[stage] + HALF * (128 * (D / 16)) + t;
#pragma unroll
    for (int r = 0; r < D / 16; ++r) to[128 * r] = make_float4(dq[4 * r], dq[4 * r + 1], dq[4 * r + 2], dq[4 * r + 3]);
  }

  // Step i, whose weights stand; with MORE, up to the weights of the next.
  template <bool MORE> __device__ __forceinline__ void one_step(int i) {
    const int stage = __shfl_sync(0xffffffffu, stage_of(i), 0); // the same in all lanes, for the compiler too
    const uint32_t before = (uint32_t)stage ^ 1; // parity of the step before, of what each step uses
    float dp[64], left[D / 4], right[D / 4];
    const float *deltas = shared->lse_delta[stage] + ZK_FUSED_ROWS + my_row, delta[2] = {deltas[0], deltas[8]};
    zk_mbar_wait(&shared->p_empty, before);
    queue_and_place<true>(dp, shared->dout[stage][0], shared->v[0], shared->p, s);
    __syncwarp();
    if (lane == 0) zk_mbar_arrive(&shared->p_full);
    // A look ahead: a wait for what has come long since takes time, too.
    const bool next_here = MORE && zk_mbar_is_over(&shared->rows_full[stage ^ 1], parity_of(i + 1)),
               dq_free = zk_mbar_is_over(&shared->dq_empty[stage], parity_of(i) ^ 1);

    zk_wgmma_wait<0>();
    zk_wgmma_settle(dp);
    if (!MORE && lane == 0) zk_mbar_arrive(&shared->v_empty);
    zk_mbar_arrive(&shared->rows_empty[stage]); // by all who read lse and delta: racecheck knows of no other's order before the next copy
#pragma unroll
    for (int e = 0; e < 64; ++e) dp[e] = s[e] * (dp[e] - delta[e / 2 % 2]);
    hide(i, dp);
    zk_mbar_wait(&shared->ds_empty, before);
    if constexpr (MORE) begin(i + 1, next_here);
    queue_and_place<MORE>(s, shared->q[stage ^ 1][0], shared->k[0], shared->ds, dp);
    zk_barrier(2, 128);
    if (lane == 0) zk_mbar_arrive(&shared->ds_full);

    if constexpr (MORE) {
      zk_wgmma_wait<0>();
      zk_wgmma_settle(s);
    }
    queue_dq<0>(left);
    if constexpr (MORE) weigh<0>(i + 1);
    if (!dq_free) zk_mbar_wait(&shared->dq_empty[stage], parity_of(i) ^ 1);
    zk_wgmma_wait<0>();
    zk_wgmma_settle(left);
    queue_dq<1>(right);
    if constexpr (MORE) weigh<1>(i + 1);
    store_dq<0>(stage, left);
    if constexpr (MORE) {
      hide(i + 1, s);
      zk_wgmma_settle(s);
    }
    zk_wgmma_wait<0>();
    zk_wgmma_settle(right);
    if (lane == 0) zk_mbar_arrive(&shared->ds_empty);
    store_dq<1>(stage, right);
    zk_fence_async();
    __syncwarp();
    if (lane == 0) zk_mbar_arrive(&shared->dq_full[stage]);
  }
};

// One unit, the block's number `turn`; `step` counts the block's steps before it.
template <int D>
static __device__ __forceinline__ void zk_fused_score(const zk_fused &f, const zk_fused_unit &u, int turn, int step,
                                                      zk_fused_shared<D> *shared) {
  const int t = (int)threadIdx.x % 128, lane = t % 32, warp = t / 32;
  zk_fused_scoring<D> x = {f, u, shared, step, t, lane, warp, warp * 16 + lane / 4, {}};
  zk_mbar_wait(&shared->k_full, (uint32_t)(turn & 1));
  if (u.num_rows - u.key < ZK_FUSED_KEYS) {
    zk_mbar_wait(&shared->v_full, (uint32_t)(turn & 1));
    zk_fused_clear<D>(shared->k[0], shared->v[0], u.num_rows - u.key, ZK_FUSED_KEYS);
  }
  x.begin(0, false);
  zk_wgmma_begin();
#pragma unroll
  for (int k = 0; k < D / 16; ++k) zk_fused_scores(x.s, shared->q[x.stage_of(0)][0], shared->k[0], k);
  zk_wgmma_commit();
  zk_wgmma_wait<0>();
  zk_wgmma_settle(x.s);
  x.template weigh<0>(0), x.template weigh<1>(0);
  x.hide(0, x.s);
  zk_mbar_wait(&shared->v_full, (uint32_t)(turn & 1));
#pragma unroll 1
  for (int i = 0; i + 1 < u.num_steps; ++i) x.template one_step<true>(i);
  x.template one_step<false>(u.num_steps - 1);
  if (lane == 0) zk_mbar_arrive(&shared->k_empty);
}

#endif
