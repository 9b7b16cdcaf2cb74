// What a layer does between its q, k and v products and its attention, in one pass over them, in bf16: head norms,
// RoPE, and the cache.
//
// A token's heads are numbered q first, then k, then v; DIM / 16 neighbouring threads of a warp have a head. A thread has
// 8 elements of the head's first half and their partners in the second, so that it turns them alone; and the same
// elements of several heads, so that it reads its cosines and sines once. Each number is rounded where the separate
// operations store it: a norm's result before RoPE widens it.
//
// With few tokens all that is needed besides q, k and v (angles, places in the cache) is read while the kernel that makes
// them still runs.
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
  r.num_heads = desc->attention.num_heads, r.num_kv_heads = desc->attention.num_kv_heads, r.eps = desc->eps, r.sign = 1.0f;
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

// The norm of a head, rounded as it would be stored. All threads of a warp call it; DIM / 16 of them have a head, and so
// 8 lanes each once lanes DIM / 2 apart, which are in one thread, are added (with DIM < 128 the lanes beyond are +0,
// which changes no sum of squares). As each further level leaves a thread half of its sums, the three lowest bits of a
// lane's number become bits of a thread's.
template <int DIM>
static __device__ __forceinline__ void zk_head_norm(zk_head_piece &x, const zk_head_piece &w, float eps, float *rstd) {
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
  float sum = one[0];
  if (DIM == 128) sum = sum + __shfl_xor_sync(0xffffffffu, sum, 4), sum = sum + __shfl_xor_sync(0xffffffffu, sum, 2);
  sum = sum + __shfl_xor_sync(0xffffffffu, sum, 1);
  if (DIM == 64) sum = sum + __shfl_xor_sync(0xffffffffu, sum, 2);
  const float scale =
      1.0f / sqrtf(sum * (1.0f / DIM) + eps); // dividing by a power of two and multiplying by its inverse round alike
  if (rstd != NULL) *rstd = scale;
  zk_rms_apply(x.low, w.low, scale);
  zk_rms_apply(x.high, w.high, scale);
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

// grid: (tokens, blocks of heads). A thread has DEPTH heads: one, and then all else is read before them, while the kernel
// ahead runs; or several, to keep memory busy, and they come first.
template <int DIM, int DEPTH>
__global__ void __launch_bounds__(ZK_ROPE_ROWS_THREADS, DEPTH == 1 ? 8 : 6)
    zk_rope_rows_kernel(zk_rope_rows r, zk_attn a) {
  constexpr int PIECES = DIM / 16, AT_ONCE = ZK_ROPE_ROWS_THREADS / PIECES;
  const int64_t token = blockIdx.x;
  const int piece = (int)threadIdx.x % PIECES, half = DIM / 2, q_heads = r.num_heads, kv_heads = r.num_kv_heads;
  const int block_head = (int)blockIdx.y * AT_ONCE * DEPTH, first = block_head + (int)threadIdx.x / PIECES,
            warp_first = block_head + (int)threadIdx.x / 32 * (32 / PIECES);
  zk_head_piece x[DEPTH];
  if (DEPTH == 1) zk_let_next_start(); // a few tokens' attention may ask for the keys before them meanwhile
  const auto load = [&] {
    zk_wait_for_previous();
    if (DEPTH > 1) zk_let_next_start();
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
      const int head = first + u * AT_ONCE;
      x[u] = {};
      if (head < q_heads) x[u] = zk_load_head<DIM>(r.q_in + (token * q_heads + head) * DIM, piece);
      else if (head < q_heads + kv_heads)
        x[u] = zk_load_head<DIM>(r.k_in + (token * kv_heads + head - q_heads) * DIM, piece);
      else if (head < q_heads + 2 * kv_heads)
        x[u] = zk_load_head<DIM>(r.v + (token * kv_heads + head - q_heads - kv_heads) * DIM, piece);
    }
  };
  if (DEPTH > 1) load();
  float c[8], s[8];
  const int64_t angle = (int64_t)r.positions[token] * half + piece * 8;
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
    const zk_float4 cosines = *(const zk_float4 *)(r.cos_table + angle + i),
                    sines = *(const zk_float4 *)(r.sin_table + angle + i);
#pragma unroll
    for (int j = 0; j < 4; j++) c[i + j] = cosines.at[j], s[i + j] = r.sign * sines.at[j];
  }
  int64_t slot = 0; // of the token in a cache page of its first KV head
  int64_t head_stride = 0;
  if (block_head + AT_ONCE * DEPTH > q_heads && kv_heads > 0) {
    const int32_t seq = zk_sequence_of(a.seq_row_start, a.num_seqs, (int32_t)token);
    const int32_t pos = a.seq_first_pos[seq] + (int32_t)token - a.seq_row_start[seq];
    slot = (int64_t)zk_attn_key(a, a.page_table + (size_t)seq * (size_t)a.max_pages, 0, pos);
    head_stride = (int64_t)a.page_tokens * DIM;
  }
  if (DEPTH == 1) load();
#pragma unroll
  for (int u = 0; u < DEPTH; u++) {
    const int head = first + u * AT_ONCE, kv = head - q_heads;
    const bool is_q = head < q_heads;
    if (warp_first + u * AT_ONCE >= q_heads + kv_heads) { // all of the warp's heads are v's
      if (kv < 2 * kv_heads) zk_store_head<DIM>(r.v_cache + slot + (kv - kv_heads) * head_stride, piece, x[u]);
      continue;
    }
    zk_head_piece turned = x[u];
    if (r.q_weight != NULL) {
      float *rstd = is_q ? r.rstd_q : r.rstd_k;
      if (piece > 0 || kv >= kv_heads) rstd = NULL;
      else if (rstd != NULL) rstd += is_q ? token * q_heads + head : token * kv_heads + kv;
      zk_head_norm<DIM>(turned, zk_load_head<DIM>(is_q ? r.q_weight : r.k_weight, piece), r.eps, rstd);
    }
    zk_rotate(turned, c, s);
    if (is_q) zk_store_head<DIM>(r.q + (token * q_heads + head) * DIM, piece, turned);
    else if (kv < kv_heads) zk_store_head<DIM>(r.k_cache + slot + kv * head_stride, piece, turned);
    else if (kv < 2 * kv_heads) zk_store_head<DIM>(r.v_cache + slot + (kv - kv_heads) * head_stride, piece, x[u]);
  }
}

#endif
