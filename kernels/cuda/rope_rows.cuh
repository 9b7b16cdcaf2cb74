// What a layer does between its q, k and v products and its attention, in one pass over them, in bf16: head norms,
// RoPE, and the cache.
//
// A token's heads are numbered q first, then k, then v; DIM / 8 neighbouring threads of a warp have a head, 8 elements
// each, and a thread has the same elements of several heads, so that it reads its cosines and sines once. Each number
// is rounded where the separate operations store it: a norm's result before RoPE widens it.
#ifndef ZK_KERNELS_CUDA_ROPE_ROWS_CUH
#define ZK_KERNELS_CUDA_ROPE_ROWS_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/rmsnorm_rows.cuh"

struct zk_rope_rows {
  int32_t num_heads, num_kv_heads;    // of q; of k and of v
  float eps, sign;                    // sign of the sines: -1 backward
  const zk_bf16 *q_in, *k_in, *v;     // [T, heads, DIM]
  const zk_bf16 *q_weight, *k_weight; // [DIM], or NULL: no head norm
  zk_bf16 *q;                         // may be q_in
  float *rstd_q, *rstd_k;             // [T, heads], or NULL
  const int32_t *positions;           // [T]
  const float *cos_table, *sin_table; // [.., DIM / 2]
  zk_bf16 *k_cache, *v_cache;
};

enum { ZK_ROPE_ROWS_THREADS = 128 };

// The sequence of a row: the last s with start[s] <= row. By a whole warp, 32 probes at a time.
static __device__ __forceinline__ int32_t zk_sequence_of(const int32_t *start, int32_t num_seqs, int32_t row) {
  int32_t low = 0, high = num_seqs;
  while (high - low > 1) {
    const int32_t step = (high - low + 31) / 32, probe = low + (int32_t)(threadIdx.x % 32) * step;
    const int32_t found = __popc(__ballot_sync(0xffffffffu, probe < high && start[probe] <= row)) - 1;
    low += found * step;
    high = zk_attn_min(low + step, high);
  }
  return low;
}

// One level of the halving of COUNT sums over two threads `away` apart: each keeps half of the sums and gives the other
// half away.
template <int COUNT>
static __device__ __forceinline__ void zk_halve_and_share(const float (&sum)[COUNT], float (&kept)[COUNT / 2],
                                                          int away) {
  const bool upper = threadIdx.x & away;
#pragma unroll
  for (int i = 0; i < COUNT / 2; i++) {
    const float mine = upper ? sum[i + COUNT / 2] : sum[i], theirs = upper ? sum[i] : sum[i + COUNT / 2];
    kept[i] = mine + __shfl_xor_sync(0xffffffffu, theirs, away);
  }
}

// The norm of a head, rounded as it would be stored. All threads of a warp call it; DIM / 8 of them have a head, and so
// 8 lanes each (with DIM < 128 the lanes beyond are +0, which changes no sum of squares). The halving down to 8 lanes
// is across threads; as each level leaves a thread half of its sums, lanes 4, 2 and 1 apart are then in threads DIM /
// 16, DIM / 32 and DIM / 64 apart.
template <int DIM>
static __device__ __forceinline__ void zk_head_norm(zk_words<4> &x, const zk_words<4> &w, float eps, float *rstd) {
  static_assert(DIM == 64 || DIM == 128, "three levels share out all 8 sums");
  float lane[8], four[4], two[2], one[1];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float low = zk_low_bf16(x.w[i]), high = zk_high_bf16(x.w[i]);
    lane[2 * i] = fmaf(low, low, 0.0f), lane[2 * i + 1] = fmaf(high, high, 0.0f);
  }
  zk_halve_and_share(lane, four, DIM / 16);
  zk_halve_and_share(four, two, DIM / 32);
  zk_halve_and_share(two, one, DIM / 64);
  float sum = one[0];
  if (DIM == 128) sum = sum + __shfl_xor_sync(0xffffffffu, sum, 1);
#pragma unroll
  for (int away = DIM / 16; away >= DIM / 64; away /= 2) sum = sum + __shfl_xor_sync(0xffffffffu, sum, away);
  const float scale =
      1.0f / sqrtf(sum * (1.0f / DIM) + eps); // dividing by a power of two and multiplying by its inverse round alike
  if (rstd != NULL) *rstd = scale;
  zk_rms_apply(x, w, scale);
}

