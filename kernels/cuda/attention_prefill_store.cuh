// How splits of a row join in the prefill kernel, and how its results leave: merged sums wait in shared memory, each
// thread's own; quotients are those of IEEE division; a row leaves in pieces of 16 bytes.
#ifndef ZK_KERNELS_CUDA_ATTENTION_PREFILL_STORE_CUH
#define ZK_KERNELS_CUDA_ATTENTION_PREFILL_STORE_CUH

#include "kernels/cuda/attention_merge.cuh"
#include "kernels/cuda/attention_prefill_softmax.cuh"

// The merged splits of a lane's two rows (M, L), M their b, and of one split that joins them the factors of the total
// and of o; copy: the total is o.
struct zk_prefill_merged {
  float M[2], L[2], A[2], B[2];
  bool copy[2];
};

static __device__ __forceinline__ zk_prefill_merged zk_prefill_merge_none() {
  return {{INFINITY, INFINITY}, {0.0f, 0.0f}, {0.0f, 0.0f}, {0.0f, 0.0f}, {false, false}};
}

// (b, l) of a finished split into (M, L); o follows in zk_prefill_merge_values.
static __device__ __forceinline__ void zk_prefill_merge(const zk_attn_exp_bf16 &weight, const zk_softmax_state &split,
                                                        zk_prefill_merged *rows) {
#pragma unroll
  for (int r = 0; r < 2; ++r)
    rows->copy[r] = zk_attn_merge(weight, split.b[r], zk_softmax_sum(split.l[r]), &rows->M[r], &rows->L[r], &rows->A[r],
                                  &rows->B[r]);
}

// o = the total with o merged into it. Where all rows of the warp copy, the total is not read; where none does, no
// selection is needed. total: this thread's, its pieces THREADS apart.
template <int THREADS, int N>
static __device__ __forceinline__ void zk_prefill_merge_values(const zk_prefill_merged &rows, const zk_float4 *total,
                                                               float (&o)[N]) {
  if (__all_sync(0xffffffffu, rows.copy[0] && rows.copy[1])) return;
  const bool any = __any_sync(0xffffffffu, rows.copy[0] || rows.copy[1]);
#pragma unroll
  for (int i = 0; i < N / 4; ++i) {
    const zk_float4 x = total[i * THREADS];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float merged = fmaf(x.at[e], rows.A[e / 2], o[4 * i + e] * rows.B[e / 2]);
      o[4 * i + e] = any && rows.copy[e / 2] ? o[4 * i + e] : merged;
    }
  }
}

// o[i] = (o[i] + 0) / l, the correctly rounded quotient. With y = 1 / l correctly rounded and q = x y, the quotient is
// fma(fma(-q, l, x), y, q) (Markstein), as long as nothing overflows and the inner remainder is no subnormal: then three
// operations do for a division's dozen. The bounds below see to that; beyond them, and where o is 0, a warp divides.
template <int N>
static __device__ __forceinline__ void zk_prefill_divide(const zk_attn_exp_bf16 &weight, const float l[2],
                                                         float (&o)[N]) {
  const float y[2] = {1.0f / l[0], 1.0f / l[1]};
  float most = 0.0f, least = INFINITY;
#pragma unroll
  for (int i = 0; i < N; ++i) most = zk_prefill_max(most, fabsf(o[i])), least = fminf(least, fabsf(o[i]));
  const float low = fminf(l[0], l[1]), high = zk_prefill_max(l[0], l[1]);
  const bool usual = (low > 0x1p-90f) & (high < 0x1p+20f) & (most < 0x1p+30f) & (least > 0x1p-100f);
  if (__all_sync(0xffffffffu, usual)) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float x = o[i] + 0.0f, q = x * y[i / 2 % 2];
      o[i] = fmaf(fmaf(-q, l[i / 2 % 2], x), y[i / 2 % 2], q);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) o[i] = weight.out(o[i], l[i / 2 % 2]);
  }
}

// The four lanes of a row have four words each; lane c gets word c of each, in the lanes' order.
static __device__ __forceinline__ zk_vec16 zk_prefill_turn(const uint32_t w[4]) {
  const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
  uint32_t first[2], second[2]; // of this lane and its neighbour: word odd, and word odd + 2
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t mine = odd ? w[2 * i + 1] : w[2 * i],
                   other = __shfl_xor_sync(0xffffffffu, odd ? w[2 * i] : w[2 * i + 1], 1);
    first[i] = odd ? other : mine, second[i] = odd ? mine : other;
  }
  const uint32_t a = __shfl_xor_sync(0xffffffffu, upper ? first[0] : first[1], 2),
                 b = __shfl_xor_sync(0xffffffffu, upper ? second[0] : second[1], 2);
  if (upper) return {{a, b, first[1], second[1]}};
  return {{first[0], second[0], a, b}};
}

// Results of row r, which is row `row` of out: merged and divided by all lanes; those of its own four store them if
// `there`.
template <int D>
static __device__ __forceinline__ void zk_prefill_store(const zk_attn_exp_bf16 &weight, size_t row, bool there, int r,
                                                        const zk_prefill_merged &rows, const float (&o)[D / 2],
                                                        zk_bf16 *out, float *lse) {
  const int32_t lane = (int32_t)threadIdx.x % 4;
#pragma unroll
  for (int m = 0; m < D / 32; ++m) {
    uint32_t w[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) w[i] = zk_pack_bf16(o[16 * m + 4 * i + 2 * r], o[16 * m + 4 * i + 2 * r + 1]);
    const zk_vec16 piece = zk_prefill_turn(w);
    if (there) *(zk_vec16 *)(out + row * (size_t)D + 32 * m + 8 * lane) = piece;
  }
  if (there && lane == 0 && lse != NULL) lse[row] = weight.lse(rows.M[r], rows.L[r]);
}

// The same of one split alone: its sums, to the partials.
template <int D>
static __device__ __forceinline__ void zk_prefill_store_split(const zk_attn_partials &partials, size_t row,
                                                              int32_t split, bool there, int r,
                                                              const zk_prefill_merged &rows, const float (&o)[D / 2]) {
  if (!there) return;
  const int32_t lane = (int32_t)threadIdx.x % 4;
  const size_t part = row * (size_t)partials.num_splits + (size_t)split;
#pragma unroll
  for (int i = 0; i < D / 8; ++i)
    *(float2 *)(partials.o + part * (size_t)D + 8 * i + 2 * lane) = make_float2(o[4 * i + 2 * r], o[4 * i + 2 * r + 1]);
  if (lane == 0) partials.ml[2 * part] = rows.M[r], partials.ml[2 * part + 1] = rows.L[r];
}

#endif
