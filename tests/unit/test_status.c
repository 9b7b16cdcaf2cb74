// Errors keep their code, message, context and frames.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "kernels/status.h"

static zk_status inner(void) { return ZK_FAIL(ZK_BAD_INPUT, "value %d is out of range", 7); }
static zk_status outer(void) {
  ZK_TRY(inner());
  return ZK_OK;
}

static void message_frames_and_exit_code(void **state) {
  (void)state;
  zk_status st = outer();
  assert_int_equal(st, ZK_BAD_INPUT);
  assert_string_equal(zk_status_message(), "value 7 is out of range");
  assert_non_null(strstr(zk_status_frames(), "inner"));
  assert_non_null(strstr(zk_status_frames(), "outer"));
  assert_int_equal(zk_status_exit_code(st), 2);
  assert_int_equal(zk_status_exit_code(ZK_MISMATCH), 1);
}

static void context_goes_in_front(void **state) {
  (void)state;
  zk_status st = zk_status_context(inner(), "file.yaml:%d", 3);
  assert_int_equal(st, ZK_BAD_INPUT);
  assert_string_equal(zk_status_message(), "file.yaml:3: value 7 is out of range");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(message_frames_and_exit_code), cmocka_unit_test(context_goes_in_front)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
