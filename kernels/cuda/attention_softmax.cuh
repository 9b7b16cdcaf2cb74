// The softmax of a tile of 128 keys for rows whose scores lie in the accumulators of wgmma m64n128: with g = lane / 4
// and c = lane % 4 a lane has the keys 8 t + 2 c and 8 t + 2 c + 1 of two rows, s[4 t + 0, 1] of row g and s[4 t + 2, 3]
// of row g + 8 of its warp. So it has lanes 2 c and 2 c + 1 of the contract's 8 lanes of l.
#ifndef ZK_KERNELS_CUDA_ATTENTION_SOFTMAX_CUH
#define ZK_KERNELS_CUDA_ATTENTION_SOFTMAX_CUH

#include "kernels/cuda/attention_bf16.cuh"

#ifndef ZK_SIMT

// Of a lane's two rows, within a split: the maximum so far, and its two lanes of l.
struct zk_softmax_state {
  float m[2], l[2][2];
};

static __device__ __forceinline__ zk_softmax_state zk_softmax_begin() {
  return {{-INFINITY, -INFINITY}, {{0.0f, 0.0f}, {0.0f, 0.0f}}};
}

// The larger, or NaN if one is.
static __device__ __forceinline__ float zk_max_or_nan(float a, float b) {
  float larger;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(a), "f"(b));
  return larger;
}

// zk_exp2f for an x that is at most 1/2 and not NaN, with one operation less: its last product, p * 2^n, is exact and
// normal (-126 <= n <= 0, and p >= 1 where n = -126), and therefore an addition to p's exponent. n is in t's low bits.
static __device__ __forceinline__ float zk_exp2f_low(float x) {
  x = fmaxf(x, -126.0f);
  const float t = x + ZK_MATH_ROUND_F;
  const float r = x - (t - ZK_MATH_ROUND_F);
  float p = 0x1.5bab36p-10f;
  p = fmaf(p, r, 0x1.3ce1b8p-7f);
  p = fmaf(p, r, 0x1.c6b73ep-5f);
  p = fmaf(p, r, 0x1.ebf9dap-3f);
  p = fmaf(p, r, 0x1.62e42ap-1f);
  p = fmaf(p, r, 1.0f);
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(t) << 23));
}

// Any tile: scores to weights for the keys below high[r], +0 for the others; m and l move on; a[r] is what o is scaled
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
    const float m = state->m[r], n = mt > m ? mt : m;
    a[r] = high[r] == 0 ? 1.0f : m == -INFINITY ? 0.0f : weight(m, n);
    state->m[r] = n;
    state->l[r][0] = state->l[r][0] * a[r];
    state->l[r][1] = state->l[r][1] * a[r];
#pragma unroll
    for (int t = 0; t < 16; ++t)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float w = weight(s[4 * t + 2 * r + e], n);
        s[4 * t + 2 * r + e] = 8 * t + column + e < high[r] ? w : 0.0f;
        state->l[r][e] = state->l[r][e] + s[4 * t + 2 * r + e];
      }
  }
}

// The same of a tile that all rows see whole, for usual numbers: false, and nothing done, if a row of the warp has a
// score that is NaN or +inf, or a maximum whose product with c is 2^22 or more, or no maximum. Below that the product's
// rounding error is at most 1/8, so that no exponent here is above 1/2; a score of -inf gives 2^-126 in both.
static __device__ __forceinline__ bool zk_softmax_usual(const zk_attn_exp_bf16 &weight, float (&s)[64],
                                                        zk_softmax_state *state, float a[2]) {
  float n[2], minus_nc[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float even = s[2 * r], odd = s[2 * r + 1]; // two chains: a maximum has no order
#pragma unroll
    for (int t = 1; t < 16; ++t) {
      even = zk_max_or_nan(even, s[4 * t + 2 * r]);
      odd = zk_max_or_nan(odd, s[4 * t + 2 * r + 1]);
    }
    float mt = zk_max_or_nan(even, odd);
    mt = zk_max_or_nan(mt, __shfl_xor_sync(0xffffffffu, mt, 1));
    mt = zk_max_or_nan(mt, __shfl_xor_sync(0xffffffffu, mt, 2));
    n[r] = zk_max_or_nan(mt, state->m[r]);
    minus_nc[r] = -(n[r] * weight.c);
  }
  if (!__all_sync(0xffffffffu, fabsf(minus_nc[0]) < 0x1p+22f && fabsf(minus_nc[1]) < 0x1p+22f)) return false;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float moved = zk_exp2f_low(fmaf(state->m[r], weight.c, minus_nc[r]));
    a[r] = state->m[r] == -INFINITY ? 0.0f : moved;
    state->m[r] = n[r];
    state->l[r][0] = state->l[r][0] * a[r];
    state->l[r][1] = state->l[r][1] * a[r];
  }
#pragma unroll
  for (int t = 0; t < 16; ++t)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      s[4 * t + e] = zk_exp2f_low(fmaf(s[4 * t + e], weight.c, minus_nc[e / 2]));
      state->l[e / 2][e % 2] = state->l[e / 2][e % 2] + s[4 * t + e];
    }
  return true;
}

// Weights as bf16, in pairs: the A operand of the product with V, four words a step of 16 keys. One instruction rounds
// two, to nearest even, NaN to 0x7fff: zk_float_to_bf16's bits.
static __device__ __forceinline__ void zk_softmax_pack(const float (&s)[64], uint32_t (&p)[32]) {
#pragma unroll
  for (int i = 0; i < 32; ++i) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(p[i]) : "f"(s[2 * i + 1]), "f"(s[2 * i]));
}

// ((l0 + l1) + (l2 + l3)) + ((l4 + l5) + (l6 + l7)), in all four lanes of the row.
static __device__ __forceinline__ float zk_softmax_sum(const float l[2]) {
  float sum = l[0] + l[1];
  sum = sum + __shfl_xor_sync(0xffffffffu, sum, 1);
  return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
}

#endif
#endif
