// The softmax of a tile of 128 keys in the prefill kernel. Scores lie as attention_softmax.cuh says.
//
// Most tiles move no row, and then b is all that the largest score is for. So a tile's weights are made from the b that
// there is, and looked at afterwards: if all eight lanes of l of a row, the tile's weights among them, are below 2^-72,
// then so is every weight, no score's exponent is above -72, and the contract moves nothing: the weights stand. Else, and
// in the first tile of a split, the largest score is found and rows move before the weights are made; for scores that
// weights have taken the place of, the product is queued again.
//
// Where weights stand no exponent is above -64, the most that zk_weights_usual takes: t < -72 as just said; of a row that
// has moved the largest t is -80 but for b's rounding, at most 1/4 while b is below 2^22. A tile in which a row moves
// further than that, or to NaN, has its scores replaced by their t, clamped as the contract says, with c = 1 and b = 0:
// fma(t, 1, 0) is t. A key behind the row's last has the score -inf, whose weight is +0.
#ifndef ZK_KERNELS_CUDA_ATTENTION_PREFILL_SOFTMAX_CUH
#define ZK_KERNELS_CUDA_ATTENTION_PREFILL_SOFTMAX_CUH

#include "kernels/cuda/attention_softmax.cuh"

// What turns the scores of a tile into exponents: of row r fma(s, c, b[r]).
struct zk_prefill_scale {
  float c, b[2];
};

// The larger and the smaller, or NaN if one is.
static __device__ __forceinline__ float zk_prefill_max(float x, float y) {
#ifdef __CUDA_ARCH__
  float larger;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(x), "f"(y));
  return larger;
#else
  return x != x || x > y ? x : y;
#endif
}
static __device__ __forceinline__ float zk_prefill_min(float x, float y) {
#ifdef __CUDA_ARCH__
  float smaller;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(smaller) : "f"(x), "f"(y));
  return smaller;
#else
  return x != x || x < y ? x : y;
#endif
}

// Keys from high[r] on become -inf.
static __device__ __forceinline__ void zk_prefill_mask(const int32_t high[2], float (&s)[64]) {
  const int32_t column = (int32_t)threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < 64; ++i)
    if (i / 4 * 8 + i % 2 >= high[i / 2 % 2] - column) s[i] = -INFINITY;
}

// The largest score of each row, in all four of its lanes: four chains a lane, as a maximum has no order.
static __device__ __forceinline__ void zk_prefill_largest(const float (&s)[64], float mt[2]) {
  float m[4] = {s[0], s[1], s[2], s[3]};
#pragma unroll
  for (int i = 4; i < 64; ++i) m[i % 4] = zk_prefill_max(m[i % 4], s[i]);
#pragma unroll
  for (int r = 0; r < 2; ++r) mt[r] = zk_prefill_max(m[2 * r], m[2 * r + 1]);
#pragma unroll
  for (int away = 1; away <= 2; away *= 2)
#pragma unroll
    for (int r = 0; r < 2; ++r) mt[r] = zk_prefill_max(mt[r], __shfl_xor_sync(0xffffffffu, mt[r], away));
}

