// Causal grouped-query attention over a paged KV cache. One definition for prefill, chunked prefill, decode and the trainer.
//
// Order, f32, per query row (token at position p, head h; keys 0..p of its sequence):
//   keys in tiles of ZK_ATTN_TILE at absolute positions, tiles in splits of ZK_ATTN_SPLIT keys at absolute positions.
//   score[j] = chain over d ascending fma(q[d], k[j][d], acc) from +0, times scale (one rounding); keys past p do not exist.
//   within a split, tiles ascending, from m = -inf, l = +0, o = +0: mt = max of the tile's scores; if mt > m: a = zk_expf(m - mt)
//   (a = 0 when m = -inf), l *= a, o[d] *= a, m = mt. w[j] = zk_expf(score[j] - m); l += lanes sum of w over the tile (16 lanes, element j in
//   lane j % 16, ascending; then lane halving 8, 4, 2, 1; absent keys contribute +0); o[d] = fma(w[j], v[j][d], o[d]), j ascending.
//   splits ascending: (m, l, o) merged into the running (M, L, O): if M = -inf copy; else N = max(M, m), A = zk_expf(M - N), B = zk_expf(m - N),
//   L = fma(L, A, l * B), O[d] = fma(O[d], A, o[d] * B), M = N.   out[d] = O[d] / L.   lse = M + zk_logf(L).
//   A tile or split with no key is never visited.
// Backward (recomputes w = zk_expf(score - lse)): delta = chain over d ascending fma(do[d], out[d], acc);
//   dp[j] = chain over d ascending fma(do[d], v[j][d], acc); ds[j] = (w[j] * (dp[j] - delta)) * scale.
//   dq[d]: over keys 0..p ascending of fma(ds[j], k[j][d], acc).
//   dk[j][d], dv[j][d] of a KV head: each query head of the group has its own sum over query rows ascending from j, of
//   fma(ds, q[d], acc) and fma(w, do[d], acc); the heads' sums are added ascending.
//   These three sums are cut at absolute multiples of ZK_ATTN_PART of the position summed over (key for dq, query for dk, dv): each part
//   one chain from +0; the first part is the sum so far, each further part is added to it, ascending. Every addition rounds once.
//
// Order, bf16 (q, k, v, out and their gradients bf16; bf() rounds to bf16; "tc chain": kernels/tensor_core.h). c = f32(double(scale) *
// 1.4426950408889634), E = zk_exp2f, W = zk_exp2_bf16 (kernels/math.h). Tiles of ZK_ATTN_TILE_BF16 keys, splits of ZK_ATTN_SPLIT_BF16.
//   s[j] = tc chain over d of q[d] * k[j][d].
//   within a split, tiles ascending, from b = +inf, l[0..7] = +0, o = +0: mt = the tile's largest s; unless fma(mt, c, b) <= -72 (a NaN is not):
//   b' = fma(-mt, c, -80), a = E(b' - b), l[i] = l[i] * a, o[d] = o[d] * a, b = b'. w[j] = W(fma(s[j], c, b)), +0 for a slot whose key is past p;
//   l[j % 8] += w[j], j ascending; the tc chain of o[d] goes on over the tile's slots of w[j] * v[j][d]. A slot past p takes no part. At the end
//   l = ((l0 + l1) + (l2 + l3)) + ((l4 + l5) + (l6 + l7)).
//   splits merge ascending: (b, l, o) into the running (B, L, O): if B = +inf copy; else N = min(B, b), A = E(N - B), a = E(N - b),
//   L = fma(L, A, l * a), O[d] = fma(O[d], A, o[d] * a), B = N.   out[d] = bf((O[d] + 0) / L).   lse = zk_log2f(L * 2^80) - (B + 80).
// Backward: delta as above, widened. w[j] = E(fma(s[j], c, -lse)); dp[j] = tc chain over d of dout[d] * v[j][d]; ds[j] = bf(w[j] * (dp[j] - delta)).
//   dq[d] = bf((sum + 0) * scale): for each tile of keys the tc chain from +0 over its slots of ds[j] * k[j][d]; the tiles' sums added ascending.
//   dk[j][d] = bf((sum + 0) * scale), dv[j][d] = bf(sum + 0): tc chains over query rows, in steps of 16 at absolute positions, of ds * q[d] and bf(w) * dout[d];
//   a row before j has weight +0; cut at absolute multiples of ZK_ATTN_PART; parts, then heads, added ascending.
//   Each sum has +0 added before it is scaled, divided or rounded. So a step of slots that all take no part may be run or left out: the one
//   thing it could change is a -0 that a negative sum left when it fell below the subnormals.
#ifndef ZK_KERNELS_ATTENTION_H
#define ZK_KERNELS_ATTENTION_H

