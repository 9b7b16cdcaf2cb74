// Elementwise work on a vocabulary tile, written as loops over its 128 elements that the compiler turns into vectors.
#include "kernels/cpu/isa/lmhead_tile.h"

#include <float.h>
#include <string.h>

#include "kernels/hash.h"
#include "kernels/reduce.h"
#include "kernels/rng.h"

_Static_assert(ZK_VOCAB_TILE == ZK_LANES, "each element of a tile has a lane of its own");

enum { TILE = ZK_VOCAB_TILE, GROUPS = TILE / 4, STRIPE = 16 };

// z[TILE] of a tile, -infinity where there is no id or it is not kept; returns nonzero when a logit spoils the row.
static int form_z(const zk_lmhead_row *row, const float *logit, int count, int32_t first, float z[TILE]) {
  const float inv_t = row->dist->inv_t;
  for (int i = count; i < TILE; i++) z[i] = -INFINITY;
  if (row->dist->scaled)
    for (int i = 0; i < count; i++) z[i] = logit[i] * inv_t;
  else memcpy(z, logit, (size_t)count * sizeof *z);
  int bad = 0;
  for (int i = 0; i < TILE; i++) bad |= !(z[i] <= FLT_MAX);
  if (row->dist->filtered) {
    const float last = row->kept_logit;
    const int32_t last_id = row->kept_id;
    for (int i = 0; i < count; i++) {
      const int kept = (logit[i] > last) | ((logit[i] == last) & (first + i <= last_id));
      z[i] = kept ? z[i] : -INFINITY;
    }
  }
  return bad;
}

static float maximum(const float x[TILE]) {
  float most[STRIPE];
  memcpy(most, x, sizeof most);
  for (int i = STRIPE; i < TILE; i += STRIPE)
    for (int j = 0; j < STRIPE; j++) most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
  float m = most[0];
  for (int j = 1; j < STRIPE; j++) m = most[j] > m ? most[j] : m;
  return m;
}

// Halving of zk_reduce_lanes; every lane holds its one element.
static float sum_lanes(float lane[TILE]) {
  for (int half = TILE / 2; half >= STRIPE; half /= 2)
    for (int j = 0; j < half; j++) lane[j] = lane[j] + lane[j + half];
  for (int half = STRIPE / 2; half > 0; half /= 2)
    for (int j = 0; j < half; j++) lane[j] = lane[j] + lane[j + half];
  return lane[0];
}

static void log_sum_exp(const float z[TILE], zk_lmhead_tile *out) {
  out->m = maximum(z);
  out->l = out->h = 0.0f;
  if (out->m == -INFINITY) return;
  float e[TILE], ez[TILE];
  const float m = out->m;
  for (int i = 0; i < TILE; i++) {
    e[i] = zk_expf(z[i] - m);
    ez[i] = fmaf(e[i], z[i] == -INFINITY ? 0.0f : z[i], 0.0f);
  }
  out->l = sum_lanes(e);
  out->h = sum_lanes(ez);
}

// Gumbel noise of ids first .. first + TILE - 1: a Philox counter gives four neighbours.
static void noise(const zk_lmhead_row *row, int32_t first, float g[TILE]) {
  uint32_t c0[GROUPS], c1[GROUPS], c2[GROUPS], c3[GROUPS], k0 = row->key[0], k1 = row->key[1];
  for (uint32_t i = 0; i < GROUPS; i++) {
    c0[i] = ((uint32_t)ZK_RNG_SAMPLE << 24) | ((uint32_t)first / 4 + i);
    c1[i] = row->ctr[0], c2[i] = row->ctr[1], c3[i] = row->ctr[2];
  }
  for (int round = 0; round < 10; round++) {
    for (int i = 0; i < GROUPS; i++) {
      const uint64_t p0 = (uint64_t)0xD2511F53u * c0[i], p1 = (uint64_t)0xCD9E8D57u * c2[i];
      c0[i] = (uint32_t)(p1 >> 32) ^ c1[i] ^ k0;
      c2[i] = (uint32_t)(p0 >> 32) ^ c3[i] ^ k1;
      c1[i] = (uint32_t)p1;
      c3[i] = (uint32_t)p0;
    }
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  uint32_t bits[TILE];
  for (int i = 0; i < GROUPS; i++)
    bits[4 * i] = c0[i], bits[4 * i + 1] = c1[i], bits[4 * i + 2] = c2[i], bits[4 * i + 3] = c3[i];
  for (int i = 0; i < TILE; i++) g[i] = zk_gumbel(bits[i]);
}

// The largest value, ties to the lowest id: columns first (ascending, so a later equal value does not win), then
// across.
static void best_of(const float z[TILE], const float value[TILE], int32_t first, zk_lmhead_tile *out) {
  float best[STRIPE];
  int32_t at[STRIPE];
  for (int j = 0; j < STRIPE; j++) best[j] = value[j], at[j] = j;
  for (int i = STRIPE; i < TILE; i += STRIPE)
    for (int j = 0; j < STRIPE; j++) {
      const int more = value[i + j] > best[j];
      best[j] = more ? value[i + j] : best[j];
      at[j] = more ? i + j : at[j];
    }
  int win = 0;
  for (int j = 1; j < STRIPE; j++)
    if (best[j] > best[win] || (best[j] == best[win] && at[j] < at[win])) win = j;
  if (best[win] == -INFINITY) return;
  out->best_value = best[win];
  out->best_z = z[at[win]];
  out->best_id = first + at[win];
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
  noise(row, first, value);
  for (int i = 0; i < TILE; i++) value[i] = z[i] + value[i];
  best_of(z, value, first, out);
}

void zk_lmhead_gradient(const zk_lmhead_row *row, float lse, float dlogprob, int32_t count, int32_t first,
                        float *logit) {
  for (int32_t i = 0; i < count; i += TILE) {
    const int n = count - i < TILE ? count - i : TILE;
    float z[TILE], g[TILE];
    form_z(row, logit + i, n, first + i, z);
    for (int j = 0; j < TILE; j++) {
      const float p = z[j] == -INFINITY ? 0.0f : zk_expf(z[j] - lse);
      g[j] = (first + i + j == row->target ? 1.0f : 0.0f) - p;
    }
    for (int j = 0; j < TILE; j++) g[j] = g[j] * dlogprob;
    if (row->dist->scaled)
      for (int j = 0; j < TILE; j++) g[j] = g[j] * row->dist->inv_t;
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
