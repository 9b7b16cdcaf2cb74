// Python's generator (MT19937, Matsumoto and Nishimura 1998) and its rejection sampling; used for nothing else.
#include "rollout/workload.h"

#include <stdlib.h>
#include <string.h>

enum { MT_WORDS = 624, MT_SHIFT = 397, LAST_ID = 10000 };

typedef struct {
  uint32_t words[MT_WORDS];
  int at;
} twister;

// init_by_array of the authors' reference with the one-word key {0}: what random.seed(0) does.
static void seed_zero(twister *t) {
  uint32_t *w = t->words;
  w[0] = 19650218u;
  for (uint32_t i = 1; i < MT_WORDS; i++) w[i] = 1812433253u * (w[i - 1] ^ (w[i - 1] >> 30)) + i;
  int i = 1;
  for (int k = 0; k < MT_WORDS; k++) {
    w[i] = (w[i] ^ ((w[i - 1] ^ (w[i - 1] >> 30)) * 1664525u));
    if (++i == MT_WORDS) w[0] = w[MT_WORDS - 1], i = 1;
  }
  for (int k = 1; k < MT_WORDS; k++) {
    w[i] = (w[i] ^ ((w[i - 1] ^ (w[i - 1] >> 30)) * 1566083941u)) - (uint32_t)i;
    if (++i == MT_WORDS) w[0] = w[MT_WORDS - 1], i = 1;
  }
  w[0] = 0x80000000u;
  t->at = MT_WORDS;
}

static void refill(twister *t) {
  uint32_t *w = t->words;
  for (int i = 0; i < MT_WORDS; i++) {
    uint32_t y = (w[i] & 0x80000000u) | (w[(i + 1) % MT_WORDS] & 0x7fffffffu);
    w[i] = w[(i + MT_SHIFT) % MT_WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
  }
  t->at = 0;
}

static uint32_t next_word(twister *t) {
  if (t->at == MT_WORDS) refill(t);
  uint32_t y = t->words[t->at++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

// Uniform in [low, high]: the fewest bits that can hold the count, drawn until they are below it.
static int32_t draw(twister *t, int32_t low, int32_t high) {
  const uint32_t count = (uint32_t)(high - low) + 1;
  int bits = 0;
  while (bits < 32 && count >> bits) bits++;
  uint32_t value;
  do value = next_word(t) >> (32 - bits);
  while (value >= count);
  return low + (int32_t)value;
}

zk_status zk_workload_make(int32_t num_sequences, int32_t min, int32_t max, int32_t vocab, zk_workload *out) {
  const size_t n = (size_t)num_sequences;
  memset(out, 0, sizeof *out);
  twister t;
  seed_zero(&t);
  out->num_sequences = num_sequences;
  out->num_new = malloc(n * sizeof *out->num_new);
  out->prompt_offsets = calloc(n + 1, sizeof *out->prompt_offsets);
  out->prompt_tokens = malloc(n * (size_t)max * sizeof *out->prompt_tokens);
  if (!out->num_new || !out->prompt_offsets || !out->prompt_tokens) {
    zk_workload_free(out);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a workload of %d sequences", num_sequences);
  }
  int64_t at = 0;
  for (size_t i = 0; i < n; i++) {
    const int64_t end = at + draw(&t, min, max);
    while (at < end) out->prompt_tokens[at++] = draw(&t, 0, vocab <= LAST_ID ? vocab - 1 : LAST_ID);
    out->prompt_offsets[i + 1] = at;
  }
  for (size_t i = 0; i < n; i++) out->total_new += out->num_new[i] = draw(&t, min, max);
  return ZK_OK;
}

void zk_workload_free(zk_workload *w) {
  free(w->num_new);
  free(w->prompt_offsets);
  free(w->prompt_tokens);
  memset(w, 0, sizeof *w);
}
