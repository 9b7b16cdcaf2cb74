// Answers in mathematics, JSON, regular expressions, countdown; several rewards by weights.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rollout/expression.h"
#include "rollout/math_answer.h"
#include "rollout/reward_set.h"
#include "rollout/task.h"

static void expressions_are_exact(void **state) {
  static const struct {
    const char *text;
    int64_t num, den; // den 0: refused
    int num_numbers;
  } cases[] = {
      {"1+2*3", 7, 1, 3},
      {"(1+2)*3", 9, 1, 3},
      {" 8 - 3 - 2 ", 3, 1, 3},
      {"8/3/2", 4, 3, 3},
      {"1/3*3", 1, 1, 3},
      {"-(2+3)*-2", 10, 1, 3},
      {"2--3", 5, 1, 2},
      {"((7))", 7, 1, 1},
      {"1/0", 0, 0, 0},
      {"1/(2-2)", 0, 0, 0},
      {"", 0, 0, 0},
      {"1+", 0, 0, 0},
      {"(1", 0, 0, 0},
      {"1)", 0, 0, 0},
      {"1 2", 0, 0, 0},
      {"2**3", 0, 0, 0},
      {"7//2", 0, 0, 0},
      {"1.5", 0, 0, 0},
      {"x+1", 0, 0, 0},
      {"__import__('os')", 0, 0, 0},
      {"1+2=3", 0, 0, 0},
      {"9223372036854775808", 0, 0, 0},
      {"4611686018427387904*2", 0, 0, 0},
      {"3037000500*3037000500", 0, 0, 0},
      {"9999999999/9999999999", 1, 1, 2},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    zk_expression e;
    const bool ok = zk_expression_parse(cases[i].text, strlen(cases[i].text), &e);
    if (ok != (cases[i].den != 0) || (ok && (e.value.num != cases[i].num || e.value.den != cases[i].den || e.num_numbers != cases[i].num_numbers)))
      fail_msg("%s: %d, %lld / %lld", cases[i].text, ok, (long long)e.value.num, (long long)e.value.den);
  }
  char deep[200];
  memset(deep, '(', sizeof deep);
  zk_expression e;
  assert_false(zk_expression_parse(deep, sizeof deep, &e)); // no stack is used up
  memset(deep, '-', sizeof deep);
  assert_false(zk_expression_parse(deep, sizeof deep, &e));
  for (size_t i = 0; i < sizeof deep; i++) deep[i] = i % 2 ? '+' : '1';
  assert_false(zk_expression_parse(deep, sizeof deep - 1, &e)); // 100 numbers
}

static float total_of(zk_config_grader grader, const char *label, const char *completion, float *second) {
  zk_reward reward;
  zk_pattern *pattern = NULL;
  zk_grader_grade(grader, pattern, label, completion, strlen(completion), &reward);
  *second = reward.component[1];
  return reward.total;
}

