// Tasks: items are a function of config, split and index; the splits share nothing; rewards are exact.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rollout/task.h"
#include "rollout/task_kind.h"

static zk_config reverse_config(int min_length, int max_length, int heldout) {
  zk_config cfg = {.seed = 42};
  cfg.task.name = ZK_CONFIG_TASK_REVERSE;
  cfg.task.min_length = min_length, cfg.task.max_length = max_length, cfg.task.heldout = heldout;
  return cfg;
}

static zk_config arithmetic_config(int num_digits, const char *operations, int heldout) {
  zk_config cfg = {.seed = 42};
  cfg.task.name = ZK_CONFIG_TASK_ARITHMETIC;
  cfg.task.num_digits = num_digits, cfg.task.heldout = heldout;
  snprintf(cfg.task.operations, sizeof cfg.task.operations, "%s", operations);
  return cfg;
}

static zk_task *open_task(const zk_config *cfg) {
  zk_task *task;
  if (zk_task_open(cfg, &task) != ZK_OK) fail_msg("%s", zk_status_message());
  return task;
}

static zk_task_item get(const zk_task *task, zk_split split, uint64_t index) {
  zk_task_item item;
  if (zk_task_get(task, split, index, &item) != ZK_OK) fail_msg("%s", zk_status_message());
  return item;
}

// Writes "prompt answer" of item `index` to `out`.
static void describe(const zk_task *task, zk_split split, uint64_t index, char out[128]) {
  zk_task_item item = get(task, split, index);
  snprintf(out, 128, "%s %s", item.text, item.label);
  assert_string_equal(item.label, item.demonstration);
  zk_task_item_free(&item);
}

static void known_items(void **state) {
  // Written down once; they hold on every machine, or archives stop verifying.
  static const char *const reverse[] = {"dmeizumx= xmuziemd", "yincvh= hvcniy", "kprirawz= zwarirpk"};
  static const char *const arithmetic[] = {"1*59= 59", "19+18= 37", "8*26= 208"};
  static const uint64_t index[] = {0, 1, 7};
  zk_config a = reverse_config(3, 8, 10), b = arithmetic_config(2, "+-*", 10);
  zk_task *first = open_task(&a), *second = open_task(&b);
  char text[128];
  for (int i = 0; i < 3; i++) {
    describe(first, ZK_SPLIT_TRAIN, index[i], text);
    assert_string_equal(text, reverse[i]);
    describe(second, ZK_SPLIT_TRAIN, index[i], text);
    assert_string_equal(text, arithmetic[i]);
  }
  describe(first, ZK_SPLIT_HELDOUT, 0, text);
  assert_string_equal(text, "cwgah= hagwc");
  describe(second, ZK_SPLIT_HELDOUT, 0, text);
  assert_string_equal(text, "17-53= -36");
  zk_task_close(first);
  zk_task_close(second);
}

static void items_are_a_function_of_seed_and_index(void **state) {
  zk_config cfg = reverse_config(6, 9, 50), other = cfg;
  other.seed = 43;
  zk_task *a = open_task(&cfg), *b = open_task(&cfg), *c = open_task(&other);
  int num_same = 0;
  for (int i = 99; i >= 0; i--) { // in another order than b
    char left[128], right[128], foreign[128];
    describe(a, ZK_SPLIT_TRAIN, (uint64_t)i, left);
    describe(b, ZK_SPLIT_TRAIN, (uint64_t)i, right);
    describe(c, ZK_SPLIT_TRAIN, (uint64_t)i, foreign);
    assert_string_equal(left, right);
    num_same += strcmp(left, foreign) == 0;
  }
  assert_int_equal(num_same, 0);
  zk_task_close(a);
  zk_task_close(b);
  zk_task_close(c);
}

static void ids_lead_back_to_items(void **state) {
  zk_config cfg = reverse_config(6, 9, 50);
  zk_task *task = open_task(&cfg);
  for (int split = ZK_SPLIT_TRAIN; split <= ZK_SPLIT_HELDOUT; split++) {
    zk_task_item item = get(task, (zk_split)split, 17), again;
    assert_int_equal(item.prompt_id, split == ZK_SPLIT_TRAIN ? 17u : 17u + (1u << 31));
    assert_int_equal(zk_task_get_by_id(task, item.prompt_id, &again), ZK_OK);
    assert_string_equal(item.text, again.text);
    zk_task_item_free(&item);
    zk_task_item_free(&again);
  }
  zk_task_item item;
  assert_int_equal(zk_task_get(task, ZK_SPLIT_HELDOUT, 50, &item), ZK_BAD_INPUT);
  assert_string_equal(zk_status_message(), "task reverse has 50 held-out items, there is no item 50");
  assert_int_equal(zk_task_get(task, ZK_SPLIT_TRAIN, 1ull << 31, &item), ZK_BAD_INPUT);
  zk_task_close(task);
}

