// metrics.jsonl: one line a step, doubles that read back, a torn last line forgotten, a repeated step compared and not
// repeated.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/file_util.h"
#include "shared/metrics.h"

static char dir[] = "/tmp/zk_metrics_XXXXXX";
static int make_dir(void **state) { return mkdtemp(dir) ? 0 : -1; }
static int remove_dir(void **state) { return zk_file_remove_tree(dir) == ZK_OK ? 0 : -1; }

static zk_status append(zk_metrics *m, int64_t step, uint64_t weights, uint64_t optimizer) {
  zk_metrics_line line;
  zk_metrics_line_init(&line, step);
  zk_metrics_put_double(&line, "reward/mean", 0.1);
  zk_metrics_put_hash(&line, "weights/hash", weights);
  zk_metrics_put_hash(&line, "state/hash", optimizer);
  zk_status st = zk_metrics_append(m, &line);
  zk_metrics_line_free(&line);
  return st;
}

static void values_read_back(void **state) {
  zk_path path = zk_path_make("%s/values", dir);
  const double values[] = {0,      -0.0, 1, 0.1, 1.0 / 3, DBL_MIN, DBL_TRUE_MIN, DBL_MAX, 1e300, 123456789012345680.0,
                           -2.5e-7};
  zk_metrics *m;
  zk_metrics_line line;
  assert_int_equal(zk_metrics_open(path.s, &m), ZK_OK);
  zk_metrics_line_init(&line, 0);
  char key[16];
  for (int i = 0; i < 11; i++) {
    snprintf(key, sizeof key, "v%d", i);
    zk_metrics_put_double(&line, key, values[i]);
  }
  zk_metrics_put_int(&line, "tokens", INT64_MIN);
  zk_metrics_put_hash(&line, "weights/hash", 0x0123456789abcdef);
  zk_metrics_put_string(&line, "odd \"key\"", "line\nbreak \\ gr\u00fc\u00df");
  assert_non_null(strstr(line.text, "\"v3\": 0.1,")); // the fewest digits
  assert_non_null(strstr(line.text, "\"v2\": 1.0,"));
  assert_int_equal(zk_metrics_append(m, &line), ZK_OK);
  zk_metrics_line_free(&line);
  zk_metrics_close(m);

  assert_int_equal(zk_metrics_open_read(path.s, &m), ZK_OK);
  json_t *object = zk_metrics_find(m, 0);
  for (int i = 0; i < 11; i++) {
    snprintf(key, sizeof key, "v%d", i);
    double back = json_real_value(json_object_get(object, key));
    assert_memory_equal(&back, &values[i], sizeof back);
  }
  assert_true(json_integer_value(json_object_get(object, "tokens")) == INT64_MIN);
  assert_string_equal(json_string_value(json_object_get(object, "odd \"key\"")), "line\nbreak \\ gr\u00fc\u00df");
  uint64_t hash;
  assert_int_equal(zk_metrics_get_hash(m, 0, "weights/hash", &hash), ZK_OK);
  assert_true(hash == 0x0123456789abcdef);
  assert_int_equal(zk_metrics_get_hash(m, 0, "state/hash", &hash), ZK_BAD_ARCHIVE);
  assert_int_equal(zk_metrics_get_hash(m, 1, "weights/hash", &hash), ZK_BAD_ARCHIVE);
  zk_metrics_close(m);
}

static void not_finite_is_refused(void **state) {
  zk_path path = zk_path_make("%s/finite", dir);
  zk_metrics *m;
  zk_metrics_line line;
  assert_int_equal(zk_metrics_open(path.s, &m), ZK_OK);
  zk_metrics_line_init(&line, 3);
  zk_metrics_put_double(&line, "policy/loss", NAN);
  zk_metrics_put_double(&line, "policy/lr", INFINITY);
  assert_int_equal(zk_metrics_append(m, &line), ZK_NOT_FINITE);
  assert_non_null(strstr(zk_status_message(), "policy/loss"));
  assert_non_null(strstr(zk_status_message(), "step 3"));
  zk_metrics_line_free(&line);
  zk_metrics_close(m);
  assert_false(zk_file_exists(path.s));
}

