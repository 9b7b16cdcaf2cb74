// LM head fused with what is wanted of the logits: log-probability of a given token, or a sampled token and its log-probability.
// Logits are formed tile by tile over the vocabulary and never stored whole for a batch.
//
// Order.
//   logit[v] = chain over hidden ascending fma(x[k], W[v][k], acc) from +0 (no bias).
//   z[v] = logit[v] * inv_t, inv_t = (float)(1.0 / temperature); skipped when temperature is 1 or 0. With a filter, v outside the kept
//   set has z = -inf and takes part in nothing that follows.
//   Log-sum-exp and entropy: vocabulary tiles of ZK_VOCAB_TILE ids. In a tile: mt = max z; e[v] = zk_expf(z[v] - mt) (0 for -inf);
//   lt = lanes (kernels/reduce.h) over e; ht = lanes over fma(e, z, lane), kept v only.
//   Tiles ascending into the running (m, l, h) from (-inf, 0, 0): mt = -inf: skip; m = -inf: copy; else n = max(m, mt),
//   a = zk_expf(m - n), b = zk_expf(mt - n), l = fma(l, a, lt * b), h = fma(h, a, ht * b), m = n.
//   lse = m + zk_logf(l); logprob = z[token] - lse; entropy = lse - h / l.
//   Sampling: argmax over kept v of (z[v] + gumbel(v)), ties to the lowest id; gumbel from kernels/rng.h.
//   Greedy (temperature 0): argmax of logit, ties to the lowest id; the log-probability is that of the temperature-1 distribution (over
//   the kept set when there is a filter).
//   Filter: ids by (logit descending, id ascending); top_k keeps the first k; of these, weights floor(zk_expf(z - zmax) * 2^40) as
//   integers, and top_p keeps the shortest prefix, of at least one, whose exact sum reaches p of their total:
//   sum * 2^32 >= floor(p * 2^32 + 0.5) * total.
//   logits_hash = sum over v of mix64(bits(logit[v]), v) modulo 2^64 (kernels/hash.h), over all v before temperature and filter.
// Backward, given lse and dlogprob: p[v] = zk_expf(z[v] - lse) (0 if not kept); dz[v] = ((v == token) - p[v]) * dlogprob;
//   with dentropy, to that q[v] = p[v] * ((z[v] - lse) + entropy) (+0 where p[v] is 0), dz[v] = fma(q[v], -dentropy, dz[v]), which is d entropy / d z;
//   dlogit = dz * inv_t (skipped as above).
//   dx[t][k]: the vocabulary cut at multiples of ZK_VOCAB_CHUNK: each part one chain over v ascending fma(dlogit, W[v][k], acc) from +0;
//   the first part, plus the second, plus the third ...
//   dW[v][k]: as linear's dW over token chunks.
// bf16 (x, W and dx are bf16): logit[v] = tc chain (kernels/tensor_core.h) over hidden, fp32, not rounded; everything after it as above on
//   fp32. Backward: dlogit is rounded to bf16; the parts of dx and the chunks of dW are tc chains from +0; dx's sum is rounded to bf16, dW is fp32.
#ifndef ZK_KERNELS_LMHEAD_H
#define ZK_KERNELS_LMHEAD_H

#include <stdbool.h>

#include "kernels/chunks.h"
#include "kernels/device.h"

#define ZK_VOCAB_TILE 128
#define ZK_VOCAB_CHUNK 4096

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  zk_numerics numerics;
  int64_t num_rows; // tokens, T
  int32_t hidden;   // K
  int32_t vocab;    // V
  // The distribution: one for a whole run.
  double temperature; // 0 = greedy
  int32_t top_k;      // 0 = off
  double top_p;       // 1 = off
  bool first;         // backward: dweight is as good as 0, whatever is there: += sets it
} zk_lmhead_desc;

// What names a row's random numbers, arrays [T] in device memory.
typedef struct {
  uint64_t seed;
  const uint32_t *step, *prompt_id, *sample_idx,
      *position; // position: of the token being drawn, 0 = the sequence's first token
} zk_sample_ids;

// What is wanted of each row, arrays [T] in device memory; any but logprob may be NULL.
typedef struct {
  float *logprob;
  float *lse; // of z over the kept set; the backward pass needs it
  float *entropy;
  float *kept_logit; // with a filter: the last kept (logit, id); the backward pass needs both
  int32_t *kept_id;
  uint64_t *logits_hash;
} zk_lmhead_out;

// Log-probability of target[T] at rows x[T,K]; weight [V,K] with `packed` as zk_linear_pack makes it. A target outside
// the kept set gets -inf, one outside [0,V) is ZK_BAD_INPUT naming the row. A row where a z is NaN or +inf, or all are
// -inf, gets NaN (bit pattern 0x7fc00000) for logprob, lse and entropy, kept_id -1, and the caller reports it.
zk_status zk_lmhead_logprob(zk_stream *stream, const zk_lmhead_desc *desc, const void *x, const void *weight,
                            const void *packed, const int32_t *target, const zk_lmhead_out *out);
// Draws token[T] and gives its log-probability (and the rest of `out`). Token -1 for a row whose logprob is NaN.
zk_status zk_lmhead_sample(zk_stream *stream, const zk_lmhead_desc *desc, const zk_sample_ids *ids, const void *x,
                           const void *weight, const void *packed, int32_t *token, const zk_lmhead_out *out);
// Given dlogprob[T] (dLoss/dlogprob, fp32): dx[T,K] overwritten, dweight[V,K] += chunk by chunk. `fwd` holds lse (and
// kept_* with a filter). dentropy[T] (dLoss/dentropy, fp32): NULL when the loss does not depend on entropies, else `fwd` holds entropy too.
// Logits are recomputed tile by tile. dweight NULL: it is not wanted.
zk_status zk_lmhead_backward(zk_stream *stream, const zk_lmhead_desc *desc, const zk_chunks *chunks, const void *x,
                             const void *weight, const void *packed, const int32_t *target, const zk_lmhead_out *fwd,
                             const float *dlogprob, const float *dentropy, void *dx, float *dweight);

// Both passes of rows whose log-sum-exps are known before the forward pass, as of tokens that were sampled from these
// weights: `out` as zk_lmhead_logprob gives it, dx and dweight as zk_lmhead_backward does if its fwd->lse is `lse` and its dentropy NULL. Whether lse
// is out->lse is for the caller to see; a device forms the logits once. It counts as both operations, and their faults
// reach it.
zk_status zk_lmhead_loss(zk_stream *stream, const zk_lmhead_desc *desc, const zk_chunks *chunks, const void *x,
                         const void *weight, const void *packed, const int32_t *target, const float *lse,
                         const float *dlogprob, const zk_lmhead_out *out, void *dx, float *dweight);

// For kernels/ only: zk_lmhead_loss by a device that forms the logits once, or *done false and nothing queued.
zk_status zk_lmhead_loss_fused(zk_stream *stream, const zk_lmhead_desc *desc, const zk_chunks *chunks, const void *x,
                               const void *weight, const int32_t *target, const float *lse, const float *dlogprob,
                               const zk_lmhead_out *out, void *dx, float *dweight, bool *done);
// For kernels/ only: the distribution every row is read as.
typedef struct {
  bool scaled; // z = logit * inv_t, else z = logit
  float inv_t;
  bool filtered;
  int32_t top_k;  // 0 = off
  uint64_t top_p; // round(p * 2^32); 2^32 = off
} zk_lmhead_dist;
zk_lmhead_dist zk_lmhead_make_dist(const zk_lmhead_desc *desc);

#ifdef __cplusplus
}
#endif
#endif
