// Pairs of prompts: whoever takes which, each worker has about the mean length; in the order of the task they have not.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rollout/deal.h"

enum { NUM = 128, RANKS = 4 };

static uint64_t lengths[NUM];
static int32_t order[NUM];
static uint32_t seed;

static uint32_t next(void) { return (seed = seed * 1664525u + 1013904223u) >> 16; }

// How much more than the mean the worker with the longest prompts has, when they take pairs in a random order, as many each.
static double excess(const int32_t *o) {
  double sums[RANKS] = {0}, total = 0, most = 0;
  int taken[RANKS] = {0};
  for (int i = 0; i < NUM; i += 2) {
    int r = (int)(next() % RANKS);
    while (taken[r] == NUM / RANKS) r = (r + 1) % RANKS;
    sums[r] += (double)(lengths[o[i]] + lengths[o[i + 1]]), taken[r] += 2;
  }
  for (int r = 0; r < RANKS; r++) {
    total += sums[r];
    if (sums[r] > most) most = sums[r];
  }
  return most * RANKS / total - 1;
}

static void every_share_has_the_mean(void **state) {
  int32_t plain[NUM];
  double sum = 0, sum_plain = 0;
  for (uint32_t round = 0; round < 100; round++) {
    seed = round;
    for (int i = 0; i < NUM; i++) plain[i] = i, lengths[i] = 10 + next() % 490;
    assert_int_equal(zk_deal_pairs(NUM, lengths, order), ZK_OK);
    sum += excess(order), sum_plain += excess(plain);
  }
  assert_true(sum * 4 < sum_plain);
}

static void is_a_permutation(void **state) {
  for (int num = 0; num <= NUM; num++) {
    char seen[NUM] = {0};
    for (int i = 0; i < num; i++) lengths[i] = next() % 7; // some are equal
    assert_int_equal(zk_deal_pairs(num, lengths, order), ZK_OK);
    for (int i = 0; i < num; i++) {
      assert_in_range(order[i], 0, num - 1);
      assert_int_equal(seen[order[i]]++, 0);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_share_has_the_mean), cmocka_unit_test(is_a_permutation)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