static int compare_text(const void *a, const void *b) { return strcmp(a, b); }

// All held-out items are distinct, and no training item is one of them.
static void check_disjoint(const zk_config *cfg, int num_train, uint32_t num_heldout) {
  typedef char text[128];
  zk_task *task = open_task(cfg);
  assert_int_equal(zk_task_num_heldout(task), num_heldout);
  text *held = calloc(num_heldout, sizeof *held), train;
  for (uint32_t i = 0; i < num_heldout; i++) describe(task, ZK_SPLIT_HELDOUT, i, held[i]);
  qsort(held, num_heldout, sizeof *held, compare_text);
  for (uint32_t i = 1; i < num_heldout; i++) assert_string_not_equal(held[i - 1], held[i]);
  for (int i = 0; i < num_train; i++) {
    describe(task, ZK_SPLIT_TRAIN, (uint64_t)i, train);
    if (bsearch(train, held, num_heldout, sizeof *held, compare_text) != NULL) fail_msg("%s is in both splits", train);
  }
  free(held);
  zk_task_close(task);
}

static void splits_are_disjoint(void **state) {
  zk_config a = reverse_config(3, 5, 1000), b = arithmetic_config(2, "+-*", 1000), c = arithmetic_config(1, "*", 4);
  check_disjoint(&a, 20000, 1000);
  check_disjoint(&b, 20000, 1000);
  check_disjoint(&c, 20000, 4);
}

// a+b and b+a give each other away, so they are in one split.
static void a_swapped_sum_is_the_same_question(void **state) {
  zk_config cfg = arithmetic_config(1, "+*", 4);
  zk_task *task = open_task(&cfg);
  for (uint32_t i = 0; i < zk_task_num_heldout(task); i++) {
    zk_task_item held = get(task, ZK_SPLIT_HELDOUT, i);
    const char swapped[] = {held.text[2], held.text[1], held.text[0], '=', 0};
    for (uint64_t j = 0; j < 3000; j++) {
      zk_task_item item = get(task, ZK_SPLIT_TRAIN, j);
      assert_string_not_equal(item.text, swapped);
      zk_task_item_free(&item);
    }
    zk_task_item_free(&held);
  }
  zk_task_close(task);
}

static void small_spaces_give_what_they_have(void **state) {
  zk_config cfg = reverse_config(1, 1, 500); // 26 questions
  zk_task *task = open_task(&cfg);
  assert_in_range(zk_task_num_heldout(task), 1, 12);
  uint32_t num = zk_task_num_heldout(task);
  zk_task_close(task);
  check_disjoint(&cfg, 2000, num);
}

static void answers_are_right(void **state) {
  zk_config cfg = arithmetic_config(3, "+-*", 0);
  zk_task *task = open_task(&cfg);
  int seen[128] = {0};
  for (uint64_t i = 0; i < 2000; i++) {
    zk_task_item item = get(task, ZK_SPLIT_TRAIN, i);
    long long a, b, want;
    char op, end;
    assert_int_equal(sscanf(item.text, "%lld%c%lld%c", &a, &op, &b, &end), 4);
    want = op == '+' ? a + b : op == '-' ? a - b : a * b;
    assert_true(a >= 0 && a < 1000 && b >= 0 && b < 1000 && end == '=');
    assert_int_equal(atoll(item.label), want);
    seen[(int)op]++;
    zk_task_item_free(&item);
  }
  assert_true(seen['+'] > 500 && seen['-'] > 500 && seen['*'] > 500);
  zk_task_close(task);
}

static void lengths_and_reversal(void **state) {
  zk_config cfg = reverse_config(2, 5, 0);
  zk_task *task = open_task(&cfg);
  int seen[8] = {0};
  for (uint64_t i = 0; i < 2000; i++) {
    zk_task_item item = get(task, ZK_SPLIT_TRAIN, i);
    size_t length = strlen(item.label);
    assert_in_range(length, 2, 5);
    assert_int_equal(strlen(item.text), length + 1);
    for (size_t j = 0; j < length; j++) assert_int_equal(item.text[j], item.label[length - 1 - j]);
    seen[length]++;
    zk_task_item_free(&item);
  }
  for (int i = 2; i <= 5; i++) assert_true(seen[i] > 300);
  zk_task_close(task);
}

