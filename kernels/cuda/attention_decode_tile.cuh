// Decoding attention, bf16: the arithmetic of one tile of 128 keys and one block of 16 flat rows, shared by the WARPS =
// D / 16 computing warps of a block. Scores: each warp has 128 / WARPS keys. Values: each warp has 16 columns of D, and
// all keys. A lane has rows g = lane / 4 and g + 8 and columns 2 t, 2 t + 1 of its fragments (t = lane % 4).
//
// The order is the contract's whoever computes what: a score is one chain over d, in one warp; o[d] is one chain over
// the split's keys, in one warp; a row's largest score is the same however it is found; and each of the 8 lanes of l
// is the chain of one thread, which reads the weights of all warps from shared memory.
#ifndef ZK_KERNELS_CUDA_ATTENTION_DECODE_TILE_CUH
#define ZK_KERNELS_CUDA_ATTENTION_DECODE_TILE_CUH

#include "kernels/cuda/attention_decode.cuh"
#include "kernels/cuda/ldmatrix.cuh"

// What a computing thread keeps while it walks the tiles of an item.
template <int DIM> struct zk_decode_state {
  uint32_t q[DIM / 16][4]; // A operands: rows g and g + 8
  int32_t keys_seen[2];    // of rows g and g + 8; 0 past the end
  size_t row[2];           // their index in [T, Hq]
  float b[2];              // what their weights are relative to
  float l;        // of threads below 128: lane thread % 8 of row thread / 8
  float o[2][4];  // columns 16 warp + 8 i + 2 t, + 1
};

// At an item's first tile, when its slot is full.
template <int DIM, class Shared>
static __device__ __forceinline__ void zk_decode_begin(const zk_attn &a, const zk_decode_tile &tile,
                                                       const Shared *shared, int32_t stage,
                                                       zk_decode_state<DIM> *state) {
  const int32_t lane = (int32_t)threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < DIM / 16; ++k)
    zk_ldmatrix<false>(&shared->q[stage][lane % 16][16 * k + lane / 16 * 8], state->q[k]);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    state->keys_seen[r] = zk_decode_keys(a, shared->first_pos, tile, lane / 4 + 8 * r);
    state->row[r] = zk_decode_row(a, tile, lane / 4 + 8 * r);
    state->b[r] = INFINITY;
  }
  state->l = 0.0f;
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int e = 0; e < 4; ++e) state->o[i][e] = 0.0f;
}

// s = scores of the warp's keys.
template <int DIM, int FRAGMENTS>
static __device__ __forceinline__ void zk_decode_scores(const zk_bf16 *k_slot, const uint32_t q[DIM / 16][4],
                                                        float s[FRAGMENTS][4]) {
  const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32;
  const int32_t key = warp * FRAGMENTS * 8 + lane / 16 * 8 + lane % 8, piece = lane / 8 % 2;
#pragma unroll
  for (int f = 0; f < FRAGMENTS; ++f)
#pragma unroll
    for (int e = 0; e < 4; ++e) s[f][e] = 0.0f;
#pragma unroll
  for (int k = 0; k < DIM / 16; ++k)
#pragma unroll
    for (int f = 0; f < FRAGMENTS; f += 2) {
      uint32_t b[4];
      zk_ldmatrix<false>(zk_decode_piece(k_slot, key + 8 * f, 2 * k + piece), b);
      zk_mma_bf16(s[f], q[k], b);
      zk_mma_bf16(s[f + 1], q[k], b + 2);
    }
}

// Largest of the scores of keys below high, over the four lanes of a row.
template <int FRAGMENTS>
static __device__ __forceinline__ float zk_decode_most(const float s[FRAGMENTS][4], int r, int32_t high) {
  const int32_t column = (int32_t)threadIdx.x / 32 * FRAGMENTS * 8 + (int32_t)threadIdx.x % 4 * 2;
  float most = -INFINITY;
#pragma unroll
  for (int f = 0; f < FRAGMENTS; ++f)
#pragma unroll
    for (int e = 0; e < 2; ++e)
      if (column + 8 * f + e < high && s[f][2 * r + e] > most) most = s[f][2 * r + e];
#pragma unroll
  for (int lane = 1; lane <= 2; lane *= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, most, lane);
    most = other > most ? other : most;
  }
  return most;
}

