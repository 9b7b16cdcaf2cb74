// LM head, written from the order alone.
#include "kernels/reference/lmhead_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/hash.h"
#include "kernels/rng.h"

__extension__ typedef unsigned __int128 u128;

void zk_lmhead_reference_logits(int32_t hidden, int32_t vocab, const float *x, const float *weight, float *logit) {
  for (int64_t v = 0; v < vocab; v++) {
    float acc = 0.0f;
    for (int32_t k = 0; k < hidden; k++) acc = fmaf(x[k], weight[v * hidden + k], acc);
    logit[v] = acc;
  }
}

static float z_of(const zk_lmhead_desc *desc, float logit) {
  if (desc->temperature == 0.0 || desc->temperature == 1.0) return logit;
  return logit * (float)(1.0 / desc->temperature);
}

typedef struct {
  float logit;
  int32_t id;
} entry;

static int by_logit_then_id(const void *a, const void *b) {
  const entry *p = a, *q = b;
  if (p->logit != q->logit) return p->logit > q->logit ? -1 : 1;
  return p->id < q->id ? -1 : 1;
}

// How many of the sorted entries are kept.
static int32_t count_kept(const zk_lmhead_desc *desc, const entry *sorted) {
  int32_t n = desc->vocab;
  if (desc->top_k > 0 && desc->top_k < n) n = desc->top_k;
  if (desc->top_p == 1.0) return n;
  const float zmax = z_of(desc, sorted[0].logit);
  u128 total = 0, sum = 0;
  for (int32_t i = 0; i < n; i++)
    total += (uint64_t)floor((double)zk_expf(z_of(desc, sorted[i].logit) - zmax) * 0x1p40);
  const u128 wanted = (u128)floor(desc->top_p * 0x1p32 + 0.5) * total;
  for (int32_t i = 0; i < n; i++) {
    sum += (uint64_t)floor((double)zk_expf(z_of(desc, sorted[i].logit) - zmax) * 0x1p40);
    if (sum << 32 >= wanted) return i + 1;
  }
  return n;
}

// z[V], -infinity where not kept. False when out of memory.
static bool form_z(const zk_lmhead_desc *desc, const float *logit, float *z, float *kept_logit, int32_t *kept_id) {
  if (desc->top_k == 0 && desc->top_p == 1.0) {
    for (int32_t v = 0; v < desc->vocab; v++) z[v] = z_of(desc, logit[v]);
    return true;
  }
  entry *sorted = malloc((size_t)desc->vocab * sizeof *sorted);
  if (sorted == NULL) return false;
  for (int32_t v = 0; v < desc->vocab; v++) sorted[v] = (entry){logit[v], v};
  qsort(sorted, (size_t)desc->vocab, sizeof *sorted, by_logit_then_id);
  const int32_t kept = count_kept(desc, sorted);
  for (int32_t v = 0; v < desc->vocab; v++) z[v] = -INFINITY;
  for (int32_t i = 0; i < kept; i++) z[sorted[i].id] = z_of(desc, sorted[i].logit);
  *kept_logit = sorted[kept - 1].logit;
  *kept_id = sorted[kept - 1].id;
  free(sorted);
  return true;
}

static float halve_lanes(float lane[128]) {
  for (int half = 64; half > 0; half /= 2)
    for (int j = 0; j < half; j++) lane[j] = lane[j] + lane[j + half];
  return lane[0];
}

static void log_sum_exp(int32_t vocab, const float *z, float *lse, float *entropy) {
  float m = -INFINITY, l = 0.0f, h = 0.0f;
  for (int32_t first = 0; first < vocab; first += ZK_VOCAB_TILE) {
    const int32_t end = first + ZK_VOCAB_TILE < vocab ? first + ZK_VOCAB_TILE : vocab;
    float mt = -INFINITY, lanes[128] = {0}, lanes_h[128] = {0};
    for (int32_t v = first; v < end; v++) mt = z[v] > mt ? z[v] : mt;
    if (mt == -INFINITY) continue;
    for (int32_t v = first; v < end; v++) {
      if (z[v] == -INFINITY) continue;
      const float e = zk_expf(z[v] - mt);
      lanes[v - first] = lanes[v - first] + e;
      lanes_h[v - first] = fmaf(e, z[v], lanes_h[v - first]);
    }
    const float lt = halve_lanes(lanes), ht = halve_lanes(lanes_h);
    if (m == -INFINITY) {
      m = mt, l = lt, h = ht;
      continue;
    }
    const float n = mt > m ? mt : m, a = zk_expf(m - n), b = zk_expf(mt - n);
    l = fmaf(l, a, lt * b), h = fmaf(h, a, ht * b), m = n;
  }
  *lse = m + zk_logf(l);
  *entropy = *lse - h / l;
}

static float noise(uint64_t seed, uint32_t step, uint32_t prompt, uint32_t sample, uint32_t position, uint32_t v) {
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  const uint32_t ctr[4] = {(uint32_t)ZK_RNG_SAMPLE << 24 | v / 4, position, prompt, sample << 20 | step};
  uint32_t out[4];
  zk_philox4x32(ctr, key, out);
  return zk_gumbel(out[v % 4]);
}

