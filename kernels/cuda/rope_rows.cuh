// What a layer does between its q, k and v products and its attention, in one pass over them, in bf16: head norms,
// RoPE, and the cache.
//
// A token's heads are numbered q first, then k, then v; DIM / 16 neighbouring threads of a warp have a head. A thread
// has 8 elements of the head's first half and their partners in the second, so that it turns them alone. Each number
// is rounded where the separate operations store it: a norm's result before RoPE widens it.
//
// The kernel here is for few tokens; many go through rope_ring.cuh.
#ifndef ZK_KERNELS_CUDA_ROPE_ROWS_CUH
#define ZK_KERNELS_CUDA_ROPE_ROWS_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/rmsnorm_rows.cuh"
#include "kernels/rope_cache.h"

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

static inline zk_rope_rows zk_rope_rows_of(const zk_rope_cache_desc *desc, const zk_rope_cache_io *io) {
  zk_rope_rows r = {};
  r.num_heads = desc->attention.num_heads, r.num_kv_heads = desc->attention.num_kv_heads, r.eps = desc->eps,
  r.sign = 1.0f;
  r.q_in = (const zk_bf16 *)io->q_raw, r.k_in = (const zk_bf16 *)io->k_raw, r.v = (const zk_bf16 *)io->v;
  r.q_weight = (const zk_bf16 *)desc->q_weight, r.k_weight = (const zk_bf16 *)desc->k_weight;
  r.q = (zk_bf16 *)io->q, r.rstd_q = io->rstd_q, r.rstd_k = io->rstd_k;
  r.positions = desc->positions, r.cos_table = desc->cos_table, r.sin_table = desc->sin_table;
  r.k_cache = (zk_bf16 *)io->k_cache, r.v_cache = (zk_bf16 *)io->v_cache;
  return r;
}
// Whether there is a kernel for such heads: 16-byte pieces must lie at multiples of 16 bytes.
static inline bool zk_has_rope_rows(zk_numerics numerics, int32_t head_dim, const zk_rope_rows &r) {
  const void *const pointers[] = {r.q_in, r.k_in,      r.v,         r.q_weight, r.k_weight,
                                  r.q,    r.cos_table, r.sin_table, r.k_cache,  r.v_cache};
  uintptr_t all = 0;
  for (const void *p : pointers) all |= (uintptr_t)p;
  return numerics != ZK_F32 && (head_dim == 64 || head_dim == 128) && all % 16 == 0;
}

enum { ZK_ROPE_ROWS_THREADS = 128 };

// A thread's share of a head: 8 elements of each half.
struct zk_head_piece {
  zk_words<4> low, high;
};

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

// One level of the halving of COUNT sums over two threads `away` apart: each keeps half of the sums and gives the
// other half away.
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

// A head's sum of squares is that of 128 lanes (lanes.cuh), DIM / 16 threads having 8 each once lanes DIM / 2 apart,
// which are in one thread, are added (with DIM < 128 the lanes beyond are +0, which changes no sum of squares). As
// each further level leaves a thread half of its sums, the three lowest bits of a lane's number become bits of a
// thread's; here are the first three levels over threads. All threads of a warp call it.
template <int DIM> static __device__ __forceinline__ float zk_head_lanes(const zk_head_piece &x) {
  static_assert(DIM == 64 || DIM == 128, "three levels share out all 8 sums");
  float lane[8], four[4], two[2], one[1];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float a = zk_low_bf16(x.low.w[i]), b = zk_high_bf16(x.low.w[i]), c = zk_low_bf16(x.high.w[i]),
                d = zk_high_bf16(x.high.w[i]);
    lane[2 * i] = a * a + c * c, lane[2 * i + 1] = b * b + d * d;
  }
  zk_halve_and_share(lane, four, DIM == 128 ? 4 : 2);
  zk_halve_and_share(four, two, DIM == 128 ? 2 : 1);
  zk_halve_and_share(two, one, DIM == 128 ? 1 : 2);
  return one[0];
}