static void countdown_keeps_tinyzeros_rules(void **state) {
  static const char label[] = "{\"target\": 98, \"numbers\": [44, 19, 35]}";
  static const struct {
    const char *completion;
    float total, format;
  } cases[] = {
      {"<answer>44+19+35</answer>", 1, 1},
      {"<think>35 + 44 = 79</think> <answer> (35 + 44) + 19 </answer>", 1, 1},
      {"<answer>1</answer> no: <answer>19+35+44</answer>", 1, 1}, // the last one counts
      {"<answer>19+35+44</answer> no: <answer>1</answer>", 0.1f, 1},
      {"<answer>44+19+35=98</answer>", 0.1f, 1},
      {"<answer>98</answer>", 0.1f, 1},
      {"<answer>44+19+35+0</answer>", 0.1f, 1},  // a number that was not given
      {"<answer>44+19</answer>", 0.1f, 1},       // one left out
      {"<answer>44+44+10</answer>", 0.1f, 1},    // one used twice
      {"<answer>44*19-35</answer>", 0.1f, 1},    // another value
      {"<answer></answer>", 0.1f, 1},
      {"<answer>exit(1)</answer>", 0.1f, 1},
      {"44+19+35", 0, 0},
      {"<answer>44+19+35", 0, 0},
      {"44+19+35</answer>", 0, 0},
      {"", 0, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    float format, total = total_of(ZK_CONFIG_GRADER_COUNTDOWN, label, cases[i].completion, &format);
    if (total != cases[i].total || format != cases[i].format) fail_msg("%s: %g, format %g", cases[i].completion, (double)total, (double)format);
  }
  // Exact, where floats are near: 8 / (3 - 8/3) = 24.
  float format;
  assert_true(total_of(ZK_CONFIG_GRADER_COUNTDOWN, "{\"target\": 24, \"numbers\": [3, 3, 8, 8]}", "<answer>8/(3-8/3)</answer>", &format) == 1.0f);
  assert_int_equal(zk_grader_check_label(ZK_CONFIG_GRADER_COUNTDOWN, label), ZK_OK);
  static const char *const bad[] = {"98", "{\"target\": 98}", "{\"target\": 98, \"numbers\": []}", "{\"target\": 98, \"numbers\": [-1]}",
                                    "{\"target\": 1.5, \"numbers\": [1]}", "{\"target\": 9, \"numbers\": [1, 2, 3, 4, 5, 6, 7, 8, 9]}", "no JSON"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(zk_grader_check_label(ZK_CONFIG_GRADER_COUNTDOWN, bad[i]), ZK_BAD_INPUT);
}

static void boxed_answers_are_normalised(void **state) {
  static const struct {
    const char *label, *answer;
    bool equal;
  } cases[] = {
      {"5", "5", true},
      {"5", "5.", true},
      {"5", "5.0", true},
      {"5", "6", false},
      {"-5", "\xe2\x88\x92" "5", true},
      {"1000000", "1,000,000", true},
      {"1000", "1{,}000", true},
      {"\\frac{1}{2}", "\\dfrac{1}{2}", true},
      {"\\frac{1}{2}", "\\frac12", true},
      {"\\frac{1}{2}", "1/2", true},
      {"\\frac{1}{2}", "0.5", true},
      {"\\frac{1}{2}", ".50", true},
      {"\\frac{1}{2}", "\\frac{2}{4}", true},
      {"-\\frac{3}{4}", "-0.75", true},
      {"-\\frac{3}{4}", "\\frac{-3}{4}", true},
      {"\\frac{3}{2}", "1\\frac{1}{2}", true},
      {"\\frac{1}{3}", "0.333", false},
      {"\\frac{1}{0}", "\\frac{2}{0}", false},
      {"\\frac{x+1}{2}", "\\tfrac{x + 1}{2}", true},
      {"\\frac{\\sqrt{3}}{2}", "\\frac{\\sqrt3}2", true},
      {"50", "50\\%", true},
      {"50\\%", "50%", true},
      {"18", "\\$18", true},
      {"90", "90^\\circ", true},
      {"90", "90^{\\circ}", true},
      {"90", "90\xc2\xb0", true},
      {"90", "90 degrees", true},
      {"12", "12\\text{ cm}", true},
      {"12", "12\\,\\mathrm{cm}^2", true},
      {"12", "12 square feet", true},
      {"12", "12 apples", false},
      {"Evelyn", "\\text{Evelyn}", true},
      {"\\text{(C)}", "(C)", true},
      {"1\\text{ or }2", "1 or 2", true},
      {"(1, 2)", "\\left( 1, 2 \\right)", true},
      {"(1,\\frac12)", "(1.0, 0.5)", true},
      {"(1,2)", "[1,2]", false},
      {"(1,2)", "(1,2,3)", false},
      {"(1,2)", "(2,1)", false},
      {"1,2", "1, 2", true},
      {"5", "x=5", true},
      {"x=5", "5", true},
      {"y=2x+1", "y = 2x + 1", true},
      {"3\\pi", "3 \\pi", true},
      {"3\\pi", "3", false},
      {"x^2+1", "x^{2}+1", false}, // no algebra is done
      {"12345678901234567890", "12345678901234567890", true},
      {"12345678901234567890", "12345678901234567891", false},
      {"", "", false},
      {"5", "", false},
      {"5", "{{{", false},
      {"5", "\\frac{1}{", false},
      {"5", "\\text{5", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *a = cases[i].label, *b = cases[i].answer;
    if (zk_math_equal(a, strlen(a), b, strlen(b)) != cases[i].equal || zk_math_equal(b, strlen(b), a, strlen(a)) != cases[i].equal) {
      char x[ZK_MATH_MAX_BYTES] = "", y[ZK_MATH_MAX_BYTES] = "";
      (void)zk_math_normalise(a, strlen(a), x), (void)zk_math_normalise(b, strlen(b), y);
      fail_msg("\"%s\" and \"%s\" (%s and %s) should%s be equal", a, b, x, y, cases[i].equal ? "" : " not");
    }
  }
  char longer[2 * ZK_MATH_MAX_BYTES];
  memset(longer, '7', sizeof longer);
  assert_false(zk_math_equal(longer, sizeof longer, longer, sizeof longer));

  enum { LEVELS = 200000, OPEN_BYTES = 6 }; // groups in groups that write nothing, more than a stack could follow
  char *deep = malloc((OPEN_BYTES + 1) * LEVELS);
  assert_non_null(deep);
  for (size_t i = 0; i < LEVELS; i++) memcpy(deep + OPEN_BYTES * i, "\\text{", OPEN_BYTES);
  memset(deep + OPEN_BYTES * LEVELS, '}', LEVELS);
  assert_false(zk_math_equal(deep, (OPEN_BYTES + 1) * LEVELS, "5", 1));
  const size_t at = OPEN_BYTES * (LEVELS - 500), few = (OPEN_BYTES + 1) * 500;
  assert_false(zk_math_equal(deep + at, few, "5", 1)); // these are followed, to nothing
  free(deep);
}

static void the_last_box_counts(void **state) {
  static const struct {
    const char *label, *completion;
    float total, boxed;
  } cases[] = {
      {"5", "so \\boxed{5}", 1, 1},
      {"5", "so $\\boxed 5$", 1, 1},
      {"5", "\\boxed{4}, no, \\boxed{5}.", 1, 1},
      {"5", "\\boxed{5}, no, \\boxed{4}.", 0, 1},
      {"5", "\\fbox{5}", 1, 1},
      {"5", "5", 0, 0},
      {"5", "\\boxed{5", 0, 0},
      {"5", "\\boxed", 0, 0},
      {"\\frac{1}{2}", "\\boxed{\\frac{1}{2}}", 1, 1},
      {"Some work: $\\boxed{\\frac{1}{2}}$.", "\\boxed{0.5}", 1, 1}, // the label is a solution
      {"\\{1\\}", "\\boxed{\\{1\\}}", 1, 1},
      {"\\boxed{1", "\\boxed{1}", 0, 1}, // a label whose box never closes is a text
      {"5\\boxed{", "\\boxed{5\\boxed{}", 0, 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    float boxed, total = total_of(ZK_CONFIG_GRADER_MATH, cases[i].label, cases[i].completion, &boxed);
    if (total != cases[i].total || boxed != cases[i].boxed) fail_msg("%s: %g, boxed %g", cases[i].completion, (double)total, (double)boxed);
  }
}

static void json_is_compared_by_value(void **state) {
  static const struct {
    const char *label, *completion;
    float total, valid;
  } cases[] = {
      {"{\"a\": 1, \"b\": [2]}", " {\"b\":[2],\"a\":1}\n", 1, 1},
      {"{\"a\": 1}", "Here:\n```json\n{\"a\": 1}\n```\nDone.", 1, 1},
      {"{\"a\": 1}", "```json\n{\"a\": 1}", 0, 0},
      {"{\"a\": 1}", "{\"a\": 1.0}", 0, 1},
      {"{\"a\": 1}", "{\"a\": 1, \"a\": 1}", 0, 0},
      {"{\"a\": 1}", "{\"a\": 1} x", 0, 0},
      {"3", "3", 1, 1},
      {NULL, "[1, 2", 0, 0},
      {NULL, "[1, 2]", 1, 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    float valid, total = total_of(ZK_CONFIG_GRADER_JSON, cases[i].label, cases[i].completion, &valid);
    if (total != cases[i].total || valid != cases[i].valid) fail_msg("%s: %g, valid %g", cases[i].completion, (double)total, (double)valid);
  }
}

static bool matches(const char *pattern, const char *label, const char *text) {
  zk_pattern *p;
  if (zk_pattern_open(pattern, &p) != ZK_OK) fail_msg("%s", zk_status_message());
  const bool right = zk_pattern_matches(p, label, text, strlen(text));
  zk_pattern_close(p);
  return right;
}

static void patterns(void **state) {
  assert_true(matches("^<think>.*</think>", NULL, "<think>x</think> 5"));
  assert_false(matches("^<think>.*</think>", NULL, "5"));
  assert_true(matches("answer: (\\w+)", "b", "answer: a\nanswer: b"));
  assert_false(matches("answer: (\\w+)", "a", "answer: a\nanswer: b")); // the last match counts
  assert_true(matches("answer: (.*)", " b ", "answer:  b \n"));
  assert_true(matches("(x*)", "", "y")); // an empty match does not go on for ever
  assert_false(matches("(a+)+$", NULL, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab")); // too much backtracking
  assert_false(matches(".", NULL, "\xff\xfe"));
  zk_pattern *p;
  assert_int_equal(zk_pattern_open("a(b", &p), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "task.regex: character 4: missing closing parenthesis"));
  assert_null(p);
}

static void several_rewards_have_weights(void **state) {
  static const char *const list[] = {"task", "regex=0.25", "math=-0.5"};
  zk_config cfg = {.seed = 1};
  cfg.task.name = ZK_CONFIG_TASK_REVERSE;
  cfg.task.min_length = 2, cfg.task.max_length = 3;
  snprintf(cfg.task.regex, sizeof cfg.task.regex, "a");
  cfg.task.rewards.num = 3;
  for (int i = 0; i < 3; i++) snprintf(cfg.task.rewards.text[i], ZK_CONFIG_STOP_BYTES, "%s", list[i]);
  zk_task *task;
  assert_int_equal(zk_task_open(&cfg, &task), ZK_OK);
  assert_int_equal(zk_task_num_components(task), 3);
  assert_string_equal(zk_task_component(task, 0), "task");
  assert_string_equal(zk_task_component(task, 1), "regex");
  assert_string_equal(zk_task_component(task, 2), "math");
  const zk_task_item item = {.label = "ab"};
  zk_reward reward;
  zk_task_reward(task, &item, "ab", 2, &reward);
  assert_true(reward.total == 1.25f && reward.component[0] == 1 && reward.component[1] == 1 && reward.component[2] == 0);
  zk_task_reward(task, &item, "\\boxed{ab}", 10, &reward);
  assert_true(reward.total == -0.25f && reward.component[0] == 0 && reward.component[1] == 1 && reward.component[2] == 1);
  zk_task_close(task);

  zk_config_reward parsed;
  assert_int_equal(zk_config_reward_parse("math=1e-3", &parsed), ZK_OK);
  assert_true(parsed.weight == 1e-3 && parsed.grader == ZK_CONFIG_GRADER_MATH);
  static const char *const bad[] = {"maths", "math=", "math=x", "math=1x", "=1", "", "math=nan", "math=1e999"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(zk_config_reward_parse(bad[i], &parsed), ZK_BAD_INPUT);
  snprintf(cfg.task.rewards.text[1], ZK_CONFIG_STOP_BYTES, "task=2");
  assert_int_equal(zk_config_check_rewards(&cfg), ZK_BAD_INPUT);
  assert_string_equal(zk_status_message(), "task.rewards: task stands twice");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(expressions_are_exact),       cmocka_unit_test(countdown_keeps_tinyzeros_rules), cmocka_unit_test(boxed_answers_are_normalised),
      cmocka_unit_test(the_last_box_counts),         cmocka_unit_test(json_is_compared_by_value),       cmocka_unit_test(patterns),
      cmocka_unit_test(several_rewards_have_weights),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
