// Graders against a table of what people and models really write.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "rollout/decimal.h"
#include "rollout/grader.h"

typedef struct {
  const char *label, *completion;
  float first, second;
} grade_case;

static void check_cases(zk_config_grader grader, const grade_case *cases, size_t num_cases) {
  for (size_t i = 0; i < num_cases; i++) {
    const grade_case *c = &cases[i];
    zk_reward reward;
    assert_int_equal(zk_grader_check_label(grader, c->label), ZK_OK);
    zk_grader_grade(grader, NULL, c->label, c->completion, strlen(c->completion), &reward);
    if (reward.component[0] != c->first || reward.component[1] != c->second || reward.total != c->first)
      fail_msg("label \"%s\", completion \"%s\": %g and %g, expected %g and %g", c->label, c->completion,
               (double)reward.component[0], (double)reward.component[1], (double)c->first, (double)c->second);
  }
}
#define CHECK_CASES(grader, cases) check_cases(grader, cases, sizeof cases / sizeof *cases)

static void exact_is_the_text_without_white_space_around(void **state) {
  static const grade_case cases[] = {
      {"edcba", "edcba", 1, 0},  {"edcba", " edcba\n", 1, 0},    {"edcba", "edcb", 0, 0}, {"edcba", "edcbaa", 0, 0},
      {"edcba", "e dcba", 0, 0}, {"edcba", "Edcba", 0, 0},       {"edcba", "", 0, 0},     {" a b ", "a b", 1, 0},
      {"7", "7.0", 0, 0},        {"\xc3\xa9", "\xc3\xa9", 1, 0},
  };
  CHECK_CASES(ZK_CONFIG_GRADER_EXACT, cases);
  zk_reward reward;
  zk_grader_grade(ZK_CONFIG_GRADER_EXACT, NULL, "ab", "ab\0", 3, &reward); // a NUL byte is a byte
  assert_true(reward.total == 0.0f);
}

static void number_is_the_last_one(void **state) {
  static const grade_case cases[] = {
      {"46", "46", 1, 1},
      {"46", " 46\n", 1, 1},
      {"46", "12+34=46", 1, 0},
      {"46", "The answer is 46.", 1, 0},
      {"46", "46.", 1, 0},
      {"46", "46.0", 1, 1},
      {"46", "046", 1, 1},
      {"46", "+46", 1, 1},
      {"46", "46 or 47", 0, 0},
      {"46", "forty-six", 0, 0},
      {"46", "", 0, 0},
      {"46", "-46", 0, 0},
      {"46", "4 6", 0, 0},
      {"-22", "12-34=-22", 1, 0},
      {"-22",
       "\xe2\x88\x92"
       "22",
       1, 1},
      {"22", "56-34=22", 1, 0},
      {"34", "12-34", 1, 0},   // the minus is an operator
      {"-34", "12 -34", 1, 0}, // and here a sign
      {"34", "(12)-34", 1, 0},
      {"5", "x-5", 1, 0},
      {"0", "-0", 1, 1},
      {"0", "0.00", 1, 1},
      {"1234567", "1,234,567", 1, 1},
      {"1,234", "1234", 1, 1},
      {"567", "1234,567", 1, 0}, // not a thousands group: two numbers
      {"34", "12,34", 1, 0},
      {"2", "1, 2", 1, 0},
      {"1000", "$1,000", 1, 1},
      {"-5", "-$5", 1, 1},
      {"-5", "$-5", 1, 1},
      {"0.5", ".5", 1, 1},
      {"0.5", "0.50", 1, 1},
      {"0.5", "0.05", 0, 0},
      {"3.14", "pi is 3.14...", 1, 0},
      {"72", "72%", 1, 0},
      {"18", "**18**", 1, 0},
      {"123456789012345678901234567890", "123456789012345678901234567890", 1, 1},
      {"123456789012345678901234567890", "123456789012345678901234567891", 0, 0},
      {"1", "9999999999999999999999999999 and 1", 1, 0},
  };
  CHECK_CASES(ZK_CONFIG_GRADER_NUMBER, cases);
}

