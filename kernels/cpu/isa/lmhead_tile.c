// Elementwise work on a vocabulary tile of 128 ids, in vectors.
#include "kernels/cpu/isa/lmhead_tile.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/isa/lmhead_simd.h"
#include "kernels/hash.h"
#include "kernels/reduce.h"

_Static_assert(ZK_VOCAB_TILE == ZK_LANES, "each element of a tile has a lane of its own");

enum { TILE = ZK_VOCAB_TILE };

// z[TILE] of a tile, -infinity where there is no id or it is not kept; returns nonzero when a logit spoils the row.
static bool form_z(const zk_lmhead_row *row, const float *logit, int count, int32_t first, float z[TILE]) {
  const float inv_t = row->dist->inv_t;
  for (int i = count; i < TILE; i++) z[i] = -INFINITY;
  if (row->dist->scaled)
    for (int i = 0; i < count; i++) z[i] = logit[i] * inv_t;
  else memcpy(z, logit, (size_t)count * sizeof *z);
  uint32_t bad = 0;
  for (int i = 0; i < TILE; i += ZK_VLEN) bad |= zk_vf_not_at_most(zk_vf_load(z + i), zk_vf_set1(FLT_MAX));
  if (row->dist->filtered) {
    const float last = row->kept_logit;
    const int32_t last_id = row->kept_id;
    for (int i = 0; i < count; i++) {
      const int kept = (logit[i] > last) | ((logit[i] == last) & (first + i <= last_id));
      z[i] = kept ? z[i] : -INFINITY;
    }
  }
  return bad != 0;
}

static float largest(const float x[TILE]) {
  zk_vf m = zk_vf_load(x);
  for (int i = ZK_VLEN; i < TILE; i += ZK_VLEN) m = zk_vf_max(m, zk_vf_load(x + i));
  return zk_vf_largest(m);
}

// Halving of zk_reduce_lanes; every lane holds its one element.
static float sum_lanes(float lane[TILE]) {
  int half = TILE / 2;
  for (; half >= ZK_VLEN; half /= 2)
    for (int j = 0; j < half; j += ZK_VLEN)
      zk_vf_store(lane + j, zk_vf_add(zk_vf_load(lane + j), zk_vf_load(lane + j + half)));
  for (; half > 0; half /= 2)
    for (int j = 0; j < half; j++) lane[j] = lane[j] + lane[j + half];
  return lane[0];
}

static void log_sum_exp(const float z[TILE], zk_lmhead_tile *out) {
  out->m = largest(z);
  out->l = out->h = 0.0f;
  if (out->m == -INFINITY) return;
  float e[TILE], ez[TILE];
  const zk_vf m = zk_vf_set1(out->m), none = zk_vf_set1(-INFINITY);
  for (int i = 0; i < TILE; i += ZK_VLEN) {
    const zk_vf v = zk_vf_load(z + i), weight = zk_vf_exp(zk_vf_sub(v, m));
    zk_vf_store(e + i, weight);
    zk_vf_store(ez + i, zk_vf_fma(weight, zk_vf_unless_equal(v, none, v), zk_vf_zero()));
  }
  out->l = sum_lanes(e);
  out->h = sum_lanes(ez);
}

// The largest value, ties to the lowest id.
static void best_of(const float z[TILE], const float value[TILE], int32_t first, zk_lmhead_tile *out) {
  const float best = largest(value);
  if (best == -INFINITY) return;
  const zk_vf wanted = zk_vf_set1(best);
  int i = 0;
  uint32_t found;
  while ((found = zk_vf_equal(zk_vf_load(value + i), wanted)) == 0) i += ZK_VLEN;
  i += __builtin_ctz(found);
  out->best_value = best;
  out->best_z = z[i];
  out->best_id = first + i;
}

