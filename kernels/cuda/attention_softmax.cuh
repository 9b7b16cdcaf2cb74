// The softmax of a tile of 128 keys for rows whose scores lie in accumulators of 16 columns of 8 keys, as wgmma m64n128
// and 16 steps m16n8 leave them: with g = lane / 4 and c = lane % 4 a lane has the keys 8 t + 2 c and 8 t + 2 c + 1 of
// two rows, s[4 t + 0, 1] of row g and s[4 t + 2, 3] of row g + 8 of its warp. So it has lanes 2 c and 2 c + 1 of the
// contract's 8 lanes of l. A weight is a bf16 number; here it is kept as the float that it is.
#ifndef ZK_KERNELS_CUDA_ATTENTION_SOFTMAX_CUH
#define ZK_KERNELS_CUDA_ATTENTION_SOFTMAX_CUH

#include "kernels/cuda/attention_bf16.cuh"

// Of a lane's two rows, within a split: what weights are relative to (zk_attn_exp_bf16), and its two lanes of l.
struct zk_softmax_state {
  float b[2], l[2][2];
};

static __device__ __forceinline__ zk_softmax_state zk_softmax_begin() {
  return {{INFINITY, INFINITY}, {{0.0f, 0.0f}, {0.0f, 0.0f}}};
}

// Row r moves to b; returns the factor of its o.
static __device__ __forceinline__ float zk_softmax_move(const zk_attn_exp_bf16 &weight, int r, float b,
                                                        zk_softmax_state *state) {
  const float a = weight(state->b[r], b);
  state->b[r] = b;
  state->l[r][0] = state->l[r][0] * a;
  state->l[r][1] = state->l[r][1] * a;
  return a;
}

// Any tile: scores to weights for the keys below high[r], +0 for the others; b and l move on; a[r] is what o is scaled
// by. A row that sees no key of the tile stays as it is.
static __device__ __forceinline__ void zk_softmax_any(const zk_attn_exp_bf16 &weight, const int32_t high[2],
                                                      float (&s)[64], zk_softmax_state *state, float a[2]) {
  const int32_t column = (int32_t)threadIdx.x % 4 * 2;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float mt = -INFINITY;
#pragma unroll
    for (int t = 0; t < 16; ++t)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float x = s[4 * t + 2 * r + e];
        if (8 * t + column + e < high[r] && x > mt) mt = x;
      }
#pragma unroll
    for (int lane = 1; lane <= 2; lane *= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, mt, lane);
      mt = other > mt ? other : mt;
    }
    bool moved;
    const float b = weight.next(state->b[r], mt, &moved);
    a[r] = 1.0f;
    if (moved && high[r] > 0) a[r] = zk_softmax_move(weight, r, b, state);
#pragma unroll
    for (int t = 0; t < 16; ++t) {
      float *x = s + 4 * t + 2 * r;
      const uint32_t w = zk_weights(fmaf(x[0], weight.c, state->b[r]), fmaf(x[1], weight.c, state->b[r]));
      x[0] = 8 * t + column < high[r] ? zk_low_bf16(w) : 0.0f;
      x[1] = 8 * t + column + 1 < high[r] ? zk_high_bf16(w) : 0.0f;
      state->l[r][0] = state->l[r][0] + x[0];
      state->l[r][1] = state->l[r][1] + x[1];
    }
  }
}

// Weights in pairs: the A operand of the product with V, four words a step of 16 keys.
static __device__ __forceinline__ void zk_softmax_pack(const float (&s)[64], uint32_t (&p)[32]) {
#pragma unroll
  for (int i = 0; i < 32; ++i) p[i] = zk_float_bits(s[2 * i]) >> 16 | (zk_float_bits(s[2 * i + 1]) & 0xffff0000u);
}

// ((l0 + l1) + (l2 + l3)) + ((l4 + l5) + (l6 + l7)), in all four lanes of the row.
static __device__ __forceinline__ float zk_softmax_sum(const float l[2]) {
  float sum = l[0] + l[1];
  sum = sum + __shfl_xor_sync(0xffffffffu, sum, 1);
  return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
}

#endif