static void gsm8k_reads_the_hashes(void **state) {
  static const grade_case cases[] = {
      {"72", "so #### 72", 1, 1},
      {"48 + 24 = <<48+24=72>>72\n#### 72", "#### 72", 1, 1},
      {"72", "#### 72.", 1, 1},
      {"72", "#### 72\n", 1, 1},
      {"72", "#### 72 clips", 1, 1},
      {"72", "####72", 0, 1}, // the space belongs to the format
      {"72", "### 72", 0, 1},
      {"72", "##### 72", 1, 1},
      {"72", "#### $72", 0, 1},
      {"72", "#### ", 0, 0},
      {"72", "####", 0, 0},
      {"72", "The answer is 72", 0, 1},
      {"72", "72 is the answer of part 1", 0, 0},
      {"72", "#### 72\n#### 73", 1, 0}, // the first counts
      {"73", "#### 72\n#### 73", 0, 1},
      {"72", "#### x\n#### 72", 1, 1}, // unless nothing stands there
      {"72", "#### 7 2", 0, 0},
      {"-7", "#### -7", 1, 1},
      {"-7", "#### - 7", 0, 0},
      {"1000", "#### 1,000", 1, 1},
      {"1000", "#### 10,00", 1, 0}, // commas are dropped wherever they stand
      {"1,000", "#### 1000", 1, 1},
      {"2.5", "#### 2.50", 1, 1},
      {"2.5", "#### 2.5.", 1, 1},
      {"2.5", "#### 2.5.1", 0, 0},
      {"2", "#### ...", 0, 0},
      {"2", "#### ,", 0, 0},
  };
  CHECK_CASES(ZK_CONFIG_GRADER_GSM8K, cases);
}

static void labels_are_checked(void **state) {
  assert_int_equal(zk_grader_check_label(ZK_CONFIG_GRADER_EXACT, " \n"), ZK_BAD_INPUT);
  assert_int_equal(zk_grader_check_label(ZK_CONFIG_GRADER_NUMBER, "seven"), ZK_BAD_INPUT);
  assert_string_equal(zk_status_message(), "label \"seven\" is not a number, which the grader needs");
  assert_int_equal(zk_grader_check_label(ZK_CONFIG_GRADER_NUMBER, "7 apples"), ZK_BAD_INPUT);
  assert_int_equal(zk_grader_check_label(ZK_CONFIG_GRADER_NUMBER, "#### 7"), ZK_BAD_INPUT);
  assert_int_equal(zk_grader_check_label(ZK_CONFIG_GRADER_GSM8K, "so 7"), ZK_BAD_INPUT);
  assert_int_equal(zk_grader_check_label(ZK_CONFIG_GRADER_GSM8K, "so\n#### 7"), ZK_OK);
}

static void components_have_names(void **state) {
  assert_int_equal(zk_grader_num_components(ZK_CONFIG_GRADER_EXACT), 1);
  assert_int_equal(zk_grader_num_components(ZK_CONFIG_GRADER_GSM8K), 2);
  assert_string_equal(zk_grader_component(ZK_CONFIG_GRADER_GSM8K, 0), "strict");
  assert_string_equal(zk_grader_component(ZK_CONFIG_GRADER_GSM8K, 1), "flexible");
}

// Reads past the end would be caught by the address sanitizer: every prefix of a nasty text, in a block of its own
// size.
static void prefixes_stay_inside(void **state) {
  static const char text[] = "-$1,234.5 \xe2\x88\x92 7.- #### -1,2.3. #### \xe2\x88";
  for (size_t n = 0; n < sizeof text; n++) {
    char *block = test_malloc(n + (n == 0));
    memcpy(block, text, n);
    zk_reward reward;
    for (int grader = 0; grader <= ZK_CONFIG_GRADER_GSM8K; grader++) zk_grader_grade(grader, NULL, "1", block, n, &reward);
    test_free(block);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exact_is_the_text_without_white_space_around),
      cmocka_unit_test(number_is_the_last_one),
      cmocka_unit_test(gsm8k_reads_the_hashes),
      cmocka_unit_test(labels_are_checked),
      cmocka_unit_test(components_have_names),
      cmocka_unit_test(prefixes_stay_inside),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