void zk_lmhead_read_tile(const zk_lmhead_row *row, const float *logit, int count, int32_t first, zk_lmhead_tile *out) {
  float z[TILE];
  out->best_id = -1;
  out->best_value = out->best_z = -INFINITY;
  if (form_z(row, logit, count, first, z)) {
    out->m = zk_bits_float(0x7fc00000u), out->l = out->h = 0.0f;
    return;
  }
  log_sum_exp(z, out);
  if (row->target >= first && row->target < first + count) out->target_z = z[row->target - first];
  if (row->pick == ZK_PICK_NOTHING || out->m == -INFINITY) return;
  float value[TILE];
  if (row->pick == ZK_PICK_GREEDY) {
    best_of(z, z, first, out);
    return;
  }
  for (int i = 0; i < TILE; i += 4 * ZK_VLEN)
    zk_vf_gumbel_block(((uint32_t)ZK_RNG_SAMPLE << 24) + (uint32_t)(first + i) / 4, row->ctr, row->key, value + i);
  for (int i = 0; i < TILE; i += ZK_VLEN) zk_vf_store(value + i, zk_vf_add(zk_vf_load(z + i), zk_vf_load(value + i)));
  best_of(z, value, first, out);
}

// d + (d entropy / d z) dentropy, from logprob = z - lse and -dentropy.
ZK_INLINE zk_vf with_entropy(zk_vf p, zk_vf logprob, zk_vf entropy, zk_vf minus_dentropy, zk_vf d) {
  const zk_vf q = zk_vf_unless_equal(p, zk_vf_zero(), zk_vf_mul(p, zk_vf_add(logprob, entropy)));
  return zk_vf_fma(q, minus_dentropy, d);
}

void zk_lmhead_gradient(const zk_lmhead_backward_chunk *call, int64_t t, int32_t count, int32_t first, float *logit) {
  zk_lmhead_row row = {.dist = &call->dist, .target = call->target[t]};
  if (call->dist.filtered) row.kept_logit = call->kept_logit[t], row.kept_id = call->kept_id[t];
  const float lse = call->lse[t], dlogprob = call->dlogprob[t];
  for (int32_t i = 0; i < count; i += TILE) {
    const int n = count - i < TILE ? count - i : TILE;
    float z[TILE], g[TILE];
    form_z(&row, logit + i, n, first + i, z);
    const zk_vf none = zk_vf_set1(-INFINITY), factor = zk_vf_set1(dlogprob), inv_t = zk_vf_set1(row.dist->inv_t);
    for (int j = 0; j < TILE; j += ZK_VLEN) {
      const zk_vf v = zk_vf_load(z + j), p = zk_vf_unless_equal(v, none, zk_vf_exp(zk_vf_sub(v, zk_vf_set1(lse))));
      zk_vf d = zk_vf_mul(zk_vf_sub(zk_vf_zero(), p), factor);
      if (call->dentropy != NULL) d = with_entropy(p, zk_vf_sub(v, zk_vf_set1(lse)), zk_vf_set1(call->entropy[t]), zk_vf_set1(-call->dentropy[t]), d);
      if (row.dist->scaled) d = zk_vf_mul(d, inv_t);
      zk_vf_store(g + j, d);
    }
    const int32_t at = row.target - (first + i);
    if (at >= 0 && at < n) {
      const float p = z[at] == -INFINITY ? 0.0f : zk_expf(z[at] - lse);
      float d = (1.0f - p) * dlogprob;
      if (call->dentropy != NULL) d = fmaf(p == 0.0f ? 0.0f : p * ((z[at] - lse) + call->entropy[t]), -call->dentropy[t], d);
      g[at] = row.dist->scaled ? d * row.dist->inv_t : d;
    }
    memcpy(logit + i, g, (size_t)n * sizeof *g);
  }
}

uint64_t zk_lmhead_hash(const float *logit, int count, int32_t first) {
  uint32_t bits[TILE];
  memcpy(bits, logit, (size_t)count * sizeof *bits);
  uint64_t sum = 0;
  for (int i = 0; i < count; i++) sum += zk_mix64(bits[i], (uint64_t)(uint32_t)first + (uint64_t)i);
  return sum;
}