// x turned with its partner, DIM / 16 threads away, which has the same elements of the head's other half; s: negative
// for the lower half.
template <int DIM>
static __device__ __forceinline__ void zk_rotate(zk_words<4> &x, const float (&c)[8], const float (&s)[8]) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const uint32_t other = __shfl_xor_sync(0xffffffffu, x.w[i], DIM / 16);
    x.w[i] = zk_pack_bf16(fmaf(zk_low_bf16(other), s[2 * i], zk_low_bf16(x.w[i]) * c[2 * i]),
                          fmaf(zk_high_bf16(other), s[2 * i + 1], zk_high_bf16(x.w[i]) * c[2 * i + 1]));
  }
}

// grid: (tokens, blocks of heads). A thread has DEPTH heads.
template <int DIM, int DEPTH>
__global__ void __launch_bounds__(ZK_ROPE_ROWS_THREADS) zk_rope_rows_kernel(zk_rope_rows r, zk_attn a) {
  constexpr int PIECES = DIM / 8, AT_ONCE = ZK_ROPE_ROWS_THREADS / PIECES;
  const int64_t token = blockIdx.x;
  const int piece = (int)threadIdx.x % PIECES, half = DIM / 2, q_heads = r.num_heads, kv_heads = r.num_kv_heads;
  const int block_head = (int)blockIdx.y * AT_ONCE * DEPTH, first = block_head + (int)threadIdx.x / PIECES;
  zk_wait_for_previous();
  zk_let_next_start();
  zk_words<4> x[DEPTH];
#pragma unroll
  for (int u = 0; u < DEPTH; u++) {
    const int head = first + u * AT_ONCE;
    x[u] = {};
    if (head < q_heads) x[u] = *(const zk_words<4> *)(r.q_in + (token * q_heads + head) * DIM + piece * 8);
    else if (head < q_heads + kv_heads)
      x[u] = *(const zk_words<4> *)(r.k_in + (token * kv_heads + head - q_heads) * DIM + piece * 8);
    else if (head < q_heads + 2 * kv_heads)
      x[u] = *(const zk_words<4> *)(r.v + (token * kv_heads + head - q_heads - kv_heads) * DIM + piece * 8);
  }
  float c[8], s[8];
  const float sign = piece < PIECES / 2 ? -r.sign : r.sign;
  const int64_t angle = (int64_t)r.positions[token] * half + piece * 8 % half;
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
    const zk_float4 cosines = *(const zk_float4 *)(r.cos_table + angle + i),
                    sines = *(const zk_float4 *)(r.sin_table + angle + i);
#pragma unroll
    for (int j = 0; j < 4; j++) c[i + j] = cosines.at[j], s[i + j] = sign * sines.at[j];
  }
  int64_t slot = 0; // of the token in a cache page of its first KV head
  int64_t head_stride = 0;
  if (block_head + AT_ONCE * DEPTH > q_heads && kv_heads > 0) {
    const int32_t seq = zk_sequence_of(a.seq_row_start, a.num_seqs, (int32_t)token);
    const int32_t pos = a.seq_first_pos[seq] + (int32_t)token - a.seq_row_start[seq];
    slot = (int64_t)zk_attn_key(a, a.page_table + (size_t)seq * (size_t)a.max_pages, 0, pos);
    head_stride = (int64_t)a.page_tokens * DIM;
  }
#pragma unroll
  for (int u = 0; u < DEPTH; u++) {
    const int head = first + u * AT_ONCE, kv = head - q_heads;
    const bool is_q = head < q_heads;
    if (r.q_weight != NULL) {
      const zk_words<4> w = *(const zk_words<4> *)((is_q ? r.q_weight : r.k_weight) + piece * 8);
      float *rstd = is_q ? r.rstd_q : r.rstd_k;
      if (piece > 0 || kv >= kv_heads) rstd = NULL;
      else if (rstd != NULL) rstd += is_q ? token * q_heads + head : token * kv_heads + kv;
      zk_words<4> normed = x[u];
      zk_head_norm<DIM>(normed, w, r.eps, rstd);
      if (kv < kv_heads) x[u] = normed;
    }
    zk_words<4> turned = x[u];
    zk_rotate<DIM>(turned, c, s);
    if (is_q) *(zk_words<4> *)(r.q + (token * q_heads + head) * DIM + piece * 8) = turned;
    else if (kv < kv_heads) *(zk_words<4> *)(r.k_cache + slot + kv * head_stride + piece * 8) = turned;
    else if (kv < 2 * kv_heads) *(zk_words<4> *)(r.v_cache + slot + (kv - kv_heads) * head_stride + piece * 8) = x[u];
  }
}

#endif
