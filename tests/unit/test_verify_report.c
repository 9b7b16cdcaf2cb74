// The auditor's report: what is counted, which difference is told first, what it comes to.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "trainer/verify_report.h"

static zk_comm *comm;
static zk_verify_report step, total;

static int open_comm(void **state) { return zk_comm_open(&comm) == ZK_OK ? 0 : -1; }
static int close_comm(void **state) {
  zk_comm_close(comm);
  return 0;
}

static int clear(void **state) {
  memset(&step, 0, sizeof step);
  memset(&total, 0, sizeof total);
  return 0;
}

static char *printed(void (*print)(FILE *)) {
  char *text = NULL;
  size_t num_bytes = 0;
  FILE *out = open_memstream(&text, &num_bytes);
  assert_non_null(out);
  print(out);
  fclose(out);
  return text;
}

static void print_table(FILE *out) { zk_verify_print(&total, out); }
static void print_json(FILE *out) { assert_int_equal(zk_verify_print_json(&total, out), ZK_OK); }

static void test_all_equal(void **state) {
  zk_verify_count(&step, ZK_VERIFY_TOKENS, 7);
  step.num_steps = 1, step.num_tokens = 7;
  assert_int_equal(zk_verify_merge(comm, &step, &total), ZK_OK);
  assert_int_equal(step.rows[ZK_VERIFY_TOKENS].total, 0); // cleared for the next step
  char *text = printed(print_table);
  assert_non_null(strstr(text, "tokens                              7 of 7          0  -\n"));
  assert_null(strstr(text, "advantage")); // a check that had nothing to do has no row
  assert_non_null(strstr(text, "verify: 1 step, 7 tokens: all equal\n"));
  free(text);
  assert_int_equal(zk_verify_conclude(&total, "RUN", false), ZK_OK);
}

// Inside a step the least (sample, position) is told, whatever the order of finding; over steps the earliest.
static void test_first_difference(void **state) {
  zk_verify_count(&step, ZK_VERIFY_SAMPLER, 9);
  zk_verify_differ(&step, ZK_VERIFY_SAMPLER, 2, 0, "sample 2 position 0");
  zk_verify_differ(&step, ZK_VERIFY_SAMPLER, 1, 5, "sample 1 position 5");
  zk_verify_differ(&step, ZK_VERIFY_SAMPLER, 1, 7, "sample 1 position 7");
  assert_int_equal(zk_verify_merge(comm, &step, &total), ZK_OK);
  zk_verify_differ(&step, ZK_VERIFY_SAMPLER, 0, 0, "a later step");
  assert_int_equal(zk_verify_merge(comm, &step, &total), ZK_OK);
  assert_string_equal(total.rows[ZK_VERIFY_SAMPLER].first, "sample 1 position 5");
  assert_int_equal(total.rows[ZK_VERIFY_SAMPLER].differing, 4);
  assert_int_equal(zk_verify_conclude(&total, "RUN", true), ZK_MISMATCH);
  assert_string_equal(zk_status_message(), "RUN: 4 values differ; first: sample 1 position 5");
}

// A digest says which file; a value says what in it.
static void test_value_before_digest(void **state) {
  zk_verify_differ(&total, ZK_VERIFY_DIGESTS, -1, 0, "a file");
  assert_int_equal(zk_verify_conclude(&total, "RUN", false), ZK_MISMATCH);
  assert_string_equal(zk_status_message(), "RUN: 1 value differs; first: a file");
  zk_verify_differ(&total, ZK_VERIFY_REPLAY, 0, 0, "a value");
  assert_int_equal(zk_verify_conclude(&total, "RUN", false), ZK_MISMATCH);
  assert_string_equal(zk_status_message(), "RUN: 2 values differ; first: a value");
}

static void test_unchecked(void **state) {
  zk_verify_count(&total, ZK_VERIFY_TOKENS, 3);
  zk_verify_skip(&total, ZK_VERIFY_TOKENS, 4, "step 2: no file");
  zk_verify_skip(&total, ZK_VERIFY_TOKENS, 4, "step 3: no file");
  assert_int_equal(zk_verify_conclude(&total, "RUN", true), ZK_OK);
  zk_status st = zk_verify_conclude(&total, "RUN", false);
  assert_int_equal(zk_status_exit_code(st), 2);
  assert_non_null(strstr(zk_status_message(), "step 2: no file"));
  char *text = printed(print_table);
  assert_non_null(strstr(text, "3 of 11"));
  assert_non_null(strstr(text, "not checked: step 2: no file\n"));
  assert_non_null(strstr(text, "nothing differs, but not everything could be checked\n"));
  free(text);
  zk_verify_differ(&total, ZK_VERIFY_TOKENS, 0, 0, "a difference"); // outweighs what was not checked
  assert_int_equal(zk_status_exit_code(zk_verify_conclude(&total, "RUN", false)), 1);
}

static void test_json(void **state) {
  zk_verify_count(&total, ZK_VERIFY_UPDATES, 8);
  zk_verify_differ(&total, ZK_VERIFY_UPDATES, -1, 0, "step 2: \"weights/hash\"");
  total.num_steps = 4;
  char *text = printed(print_json);
  json_t *root = json_loads(text, 0, NULL), *row = json_array_get(json_object_get(root, "checks"), 0);
  assert_int_equal(json_integer_value(json_object_get(root, "steps")), 4);
  assert_false(json_is_true(json_object_get(root, "equal")));
  assert_true(json_is_true(json_object_get(root, "complete")));
  assert_string_equal(json_string_value(json_object_get(row, "check")), "update");
  assert_int_equal(json_integer_value(json_object_get(row, "differing")), 1);
  assert_string_equal(json_string_value(json_object_get(row, "first_difference")), "step 2: \"weights/hash\"");
  json_decref(root);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_all_equal, clear),
      cmocka_unit_test_setup(test_first_difference, clear),
      cmocka_unit_test_setup(test_value_before_digest, clear),
      cmocka_unit_test_setup(test_unchecked, clear),
      cmocka_unit_test_setup(test_json, clear),
  };
  return cmocka_run_group_tests(tests, open_comm, close_comm);
}