static void a_repeated_step_is_compared(void **state) {
  zk_path path = zk_path_make("%s/resumed", dir);
  zk_metrics *m;
  assert_int_equal(zk_metrics_open(path.s, &m), ZK_OK);
  assert_int_equal(zk_metrics_last_step(m), -1);
  for (int64_t step = 0; step < 4; step++) assert_int_equal(append(m, step, 10 + (uint64_t)step, 20), ZK_OK);
  zk_metrics_close(m);
  assert_int_equal(zk_metrics_open(path.s, &m), ZK_OK);
  assert_int_equal(zk_metrics_last_step(m), 3);
  assert_int_equal(append(m, 2, 12, 20), ZK_OK);
  assert_int_equal(append(m, 3, 13, 21), ZK_MISMATCH);
  assert_non_null(strstr(zk_status_message(), "step 3"));
  assert_non_null(strstr(zk_status_message(), "state/hash was 0000000000000014, is now 0000000000000015"));
  assert_int_equal(append(m, 5, 15, 20), ZK_BAD_ARCHIVE); // a gap
  assert_int_equal(append(m, 4, 14, 20), ZK_OK);
  zk_metrics_close(m);
  char *text;
  size_t num_bytes, num_lines = 0;
  assert_int_equal(zk_file_read(path.s, 1 << 20, &text, &num_bytes), ZK_OK);
  for (size_t i = 0; i < num_bytes; i++) num_lines += text[i] == '\n';
  assert_int_equal(num_lines, 5);
  free(text);
}

static void torn_and_bad_lines(void **state) {
  zk_path path = zk_path_make("%s/torn", dir);
  zk_metrics *m;
  assert_int_equal(zk_metrics_open_read(path.s, &m), ZK_IO);
  assert_int_equal(zk_file_append(path.s, "{\"step\": 0}\n{\"step\": 1}\n{\"st", 29), ZK_OK);
  assert_int_equal(zk_metrics_open_read(path.s, &m), ZK_OK);
  assert_int_equal(zk_metrics_last_step(m), 1);
  zk_metrics_close(m);
  assert_int_equal(zk_metrics_open(path.s, &m), ZK_OK);
  assert_int_equal(append(m, 2, 1, 1), ZK_OK);
  zk_metrics_close(m);
  assert_int_equal(zk_metrics_open_read(path.s, &m), ZK_OK);
  assert_int_equal(zk_metrics_last_step(m), 2);
  zk_metrics_close(m);

  static const char far_off[] = "{\"step\": 9000000000000000000}\n"; // readers would walk there
  assert_int_equal(zk_file_write(path.s, far_off, strlen(far_off)), ZK_OK);
  assert_int_equal(zk_metrics_open(path.s, &m), ZK_BAD_ARCHIVE);
  assert_non_null(strstr(zk_status_message(), "torn:1: not an object with a step (0 to 1048576)"));
  const char *bad[] = {"{\"step\": 0}\n\n{\"step\": 1}\n", "{\"step\": 0}\n{\"step\": 2}\n",
                       "{\"step\": 0}\n{\"step\": 0}\n",   "{\"step\": 0}\n[1]\n",
                       "{\"step\": 0}\n{\"step\": 1.5}\n", "{\"step\": 0}\n{\"step\": 1, \"step\": 1}\n"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(zk_file_write(path.s, bad[i], strlen(bad[i])), ZK_OK);
    assert_int_equal(zk_metrics_open(path.s, &m), ZK_BAD_ARCHIVE);
    assert_null(m);
    assert_non_null(strstr(zk_status_message(), "torn:2: "));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(values_read_back), cmocka_unit_test(not_finite_is_refused),
                                     cmocka_unit_test(a_repeated_step_is_compared),
                                     cmocka_unit_test(torn_and_bad_lines)};
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
