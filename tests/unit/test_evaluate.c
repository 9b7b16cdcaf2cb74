// pass@k against its definition: the part of all k-subsets of n samples that hold a right one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "trainer/evaluate.h"

static double by_counting(int n, int c, int k) {
  int64_t all = 0, with_right = 0;
  for (uint32_t set = 0; set < 1u << n; set++) {
    if (__builtin_popcount(set) != k) continue;
    all++;
    with_right += (set & ((1u << c) - 1)) != 0; // the first c samples are right
  }
  return (double)with_right / (double)all;
}

static void pass_at_k_is_what_it_says(void **state) {
  for (int n = 1; n <= 10; n++)
    for (int c = 0; c <= n; c++)
      for (int k = 1; k <= n; k++) {
        double got = zk_pass_at_k(n, c, k), want = by_counting(n, c, k);
        if (fabs(got - want) > 1e-14) fail_msg("n %d, c %d, k %d: %.17g, not %.17g", n, c, k, got, want);
        if (k == n) assert_true(got == (c > 0 ? 1 : 0)); // exactly: any right one among all
      }
  assert_true(zk_pass_at_k(4096, 1, 1) > 0 && fabs(zk_pass_at_k(4096, 1, 1) - 1.0 / 4096) < 1e-15);
  assert_true(zk_pass_at_k(4096, 4096, 1) == 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(pass_at_k_is_what_it_says)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