static bool row_is_bad(const zk_lmhead_desc *desc, const float *logit) {
  float most = -INFINITY;
  for (int32_t v = 0; v < desc->vocab; v++) {
    const float z = z_of(desc, logit[v]);
    if (!(z < INFINITY)) return true;
    if (z > most) most = z;
  }
  return most == -INFINITY;
}

bool zk_lmhead_reference_read(const zk_lmhead_desc *desc, const float *logit, int32_t target, uint64_t seed,
                              uint32_t step, uint32_t prompt, uint32_t sample, uint32_t position,
                              zk_lmhead_reference_row *out) {
  const float nan = zk_bits_float(0x7fc00000u);
  memset(out, 0, sizeof *out);
  for (int32_t v = 0; v < desc->vocab; v++) out->logits_hash += zk_mix64(zk_float_bits(logit[v]), (uint64_t)v);
  if (row_is_bad(desc, logit)) {
    out->logprob = out->lse = out->entropy = nan, out->token = out->kept_id = -1;
    return true;
  }
  float *z = malloc((size_t)desc->vocab * sizeof *z);
  if (z == NULL || !form_z(desc, logit, z, &out->kept_logit, &out->kept_id)) {
    free(z);
    return false;
  }
  log_sum_exp(desc->vocab, z, &out->lse, &out->entropy);
  if (target < 0) {
    float best = -INFINITY;
    for (int32_t v = 0; v < desc->vocab; v++) {
      if (z[v] == -INFINITY) continue;
      const float value =
          desc->temperature == 0.0 ? z[v] : z[v] + noise(seed, step, prompt, sample, position, (uint32_t)v);
      if (target < 0 || value > best) best = value, target = v;
    }
  }
  out->token = target;
  out->logprob = z[target] - out->lse;
  free(z);
  return true;
}

bool zk_lmhead_reference_dlogits(const zk_lmhead_desc *desc, float *logit, int32_t target, float dlogprob, const float *dentropy) {
  float *z = malloc((size_t)desc->vocab * sizeof *z), lse, entropy, kept_logit;
  int32_t kept_id;
  if (z == NULL || !form_z(desc, logit, z, &kept_logit, &kept_id)) {
    free(z);
    return false;
  }
  log_sum_exp(desc->vocab, z, &lse, &entropy);
  const bool scaled = desc->temperature != 0.0 && desc->temperature != 1.0;
  for (int32_t v = 0; v < desc->vocab; v++) {
    const float p = z[v] == -INFINITY ? 0.0f : zk_expf(z[v] - lse);
    float dz = ((v == target ? 1.0f : 0.0f) - p) * dlogprob;
    if (dentropy != NULL) {
      const float q = p == 0.0f ? 0.0f : p * ((z[v] - lse) + entropy);
      dz = fmaf(q, -*dentropy, dz);
    }
    logit[v] = scaled ? dz * (float)(1.0 / desc->temperature) : dz;
  }
  free(z);
  return true;
}

bool zk_lmhead_reference_backward(const zk_lmhead_desc *desc, const zk_chunks *chunks, const float *x,
                                  const float *weight, const int32_t *target, const float *dlogprob, const float *dentropy,
                                  float *dx, float *dweight) {
  const int64_t rows = desc->num_rows, hidden = desc->hidden, vocab = desc->vocab;
  float *d = malloc((size_t)(rows * vocab) * sizeof *d);
  if (d == NULL) return false;
  for (int64_t t = 0; t < rows; t++) {
    zk_lmhead_reference_logits(desc->hidden, desc->vocab, x + t * hidden, weight, d + t * vocab);
    if (!zk_lmhead_reference_dlogits(desc, d + t * vocab, target[t], dlogprob[t], dentropy != NULL ? dentropy + t : NULL)) {
      free(d);
      return false;
    }
  }
  for (int64_t t = 0; t < rows; t++)
    for (int64_t k = 0; k < hidden; k++)
      for (int64_t first = 0; first < vocab; first += ZK_VOCAB_CHUNK) {
        float acc = 0.0f;
        for (int64_t v = first; v < first + ZK_VOCAB_CHUNK && v < vocab; v++)
          acc = fmaf(d[t * vocab + v], weight[v * hidden + k], acc);
        dx[t * hidden + k] = first == 0 ? acc : dx[t * hidden + k] + acc;
      }
  for (int32_t c = 0; c < chunks->num_chunks; c++) {
    if (chunks->row_start[c] == chunks->row_start[c + 1]) continue;
    for (int64_t v = 0; v < vocab; v++)
      for (int64_t k = 0; k < hidden; k++) {
        float acc = 0.0f;
        for (int64_t t = chunks->row_start[c]; t < chunks->row_start[c + 1]; t++)
          acc = fmaf(d[t * vocab + v], x[t * hidden + k], acc);
        dweight[v * hidden + k] = dweight[v * hidden + k] + acc;
      }
  }
  free(d);
  return true;
}
