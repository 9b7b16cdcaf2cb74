// Leaves shared out by tokens: contiguous, all of them, one each at least, never a heavier rank than with even shares, nor more buffers than are planned.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "trainer/leaf_nodes.h"
#include "trainer/leaf_split.h"

enum { MAX_SEQS = 512, MAX_RANKS = 16 };

static int64_t offsets[MAX_SEQS + 1];

static zk_sequences with_lengths(int num, int64_t (*length)(int)) {
  for (int i = 0; i < num; i++) offsets[i + 1] = offsets[i] + length(i);
  return (zk_sequences){.num_seqs = num, .offsets = offsets};
}

static int64_t alike(int i) { return 100; }
static int64_t random_length(int i) { return 1 + ((uint32_t)i * 2654435761u >> 16) % 1000; }
static int64_t long_first(int i) { return i < MAX_SEQS / 2 ? 1000 : 100; }

static int64_t tokens_of(const zk_sequences *s, int32_t leaves, int32_t first, int32_t last) {
  int64_t total = 0;
  for (int32_t leaf = first; leaf < last; leaf++) {
    int64_t from, to;
    zk_leaf_range(s->num_seqs, leaves, leaf, &from, &to);
    total += s->offsets[to] - s->offsets[from];
  }
  return total;
}

static int64_t heaviest(const zk_sequences *s, int32_t leaves, int ranks, const int32_t *starts, int *buffers) {
  int64_t most = 0;
  *buffers = 0;
  assert_int_equal(starts[0], 0);
  assert_int_equal(starts[ranks], leaves);
  for (int r = 0; r < ranks; r++) {
    assert_true(starts[r] < starts[r + 1]);
    const int64_t tokens = tokens_of(s, leaves, starts[r], starts[r + 1]);
    const int needs = zk_leaf_most_buffers(starts[r], starts[r + 1]);
    if (tokens > most) most = tokens;
    if (needs > *buffers) *buffers = needs;
  }
  return most;
}

static void never_worse_than_even_shares(void **state) {
  int64_t (*const lengths[])(int) = {alike, random_length, long_first};
  static const int32_t leaves[] = {1, 2, 8, 64};
  for (size_t k = 0; k < 3; k++)
    for (size_t l = 0; l < 4; l++)
      for (int ranks = 1; ranks <= leaves[l] && ranks <= MAX_RANKS; ranks++)
        for (int num = 1; num <= MAX_SEQS; num *= 8) { // leaves without a sequence too
          const zk_sequences s = with_lengths(num, lengths[k]);
          int32_t starts[MAX_RANKS + 1], even[MAX_RANKS + 1];
          int buffers, even_buffers;
          zk_leaf_split(&s, leaves[l], ranks, starts);
          zk_leaf_split_evenly(leaves[l], ranks, even);
          assert_true(heaviest(&s, leaves[l], ranks, starts, &buffers) <= heaviest(&s, leaves[l], ranks, even, &even_buffers));
          assert_true(buffers <= zk_leaf_split_buffers(leaves[l], ranks));
          assert_true(even_buffers <= zk_leaf_split_buffers(leaves[l], ranks));
        }
}

// The least that any split can give, by trying all of them: ranks [r, num_ranks) have the leaves from `first` on.
static int64_t least(const zk_sequences *s, int32_t leaves, int ranks, int r, int32_t first, int buffers) {
  int64_t best = INT64_MAX;
  for (int32_t last = r == ranks - 1 ? leaves : first + 1; last <= leaves - (ranks - 1 - r); last++) {
    if (zk_leaf_most_buffers(first, last) > buffers) continue;
    const int64_t own = tokens_of(s, leaves, first, last), others = r == ranks - 1 ? 0 : least(s, leaves, ranks, r + 1, last, buffers);
    const int64_t most = own > others ? own : others;
    if (most < best) best = most;
  }
  return best;
}

static uint32_t random_state;
static int64_t wild_length(int i) {
  random_state = random_state * 1664525u + 1013904223u;
  const uint32_t x = random_state >> 16;
  return 1 + x % 50 + (x % 7 == 0 ? x % 900 : 0);
}

static void no_split_is_better(void **state) {
  static const struct {
    int32_t leaves;
    int ranks;
  } shapes[] = {{8, 2}, {8, 3}, {8, 5}, {16, 2}, {16, 3}, {16, 4}, {16, 5}, {32, 3}, {32, 4}};
  for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
    for (uint32_t seed = 0; seed < 200; seed++) {
      const int32_t leaves = shapes[k].leaves;
      const int ranks = shapes[k].ranks;
      int32_t starts[MAX_RANKS + 1];
      int buffers;
      random_state = seed;
      const zk_sequences s = with_lengths(leaves + (int)seed % 3 * leaves, wild_length);
      zk_leaf_split(&s, leaves, ranks, starts);
      const int64_t most = heaviest(&s, leaves, ranks, starts, &buffers);
      assert_true(buffers <= zk_leaf_split_buffers(leaves, ranks));
      assert_int_equal(most, least(&s, leaves, ranks, 0, 0, zk_leaf_split_buffers(leaves, ranks)));
    }
}

// The long sequences are in one half: even shares give them to half of the ranks.
static void long_leaves_are_shared(void **state) {
  const zk_sequences s = with_lengths(MAX_SEQS, long_first);
  int32_t starts[5], even[5];
  int buffers;
  zk_leaf_split(&s, 64, 4, starts);
  zk_leaf_split_evenly(64, 4, even);
  assert_true(4 * heaviest(&s, 64, 4, starts, &buffers) < 3 * heaviest(&s, 64, 4, even, &buffers));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(never_worse_than_even_shares), cmocka_unit_test(long_leaves_are_shared),
                                     cmocka_unit_test(no_split_is_better)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