// 1 / the root mean square; dividing by a power of two and multiplying by its inverse round alike.
template <int DIM> static __device__ __forceinline__ float zk_head_scale(float sum, float eps) {
  return 1.0f / sqrtf(sum * (1.0f / DIM) + eps);
}

// The norm of a head, rounded as it would be stored.
template <int DIM>
static __device__ __forceinline__ void zk_head_norm(zk_head_piece &x, const zk_head_piece &w, float eps, float *rstd) {
  float sum = zk_head_lanes<DIM>(x);
  if (DIM == 128) sum = sum + __shfl_xor_sync(0xffffffffu, sum, 4), sum = sum + __shfl_xor_sync(0xffffffffu, sum, 2);
  sum = sum + __shfl_xor_sync(0xffffffffu, sum, 1);
  if (DIM == 64) sum = sum + __shfl_xor_sync(0xffffffffu, sum, 2);
  const float scale = zk_head_scale<DIM>(sum, eps);
  if (rstd != NULL) *rstd = scale;
  zk_rms_apply(x.low, w.low, scale), zk_rms_apply(x.high, w.high, scale);
}

// The scales of four heads at once: the last levels leave a thread the sum of one of them, zk_head_of_four(), whose
// scale it computes for the others, and returns.
template <int DIM> static __device__ __forceinline__ int zk_head_of_four() {
  const int thread = (int)threadIdx.x;
  return DIM == 128 ? thread / 2 % 4 : thread % 2 * 2 + thread / 2 % 2;
}
template <int DIM>
static __device__ __forceinline__ float zk_four_scales(const float (&lanes)[4], float eps, float (&scale)[4]) {
  float two[2], one[1];
  zk_halve_and_share(lanes, two, DIM == 128 ? 4 : 1);
  zk_halve_and_share(two, one, 2);
  if (DIM == 128) one[0] = one[0] + __shfl_xor_sync(0xffffffffu, one[0], 1);
  const float mine = zk_head_scale<DIM>(one[0], eps);
#pragma unroll
  for (int u = 0; u < 4; u++)
    scale[u] = __shfl_sync(0xffffffffu, mine, DIM == 128 ? 2 * u : u / 2 + u % 2 * 2, DIM / 16);
  return mine;
}

// x turned by the angles with cosines c and sines s.
static __device__ __forceinline__ void zk_rotate(zk_head_piece &x, const float (&c)[8], const float (&s)[8]) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float a = zk_low_bf16(x.low.w[i]), b = zk_high_bf16(x.low.w[i]), u = zk_low_bf16(x.high.w[i]),
                v = zk_high_bf16(x.high.w[i]);
    x.low.w[i] = zk_pack_bf16(fmaf(-u, s[2 * i], a * c[2 * i]), fmaf(-v, s[2 * i + 1], b * c[2 * i + 1]));
    x.high.w[i] = zk_pack_bf16(fmaf(a, s[2 * i], u * c[2 * i]), fmaf(b, s[2 * i + 1], v * c[2 * i + 1]));
  }
}

template <int DIM> static __device__ __forceinline__ zk_head_piece zk_load_head(const zk_bf16 *head, int piece) {
  const zk_bf16 *at = head + piece * 8;
  return {*(const zk_words<4> *)at, *(const zk_words<4> *)(at + DIM / 2)};
}
template <int DIM>
static __device__ __forceinline__ void zk_store_head(zk_bf16 *head, int piece, const zk_head_piece &x) {
  zk_bf16 *at = head + piece * 8;
  *(zk_words<4> *)at = x.low, *(zk_words<4> *)(at + DIM / 2) = x.high;
}

// Cosines and sines of a thread's 8 pairs of elements.
static __device__ __forceinline__ void zk_load_angles(const float *cosines, const float *sines, float sign,
                                                      float (&c)[8], float (&s)[8]) {
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
    const zk_float4 cosine = *(const zk_float4 *)(cosines + i), sine = *(const zk_float4 *)(sines + i);
#pragma unroll
    for (int j = 0; j < 4; j++) c[i + j] = cosine.at[j], s[i + j] = sign * sine.at[j];
  }
}

