// The fixed workload of `zerokl rollout --bench` is the published one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rollout/workload.h"

// random.seed(0); prompts = [[randint(0, 10000) for _ in range(randint(100, 1024))] for _ in range(256)];
// new = [randint(100, 1024) for _ in range(256)], as Python 3 prints it.
static void draws_what_python_draws(void **state) {
  (void)state;
  zk_workload w;
  assert_int_equal(zk_workload_make(256, 100, 1024, 151936, &w), ZK_OK);
  assert_int_equal(w.prompt_offsets[256], 142827);
  assert_int_equal(w.total_new, 133966);
  const int32_t prompt[] = {6311, 6890, 663, 4242}, new[] = {845, 312, 607, 843};
  assert_int_equal(w.prompt_offsets[1], 964);
  assert_memory_equal(w.prompt_tokens, prompt, sizeof prompt);
  assert_memory_equal(w.num_new, new, sizeof new);
  zk_workload_free(&w);
}

static void keeps_within_its_bounds(void **state) {
  (void)state;
  zk_workload w;
  assert_int_equal(zk_workload_make(300, 3, 9, 5, &w), ZK_OK);
  int seen_least = 0, seen_most = 0;
  for (int i = 0; i < 300; i++) {
    const int64_t n = w.prompt_offsets[i + 1] - w.prompt_offsets[i];
    assert_in_range(n, 3, 9);
    assert_in_range(w.num_new[i], 3, 9);
    seen_least |= n == 3, seen_most |= w.num_new[i] == 9;
  }
  assert_true(seen_least && seen_most);
  for (int64_t i = 0; i < w.prompt_offsets[300]; i++) assert_in_range(w.prompt_tokens[i], 0, 4);
  zk_workload_free(&w);
  assert_int_equal(zk_workload_make(2, 1, 1, 1, &w), ZK_OK);
  assert_int_equal(w.total_new, 2);
  assert_int_equal(w.prompt_tokens[1], 0);
  zk_workload_free(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(draws_what_python_draws), cmocka_unit_test(keeps_within_its_bounds)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