// Scores of row g + 8 r to weights, in shared memory: as f32 for l, and as bf16 for the product with V. b moves on;
// returns what l and o are scaled by. A row that sees no key of the tile stays as it is.
template <int DIM, int FRAGMENTS, class Shared>
static __device__ __forceinline__ float zk_decode_weigh(const zk_attn_exp_bf16 &weight, const float s[FRAGMENTS][4],
                                                        int r, int32_t high, float *state_b, Shared *shared) {
  const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32, row = lane / 4 + 8 * r;
  float most = -INFINITY;
#pragma unroll
  for (int i = 0; i < Shared::WARPS; ++i) {
    const float x = shared->most[row][i];
    most = x > most ? x : most;
  }
  bool moved;
  const float old = *state_b, next = weight.next(old, most, &moved), b = high > 0 ? next : old;
  const float a = moved && high > 0 ? weight(old, b) : 1.0f;
  *state_b = b;
#pragma unroll
  for (int f = 0; f < FRAGMENTS; ++f) {
    const int32_t key = (warp * FRAGMENTS + f) * 8 + lane % 4 * 2;
    uint32_t w = zk_weights(fmaf(s[f][2 * r], weight.c, b), fmaf(s[f][2 * r + 1], weight.c, b));
    w = key + 1 < high ? w : key < high ? w & 0xffffu : 0u;
    *(float2 *)&shared->w[row][key] = make_float2(zk_low_bf16(w), zk_high_bf16(w));
    *(uint32_t *)&shared->p[row][key] = w;
  }
  if (warp == 0 && lane % 4 == 0) shared->a[row] = a;
  return a;
}

// o = o * a, then the chain over the tile's first `keys` slots, in steps of 16, of w * v. V of slots from `keys` on
// is read as 0, whatever lies there. On the way, threads below 8 num_rows: l = l * a, then the tile's weights of their
// lane of their row, ascending. Both chains are long and idle for most of their time; they share it.
template <class Shared>
static __device__ __forceinline__ void zk_decode_values(const Shared *shared, const zk_bf16 *v_slot, int32_t keys,
                                                        int32_t num_rows, const float a[2], float o[2][4], float *l) {
  const int32_t thread = (int32_t)threadIdx.x, lane = thread % 32, warp = thread / 32;
  const bool sums = thread < 8 * num_rows;
  const float *w = shared->w[sums ? thread / 8 : 0] + thread % 8;
  const auto load = [&](int k, uint32_t p[4], uint32_t v[4]) {
    zk_ldmatrix<true>(zk_decode_piece(v_slot, k + lane % 16, 2 * warp + lane / 16), v);
    zk_ldmatrix<false>(&shared->p[lane % 16][k + lane / 16 * 8], p);
  };
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int e = 0; e < 4; ++e) o[i][e] = o[i][e] * a[e / 2];
  float sum = sums ? *l * shared->a[thread / 8] : 0.0f;
  if (keys == ZK_BF16_KEYS) { // all operands are asked for before the first is needed
    uint32_t p[ZK_BF16_KEYS / 16][4], v[ZK_BF16_KEYS / 16][4];
    float x[ZK_BF16_KEYS / 8];
#pragma unroll
    for (int k = 0; k < ZK_BF16_KEYS / 16; ++k) load(16 * k, p[k], v[k]);
    if (warp < ZK_DECODE_ROWS / 4) {
#pragma unroll
      for (int i = 0; i < ZK_BF16_KEYS / 8; ++i) x[i] = w[8 * i];
    }
#pragma unroll
    for (int k = 0; k < ZK_BF16_KEYS / 16; ++k) {
      zk_mma_bf16(o[0], p[k], v[k]);
      zk_mma_bf16(o[1], p[k], v[k] + 2);
      if (warp < ZK_DECODE_ROWS / 4) sum = (sum + x[2 * k]) + x[2 * k + 1];
    }
  } else {
#pragma unroll 1
    for (int k = 0; k < keys; k += 16) {
      uint32_t p[4], v[4];
      load(k, p, v);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int32_t left = keys - (k + i % 2 * 8 + lane % 4 * 2); // of this word's two keys
        v[i] = left >= 2 ? v[i] : left == 1 ? v[i] & 0xffffu : 0u;
      }
      zk_mma_bf16(o[0], p, v);
      zk_mma_bf16(o[1], p, v + 2);
      sum = (sum + w[k]) + w[k + 8]; // slots past the end weigh +0, which adds nothing
    }
  }
  if (sums) *l = sum;
}

#endif