static void chat_prompts(void **state) {
  zk_config cfg = arithmetic_config(2, "+", 0);
  zk_task *task = open_task(&cfg);
  zk_task_item item = get(task, ZK_SPLIT_TRAIN, 0);
  assert_int_equal(item.num_messages, 1);
  assert_string_equal(item.messages[0].role, "user");
  char want[128];
  snprintf(want, sizeof want, "What is %.*s? Answer with the number only.", (int)strlen(item.text) - 1, item.text);
  assert_string_equal(item.messages[0].content, want);
  zk_task_item_free(&item);
  zk_task_close(task);

  snprintf(cfg.task.system, sizeof cfg.task.system, "Be brief.");
  task = open_task(&cfg);
  item = get(task, ZK_SPLIT_TRAIN, 0);
  assert_int_equal(item.num_messages, 2);
  assert_string_equal(item.messages[0].role, "system");
  assert_string_equal(item.messages[0].content, "Be brief.");
  assert_string_equal(item.messages[1].content, want);
  zk_task_item_free(&item);
  zk_task_close(task);
}

static zk_reward reward_of(const zk_task *task, const char *label, const char *completion) {
  zk_task_item item = {.label = label};
  zk_reward reward;
  zk_task_reward(task, &item, completion, strlen(completion), &reward);
  return reward;
}

static void rewards(void **state) {
  zk_config cfg = reverse_config(3, 8, 0);
  zk_task *task = open_task(&cfg);
  assert_int_equal(zk_task_num_components(task), 2);
  assert_string_equal(zk_task_component(task, 0), "exact");
  assert_string_equal(zk_task_component(task, 1), "partial");
  zk_reward reward = reward_of(task, "edcba", "edcba");
  assert_true(reward.total == 1.0f && reward.component[0] == 1.0f && reward.component[1] == 1.0f);
  reward = reward_of(task, "edcba", "edxba");
  assert_true(reward.total == 0.0f && reward.component[0] == 0.0f && reward.component[1] == 4.0f / 5.0f);
  reward = reward_of(task, "edcba", "edcbaed");
  assert_true(reward.total == 0.0f && reward.component[1] == 5.0f / 7.0f);
  reward = reward_of(task, "edcba", "");
  assert_true(reward.total == 0.0f && reward.component[1] == 0.0f);
  zk_task_close(task);

  cfg = arithmetic_config(2, "+", 0);
  task = open_task(&cfg);
  assert_string_equal(zk_task_component(task, 0), "number");
  reward = reward_of(task, "46", "12+34=46");
  assert_true(reward.total == 1.0f && reward.component[1] == 0.0f);
  zk_task_close(task);
}

static zk_config generated_config(zk_config_task name, int heldout) {
  zk_config cfg = {.seed = 42};
  cfg.task.name = name, cfg.task.heldout = heldout;
  cfg.task.num_digits = 2, cfg.task.min_steps = 2, cfg.task.max_steps = 4;
  snprintf(cfg.task.operations, sizeof cfg.task.operations, "+-*");
  cfg.task.min_numbers = 3, cfg.task.max_numbers = 4, cfg.task.max_number = 99;
  return cfg;
}

// Of tasks whose demonstration is a worked answer: written down once, right by the task's own grader, and in one split.
static void worked_answers(void **state) {
  static const struct {
    zk_config_task name;
    const char *text, *label, *demonstration;
  } cases[] = {
      {ZK_CONFIG_TASK_MULTISTEP, "59*8+79-56-1=", "494", "59*8=472\n472+79=551\n551-56=495\n495-1=494\n#### 494"},
      {ZK_CONFIG_TASK_COUNTDOWN, "14,51,29:94=", "{\"target\": 94, \"numbers\": [14, 51, 29]}", "<answer>14+(29+51)</answer>"},
  };
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    zk_config cfg = generated_config(cases[k].name, 200);
    zk_task *task = open_task(&cfg);
    assert_int_equal(zk_task_num_heldout(task), 200);
    zk_task_item item = get(task, ZK_SPLIT_TRAIN, 0);
    assert_string_equal(item.text, cases[k].text);
    assert_string_equal(item.label, cases[k].label);
    assert_string_equal(item.demonstration, cases[k].demonstration);
    zk_task_item_free(&item);
    for (uint64_t i = 0; i < 2000; i++) {
      const zk_split split = i < 200 ? ZK_SPLIT_HELDOUT : ZK_SPLIT_TRAIN;
      item = get(task, split, i);
      assert_int_equal(zk_grader_check_label(cases[k].name == ZK_CONFIG_TASK_MULTISTEP ? ZK_CONFIG_GRADER_GSM8K : ZK_CONFIG_GRADER_COUNTDOWN, item.label), ZK_OK);
      zk_reward reward = reward_of(task, item.label, item.demonstration);
      if (reward.total != 1.0f) fail_msg("%s%s earns %g", item.text, item.demonstration, (double)reward.total);
      assert_true(strlen(item.text) < 128 && strlen(item.demonstration) < 400);
      zk_task_item_free(&item);
    }
    zk_task_close(task);
  }
  zk_config cfg = generated_config(ZK_CONFIG_TASK_COUNTDOWN, 0);
  cfg.task.min_numbers = cfg.task.max_numbers = 8, cfg.task.max_number = 9999;
  zk_task *task = open_task(&cfg);
  for (uint64_t i = 0; i < 300; i++) { // the largest texts
    zk_task_item item = get(task, ZK_SPLIT_TRAIN, i);
    assert_true(reward_of(task, item.label, item.demonstration).total == 1.0f);
    zk_task_item_free(&item);
  }
  zk_task_close(task);
  cfg = generated_config(ZK_CONFIG_TASK_MULTISTEP, 0);
  cfg.task.min_steps = cfg.task.max_steps = 8, cfg.task.num_digits = 9;
  snprintf(cfg.task.operations, sizeof cfg.task.operations, "*");
  task = open_task(&cfg);
  for (uint64_t i = 0; i < 300; i++) {
    zk_task_item item = get(task, ZK_SPLIT_TRAIN, i);
    assert_true(reward_of(task, item.label, item.demonstration).total == 1.0f);
    zk_task_item_free(&item);
  }
  zk_task_close(task);
}

