// The completions of one prompt: counted to the bit and as texts, and where and into what they part.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/completion_set.h"

// Adds a completion of these tokens, all of one log-probability.
static void add(zk_completion_set *set, const int32_t *tokens, int32_t num_tokens, float logprob) {
  zk_completion c = {.num_tokens = num_tokens, .tokens = malloc(8 * sizeof(int32_t)), .logprob = malloc(8 * sizeof(float))};
  assert_non_null(c.tokens);
  assert_non_null(c.logprob);
  memcpy(c.tokens, tokens, (size_t)num_tokens * sizeof *tokens);
  for (int32_t i = 0; i < num_tokens; i++) c.logprob[i] = logprob;
  assert_int_equal(zk_completion_set_add(set, &c), ZK_OK);
}

static void equal_ones_are_one(void **state) {
  (void)state;
  zk_completion_set set = {0};
  assert_int_equal(zk_completion_set_parting(&set), -1);
  assert_true(zk_completion_set_hash(&set) == 0);
  for (int i = 0; i < 5; i++) add(&set, (int32_t[]){3, 1, 4}, 3, -0.5f);
  assert_int_equal(set.num_unique, 1);
  assert_int_equal(set.count[0], 5);
  assert_int_equal(zk_completion_set_num_texts(&set), 1);
  assert_int_equal(zk_completion_set_parting(&set), -1);
  assert_true(zk_completion_set_hash(&set) != 0);
  zk_completion_set_free(&set);
}

static void a_bit_is_not_a_text(void **state) {
  (void)state;
  zk_completion_set set = {0};
  add(&set, (int32_t[]){3, 1, 4}, 3, -0.5f);
  add(&set, (int32_t[]){3, 1, 4}, 3, -0.50000006f); // one ulp
  assert_int_equal(set.num_unique, 2);
  assert_int_equal(zk_completion_set_num_texts(&set), 1);
  assert_int_equal(zk_completion_set_parting(&set), -1);
  zk_completion_set_free(&set);
}

static void the_first_token_that_differs_and_the_split_there(void **state) {
  (void)state;
  zk_completion_set set = {0};
  char *split;
  for (int i = 0; i < 3; i++) add(&set, (int32_t[]){3, 1, 4, 1}, 4, -0.5f);
  add(&set, (int32_t[]){3, 1, 4, 2}, 4, -0.5f); // parts later
  for (int i = 0; i < 2; i++) add(&set, (int32_t[]){3, 1, 7, 1}, 4, -0.5f);
  add(&set, (int32_t[]){3, 1}, 2, -0.5f); // ended there
  assert_int_equal(set.num_unique, 4);
  assert_int_equal(zk_completion_set_num_texts(&set), 4);
  assert_int_equal(zk_completion_set_parting(&set), 2);
  assert_int_equal(zk_completion_set_split(&set, 2, NULL, &split), ZK_OK);
  assert_string_equal(split, "4 \"<4>\", 2 \"<7>\", 1 (end)");
  free(split);
  for (int32_t i = 0; i < 9; i++) add(&set, (int32_t[]){3, 1, 20 + i}, 3, -0.5f);
  assert_int_equal(zk_completion_set_split(&set, 2, NULL, &split), ZK_OK);
  assert_non_null(strstr(split, "1 \"<24>\" and 4 more"));
  free(split);
  zk_completion_set_free(&set);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equal_ones_are_one),
      cmocka_unit_test(a_bit_is_not_a_text),
      cmocka_unit_test(the_first_token_that_differs_and_the_split_there),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
