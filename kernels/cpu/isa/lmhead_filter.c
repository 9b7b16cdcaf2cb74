// Top-k and top-p without sorting: the end of the kept prefix is found digit by digit in the order (logit descending,
// id ascending), with exact integer sums, so it does not depend on how the sum is taken.
#include <math.h>
#include <string.h>

#include "kernels/cpu/isa/lmhead_tile.h"
#include "kernels/cpu/simd_exp.h"

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

typedef struct {
  uint32_t key;
  int32_t id;
} place; // in the order

static bool is_after(uint32_t key, int32_t id, place last) {
  return key < last.key || (key == last.key && id > last.id);
}

// Entries of the kept ids, up to and including `last`, whose weight floor(exp(z - zmax) * 2^40) is not zero; *total is
// the sum of the weights.
static int32_t weigh(const zk_lmhead_dist *dist, const float *logit, int32_t vocab, float zmax, place last, entry *e,
                     uint64_t *total) {
  int32_t n = 0;
  *total = 0;
  for (int32_t first = 0; first < vocab; first += ZK_VOCAB_TILE) {
    const int32_t count = vocab - first < ZK_VOCAB_TILE ? vocab - first : ZK_VOCAB_TILE;
    float z[ZK_VOCAB_TILE];
    for (int32_t i = 0; i < ZK_VOCAB_TILE; i++)
      z[i] = i >= count ? -INFINITY : dist->scaled ? logit[first + i] * dist->inv_t : logit[first + i];
    for (int i = 0; i < ZK_VOCAB_TILE; i += ZK_VLEN)
      zk_vf_store(z + i, zk_vf_exp(zk_vf_sub(zk_vf_load(z + i), zk_vf_set1(zmax))));
    for (int32_t i = 0; i < count; i++) {
      const uint64_t weight = (uint64_t)(int64_t)(z[i] * 0x1p40f); // exact, then cut
      const uint32_t key = key_of(logit[first + i]);
      if (weight == 0 || is_after(key, first + i, last)) continue;
      e[n++] = (entry){key, first + i, weight};
      *total += weight;
    }
  }
  return n;
}

void zk_lmhead_filter(const zk_lmhead_dist *dist, const float *logit, int32_t vocab, void *scratch, float *kept_logit,
                      int32_t *kept_id) {
  entry *e = scratch;
  float most = logit[0];
  for (int32_t v = 1; v < vocab; v++) most = logit[v] > most ? logit[v] : most;
  place last = {0, vocab - 1}; // everything is kept so far
  if (dist->top_k > 0 && dist->top_k < vocab) {
    for (int32_t v = 0; v < vocab; v++) e[v] = (entry){key_of(logit[v]), v, 1};
    const entry end = prefix_end(e, vocab, (uint64_t)dist->top_k);
    last = (place){end.key, end.id};
  }
  if (dist->top_p < (uint64_t)1 << 32) {
    uint64_t total;
    const int32_t n = weigh(dist, logit, vocab, dist->scaled ? most * dist->inv_t : most, last, e, &total);
    // sum * 2^32 >= top_p * total, for an integer sum; the first token is always kept.
    const uint64_t need = (uint64_t)(((u128)dist->top_p * total + 0xffffffffu) >> 32);
    last.id = prefix_end(e, n, need > 0 ? need : 1).id;
  } else if (last.key == 0) {
    // All of them: the last in the order is the highest id of the lowest logit.
    for (int32_t v = 0; v < vocab; v++) e[v] = (entry){key_of(logit[v]), v, 1};
    last.id = prefix_end(e, vocab, (uint64_t)vocab).id;
  }
  *kept_logit = logit[last.id];
  *kept_id = last.id;
}
