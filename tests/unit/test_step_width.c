// How wide a step's page table is: what its longest sequence has fits, few rows have few widths, and many rows have one.
#include "engine_fixture.h"

#include "rollout/engine_impl.h"

static void a_width_holds_the_longest_sequence(void **state) {
  (void)state;
  static const int32_t page_tokens[] = {1, 16, 48, 64, 512, 4096};
  for (size_t i = 0; i < sizeof page_tokens / sizeof *page_tokens; i++)
    for (int32_t max_pages = 1; max_pages < 3000; max_pages = max_pages * 3 + 1) {
      zk_engine e = {.options = {.page_tokens = page_tokens[i], .max_batch = 64}, .max_pages = max_pages};
      int num_widths = 0;
      for (int32_t pages = 1, last = 0; pages <= max_pages; pages++) {
        const int32_t width = zk_step_width(&e, 1, pages);
        assert_in_range(width, pages, max_pages);
        assert_true(width >= last); // a sequence that grows does not go back to a graph that it has left
        num_widths += width != last, last = width;
        assert_int_equal(zk_step_width(&e, 8, pages), width);
        assert_int_equal(zk_step_width(&e, 9, pages), max_pages);
      }
      assert_in_range(num_widths, 1, 8); // few enough for ZK_MAX_STEP_GRAPHS
    }
}

static void known_widths(void **state) {
  (void)state;
  const zk_engine e = {.options = {.page_tokens = 64, .max_batch = 64}, .max_pages = 40};
  static const int32_t pages[] = {1, 8, 9, 32, 33, 40}, widths[] = {8, 8, 32, 32, 40, 40}; // 512 and 2,048 keys, and all 2,560
  for (int i = 0; i < 6; i++) assert_int_equal(zk_step_width(&e, 4, pages[i]), widths[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_width_holds_the_longest_sequence), cmocka_unit_test(known_widths)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