// Rows that see keys of the tile (sees[r]) move where they must: b and l, and *scale; a[r] is what o is scaled by.
// False, and nothing is done: no row of the warp moves. LEAVES: in the first tile of a split (begins), where each row
// moves, sums are left alone: they are +0, and stay so unless the factor is NaN, and then so is every weight. (The code
// of head_dim 64 is slower with it.)
template <bool LEAVES>
static __device__ __forceinline__ bool zk_prefill_move(const zk_attn_exp_bf16 &weight, bool begins, const bool sees[2],
                                                       float (&s)[64], zk_softmax_state *state, zk_prefill_scale *scale,
                                                       float a[2]) {
  float mt[2], b[2];
  bool moved[2], usual = true;
  zk_prefill_largest(s, mt);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    b[r] = weight.next(state->b[r], mt[r], &moved[r]);
    moved[r] = moved[r] && sees[r];
  }
  if (LEAVES && begins) {
#pragma unroll
    for (int r = 0; r < 2; ++r)
      if (sees[r]) state->b[r] = b[r], scale->b[r] = b[r];
  } else {
    if (__all_sync(0xffffffffu, !moved[0] && !moved[1])) return false;
#pragma unroll
    for (int r = 0; r < 2; ++r)
      if (moved[r]) {
        a[r] = zk_softmax_move(weight, r, b[r], state);
        scale->b[r] = b[r];
      }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) usual = usual && fabsf(scale->b[r]) < 0x1p+22f;
  if (!__all_sync(0xffffffffu, usual)) {
#pragma unroll
    for (int i = 0; i < 64; ++i) s[i] = zk_prefill_min(fmaf(s[i], weight.c, scale->b[i / 2 % 2]), -64.0f);
    *scale = {1.0f, {0.0f, 0.0f}};
  }
  return true;
}

// The weights of the tile, in pairs: the A operand of the product with V, four words a step of 16 keys. l goes on over
// them, keys ascending. Halves are widened by permutes: shifts and masks would partly become multiplications, in the
// unit whose operands compete with the tensor core's.
static __device__ __forceinline__ void zk_prefill_weights(const zk_prefill_scale &scale, const float (&s)[64],
                                                          uint32_t (&w)[32], float (&l)[2][2]) {
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const int r = i % 2;
    w[i] = zk_weights_usual(fmaf(s[2 * i], scale.c, scale.b[r]), fmaf(s[2 * i + 1], scale.c, scale.b[r]));
    l[r][0] = l[r][0] + zk_bits_float(__byte_perm(w[i], 0, 0x1044));
    l[r][1] = l[r][1] + zk_bits_float(__byte_perm(w[i], 0, 0x3244));
  }
}

// Scores of a tile to weights w; row r sees the keys below high[r], all of them if `whole`. b and l move on; true: o is
// to be scaled by a[r]. begins: the tile is the first of its split. A row that sees no key of the tile stays as it is.
// known: the largest score is looked for before weights are made, as it must be if `begins`.
// agree(x): whether x holds for all who make scores anew together. again() makes them anew where weights have taken
// their registers (KEEPS: they have not, and it does nothing).
template <bool KEEPS, class Agree, class Again>
static __device__ __forceinline__ bool
zk_prefill_softmax(const zk_attn_exp_bf16 &weight, bool whole, const int32_t high[2], bool begins, bool known,
                   const Agree &agree, const Again &again, float (&s)[64], zk_softmax_state *state, uint32_t (&w)[32],
                   float a[2]) {
  zk_prefill_scale scale = {weight.c, {state->b[0], state->b[1]}};
  bool sees[2] = {true, true}, moved = false;
  float l[2][2];
  if (!whole) {
    if (KEEPS) zk_prefill_mask(high, s);
#pragma unroll
    for (int r = 0; r < 2; ++r)
      if (high[r] == 0) sees[r] = false, scale.b[r] = 0.0f; // b may be +inf; -inf c + 0 weighs as little
  }
#pragma unroll 1
  for (;;) {
    if (!KEEPS && !whole) zk_prefill_mask(high, s); // each time they have been made
    if (known) {
      a[0] = 1.0f, a[1] = 1.0f;
      moved = zk_prefill_move<!KEEPS>(weight, begins, sees, s, state, &scale, a);
      if (KEEPS && !moved && !begins) break;
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) l[r][0] = state->l[r][0], l[r][1] = state->l[r][1];
    zk_prefill_weights(scale, s, w, l);
    const float most = zk_prefill_max(zk_prefill_max(l[0][0], l[0][1]), zk_prefill_max(l[1][0], l[1][1]));
    if (known || agree(most < 0x1p-72f)) break;
    known = true;
    again();
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) state->l[r][0] = l[r][0], state->l[r][1] = l[r][1];
  return moved;
}

#endif