// Where head `head` of a token belongs: q's row, or a cache's slot, whose heads are head_stride apart; NULL beyond v.
template <int DIM>
static __device__ __forceinline__ zk_bf16 *zk_head_place(const zk_rope_rows &r, int64_t token, int head, int64_t slot,
                                                         int64_t head_stride) {
  const int kv = head - r.num_heads;
  if (kv < 0) return r.q + (token * r.num_heads + head) * DIM;
  if (kv < r.num_kv_heads) return r.k_cache + slot + kv * head_stride;
  return kv < 2 * r.num_kv_heads ? r.v_cache + slot + (kv - r.num_kv_heads) * head_stride : NULL;
}
// Where its rstd belongs, or NULL.
static __device__ __forceinline__ float *zk_head_rstd(const zk_rope_rows &r, int64_t token, int head) {
  const int kv = head - r.num_heads;
  if (kv < 0) return r.rstd_q == NULL ? NULL : r.rstd_q + token * r.num_heads + head;
  return r.rstd_k == NULL || kv >= r.num_kv_heads ? NULL : r.rstd_k + token * r.num_kv_heads + kv;
}

// grid: (tokens, blocks of heads). A thread has one head's piece. All that is needed besides q, k and v is read while
// the kernel ahead runs.
template <int DIM>
__global__ void __launch_bounds__(ZK_ROPE_ROWS_THREADS, 8) zk_rope_rows_kernel(zk_rope_rows r, zk_attn a) {
  constexpr int PIECES = DIM / 16, AT_ONCE = ZK_ROPE_ROWS_THREADS / PIECES;
  const int64_t token = blockIdx.x;
  const int piece = (int)threadIdx.x % PIECES, half = DIM / 2, q_heads = r.num_heads, kv_heads = r.num_kv_heads;
  const int block_head = (int)blockIdx.y * AT_ONCE, head = block_head + (int)threadIdx.x / PIECES,
            warp_head = block_head + (int)threadIdx.x / 32 * (32 / PIECES);
  zk_let_next_start(); // a few tokens' attention may ask for the keys before them meanwhile
  float c[8], s[8];
  const int64_t angle = (int64_t)r.positions[token] * half + piece * 8;
  zk_load_angles(r.cos_table + angle, r.sin_table + angle, r.sign, c, s);
  int64_t slot = 0; // of the token in a cache page of its first KV head
  int64_t head_stride = 0;
  if (block_head + AT_ONCE > q_heads && kv_heads > 0) {
    const int32_t seq = zk_sequence_of(a.seq_row_start, a.num_seqs, (int32_t)token);
    const int32_t pos = a.seq_first_pos[seq] + (int32_t)token - a.seq_row_start[seq];
    slot = (int64_t)zk_attn_key(a, a.page_table + (size_t)seq * (size_t)a.max_pages, 0, pos);
    head_stride = (int64_t)a.page_tokens * DIM;
  }
  zk_wait_for_previous();
  zk_head_piece x = {};
  if (head < q_heads) x = zk_load_head<DIM>(r.q_in + (token * q_heads + head) * DIM, piece);
  else if (head < q_heads + kv_heads) x = zk_load_head<DIM>(r.k_in + (token * kv_heads + head - q_heads) * DIM, piece);
  else if (head < q_heads + 2 * kv_heads)
    x = zk_load_head<DIM>(r.v + (token * kv_heads + head - q_heads - kv_heads) * DIM, piece);
  zk_head_piece turned = x;
  if (warp_head < q_heads + kv_heads) { // not all of the warp's heads are v's
    if (r.q_weight != NULL) {
      const zk_head_piece w = zk_load_head<DIM>(head < q_heads ? r.q_weight : r.k_weight, piece);
      zk_head_norm<DIM>(turned, w, r.eps, piece == 0 ? zk_head_rstd(r, token, head) : NULL);
    }
    zk_rotate(turned, c, s);
  }
  zk_bf16 *to = zk_head_place<DIM>(r, token, head, slot, head_stride);
  if (to != NULL) zk_store_head<DIM>(to, piece, head < q_heads + kv_heads ? turned : x);
}

#endif