static void a_limited_pool_is_permuted_each_epoch(void **state) {
  for (uint32_t num_items = 1; num_items < 300; num_items += 7) {
    unsigned char seen[300] = {0};
    for (uint32_t i = 0; i < num_items; i++) seen[zk_task_permute(5, 3, i, num_items)]++;
    for (uint32_t i = 0; i < num_items; i++) assert_int_equal(seen[i], 1);
  }
  int num_fixed = 0;
  for (uint32_t i = 0; i < 1000; i++) num_fixed += zk_task_permute(5, 0, i, 1000) == zk_task_permute(5, 1, i, 1000);
  assert_true(num_fixed < 10);

  zk_config cfg = reverse_config(5, 8, 0);
  cfg.task.num_prompts = 20;
  zk_task *task = open_task(&cfg);
  for (uint64_t epoch = 0; epoch < 3; epoch++) { // the same 20 strings each time: their sources add up alike
    uint64_t sum = 0, first = 0;
    for (uint64_t i = 0; i < 40; i++) {
      zk_task_item item = get(task, ZK_SPLIT_TRAIN, (i < 20 ? 0 : epoch * 20) + i % 20);
      if (i < 20) first += item.source;
      else sum += item.source;
      zk_task_item_free(&item);
    }
    assert_true(sum == first);
  }
  zk_task_close(task);
}

static void expect_refusal(const zk_config *cfg, const char *message) {
  zk_task *task;
  assert_int_equal(zk_task_open(cfg, &task), ZK_BAD_INPUT);
  assert_null(task);
  assert_non_null(strstr(zk_status_message(), message));
}

static void bad_configs(void **state) {
  zk_config cfg = reverse_config(5, 3, 0);
  expect_refusal(&cfg, "1 <= task.min_length <= task.max_length, not 5 and 3");
  cfg = reverse_config(0, 3, 0);
  expect_refusal(&cfg, "not 0 and 3");
  cfg = arithmetic_config(0, "+", 0);
  expect_refusal(&cfg, "task.num_digits = 0 is not in 1..9");
  cfg = arithmetic_config(2, "+/", 0);
  expect_refusal(&cfg, "task.operations = \"+/\" is not some of + - *");
  cfg = generated_config(ZK_CONFIG_TASK_MULTISTEP, 0);
  cfg.task.max_steps = 9;
  expect_refusal(&cfg, "task multistep wants 1 <= task.min_steps <= task.max_steps <= 8, not 2 and 9");
  cfg = generated_config(ZK_CONFIG_TASK_COUNTDOWN, 0);
  cfg.task.min_numbers = 5;
  expect_refusal(&cfg, "task countdown wants 2 <= task.min_numbers <= task.max_numbers <= 8, not 5 and 4");
  cfg = arithmetic_config(2, "", 0);
  expect_refusal(&cfg, "is not some of");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_items),
      cmocka_unit_test(items_are_a_function_of_seed_and_index),
      cmocka_unit_test(ids_lead_back_to_items),
      cmocka_unit_test(splits_are_disjoint),
      cmocka_unit_test(a_swapped_sum_is_the_same_question),
      cmocka_unit_test(small_spaces_give_what_they_have),
      cmocka_unit_test(answers_are_right),
      cmocka_unit_test(lengths_and_reversal),
      cmocka_unit_test(chat_prompts),
      cmocka_unit_test(rewards),
      cmocka_unit_test(worked_answers),
      cmocka_unit_test(a_limited_pool_is_permuted_each_epoch),
      cmocka_unit_test(bad_configs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
