// Top-k and top-p without sorting: the end of the kept prefix is found digit by digit in the order (logit descending,
// id ascending), with exact integer sums, so it does not depend on how the sum is taken.
#include <math.h>
#include <string.h>

#include "kernels/cpu/isa/lmhead_tile.h"
#include "kernels/math.h"

__extension__ typedef unsigned __int128 u128;

typedef struct {
  uint32_t key; // ascends with the logit; +0 and -0 share one
  int32_t id;
  uint64_t weight;
} entry;
_Static_assert(sizeof(entry) == 16, "zk_lmhead_filter_bytes");

static uint32_t key_of(float logit) {
  const uint32_t u = zk_float_bits(logit + 0.0f); // -0 becomes +0
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}

enum { DIGIT = 11, BUCKETS = 1 << DIGIT };

// The last entry of the shortest prefix, in the order above, whose weights sum to at least `need` (1 <= need <= total).
// Entries come in id order and are moved about.
static entry prefix_end(entry *e, int32_t n, uint64_t need) {
  static const int shifts[] = {21, 10, 0};
  uint64_t sum = 0; // of everything before the bucket
  for (size_t level = 0; level < sizeof shifts / sizeof shifts[0]; level++) {
    const int shift = shifts[level];
    uint64_t weight[BUCKETS] = {0};
    for (int32_t i = 0; i < n; i++) weight[(e[i].key >> shift) % BUCKETS] += e[i].weight;
    uint32_t bucket = BUCKETS - 1;
    while (bucket > 0 && sum + weight[bucket] < need) sum += weight[bucket--];
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++)
      if ((e[i].key >> shift) % BUCKETS == bucket) e[kept++] = e[i];
    n = kept;
  }
  int32_t last = 0;
  while (last < n - 1 && (sum += e[last].weight) < need) last++;
  return e[last];
}

// Weight of a logit: floor(exp(z - zmax) * 2^40).
static uint64_t weight_of(const zk_lmhead_dist *dist, float logit, float zmax) {
  const float z = dist->scaled ? logit * dist->inv_t : logit;
  return (uint64_t)((double)zk_expf(z - zmax) * 0x1p40);
}

void zk_lmhead_filter(const zk_lmhead_dist *dist, const float *logit, int32_t vocab, void *scratch, float *kept_logit,
                      int32_t *kept_id) {
  entry *e = scratch;
  float most = logit[0];
  for (int32_t v = 1; v < vocab; v++) most = logit[v] > most ? logit[v] : most;
  uint32_t last_key = 0; // everything is kept so far
  int32_t last_id = vocab - 1;
  if (dist->top_k > 0 && dist->top_k < vocab) {
    for (int32_t v = 0; v < vocab; v++) e[v] = (entry){key_of(logit[v]), v, 1};
    const entry end = prefix_end(e, vocab, (uint64_t)dist->top_k);
    last_key = end.key, last_id = end.id;
  }
  if (dist->top_p < (uint64_t)1 << 32) {
    const float zmax = dist->scaled ? most * dist->inv_t : most;
    int32_t n = 0;
    uint64_t total = 0;
    for (int32_t v = 0; v < vocab; v++) {
      const uint32_t key = key_of(logit[v]);
      if (key < last_key || (key == last_key && v > last_id)) continue;
      const uint64_t weight = weight_of(dist, logit[v], zmax);
      e[n++] = (entry){key, v, weight};
      total += weight;
    }
    // sum * 2^32 >= top_p * total, for an integer sum; the first token is always kept.
    const uint64_t need = (uint64_t)(((u128)dist->top_p * total + 0xffffffffu) >> 32);
    const entry end = prefix_end(e, n, need > 0 ? need : 1);
    last_key = end.key, last_id = end.id;
  } else if (last_key == 0) {
    // All of them: the last in the order is the highest id of the lowest logit.
    for (int32_t v = 0; v < vocab; v++) e[v] = (entry){key_of(logit[v]), v, 1};
    last_id = prefix_end(e, vocab, (uint64_t)vocab).id;
  }
  *kept_logit = logit[last_id];
  *kept_id = last_id;
}