#include "kernels/device.h"

#define ZK_ATTN_TILE 64
#define ZK_ATTN_SPLIT 512
#define ZK_ATTN_TILE_BF16 128
#define ZK_ATTN_SPLIT_BF16 512
#define ZK_ATTN_PART 4096 // backward, both
#define ZK_PAGE_MULTIPLE 16 // a page's tokens are a multiple of this

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  zk_numerics numerics;
  int32_t num_heads;    // query heads, Hq
  int32_t num_kv_heads; // Hkv, divides Hq
  int32_t head_dim;     // D, a multiple of 8
  int32_t page_tokens;  // tokens in a KV page, a multiple of 16
  float scale;          // 1 / sqrt(D), rounded to f32
} zk_attention_desc;

// The rows of one step: fixed-capacity int32 arrays in device memory. Rows of a sequence are adjacent, positions ascending by one.
typedef struct {
  int32_t num_rows;              // query tokens, T
  int32_t num_seqs;              // sequences, S
  int32_t max_pages;             // width of page_table
  const int32_t *seq_row_start;  // [S + 1] rows of sequence s: [seq_row_start[s], seq_row_start[s + 1])
  const int32_t *seq_first_pos;  // [S] absolute position of the sequence's first row in this step (0 in the trainer)
  const int32_t *page_table;     // [S, max_pages] page index of the sequence's keys [i * page_tokens, ...)
  const int32_t *seq_shared_pages; // [S] or NULL: how many of a sequence's first pages are also the first of the sequence before it; 0 says nothing.
                                   // A kernel may read such pages once for both, which changes no bit
} zk_attention_batch;

// Bytes of the K (or V: the same) cache of one layer with num_pages pages. The layout inside is private to the kernels.
size_t zk_kv_cache_bytes(const zk_device *device, const zk_attention_desc *desc, int32_t num_pages);

// Writes k[T,Hkv,D], v[T,Hkv,D] of the batch's rows to their pages. Attention of the same rows must come after.
zk_status zk_kv_write(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *k, const void *v,
                      void *k_cache, void *v_cache);
// Copies page `src` to page `dst` in one layer's caches (copy-on-write of a shared prompt's last, partly filled page).
zk_status zk_kv_copy_page(zk_stream *stream, const zk_attention_desc *desc, int32_t src, int32_t dst, void *k_cache, void *v_cache);

// out[T,Hq,D] from q[T,Hq,D]; lse[T,Hq] fp32 when not NULL.
zk_status zk_attention_forward(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *q,
                               const void *k_cache, const void *v_cache, void *out, float *lse);
// Every sequence of the batch is whole (seq_first_pos 0). dq[T,Hq,D], dk[T,Hkv,D], dv[T,Hkv,D] are overwritten.
zk_status zk_attention_backward(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *q,
                                const void *k_cache, const void *v_cache, const void *out, const void *dout, const float *lse, void *dq,
                                void *dk, void *dv);

// For kernels/ only: whether this is attention at all, before a device is asked for a kernel of its own for it.
zk_status zk_attention_require(const zk_attention_desc *desc);

#ifdef __cplusplus
}
#endif
#endif
