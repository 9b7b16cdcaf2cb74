// Event files: sums and framing against published values; a file cut or damaged at any byte goes on with every step in it once.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/event.h"
#include "shared/file_util.h"
#include "shared/tensorboard.h"
#include "shared/tfrecord.h"

static char dir[] = "/tmp/zk_tensorboard_XXXXXX";
static zk_path events_path;

static int make_dir(void **state) {
  if (!mkdtemp(dir)) return -1;
  events_path = zk_path_make("%s/tensorboard/events.out.tfevents.zerokl", dir);
  return 0;
}
static int remove_dir(void **state) { return zk_file_remove_tree(dir) == ZK_OK ? 0 : -1; }

// ---- sums, framing, messages

static void crc32c_has_the_published_values(void **state) { // RFC 3720, B.4
  uint8_t bytes[32];
  memset(bytes, 0, sizeof bytes);
  assert_int_equal(zk_crc32c(bytes, sizeof bytes), 0x8a9136aau);
  memset(bytes, 0xff, sizeof bytes);
  assert_int_equal(zk_crc32c(bytes, sizeof bytes), 0x62a8ab43u);
  for (int i = 0; i < 32; i++) bytes[i] = (uint8_t)i;
  assert_int_equal(zk_crc32c(bytes, sizeof bytes), 0x46dd794eu);
  assert_int_equal(zk_crc32c("123456789", 9), 0xe3069283u);
  assert_int_equal(zk_crc32c("", 0), 0);
}

static void messages_are_protocol_buffers(void **state) {
  // Written out by hand from the encoding's rules: wall_time 1.0, step 300, {tag "a/b", simple_value 0.5}.
  static const uint8_t expected[] = {0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0xac, 0x02, 0x2a, 0x0c, 0x0a, 0x0a, 0x0a, 3, 'a', '/', 'b', 0x15, 0, 0, 0, 0x3f};
  json_t *line = json_pack("{s:i, s:f, s:s, s:n}", "step", 300, "a/b", 0.5, "weights/hash", "00ff", "nothing");
  uint8_t *message;
  size_t num_bytes;
  assert_int_equal(zk_event_scalars(1.0, 300, line, &message, &num_bytes), ZK_OK);
  assert_int_equal(num_bytes, sizeof expected);
  assert_memory_equal(message, expected, sizeof expected);
  bool is_version;
  int64_t step;
  assert_true(zk_event_read(message, num_bytes, &is_version, &step));
  assert_false(is_version);
  assert_int_equal(step, 300);
  for (size_t cut = 1; cut < num_bytes; cut++) // never reads behind the end, whatever it then says
    (void)zk_event_read(message + cut, num_bytes - cut, &is_version, &step);
  free(message);
  json_decref(line);
}

static void tags_may_be_long(void **state) { // lengths of two bytes and more
  char tag[300];
  memset(tag, 'x', sizeof tag - 1);
  tag[sizeof tag - 1] = 0;
  json_t *line = json_pack("{s:i, s:f}", "step", 1, tag, 1.0);
  uint8_t *message;
  size_t num_bytes;
  assert_int_equal(zk_event_scalars(0, 1, line, &message, &num_bytes), ZK_OK);
  // 9 wall time, 2 step, 3 summary's head, 3 value's head, 3 tag's head, 299, 5 value
  assert_int_equal(num_bytes, 9 + 2 + 3 + 3 + 3 + 299 + 5);
  free(message);
  json_decref(line);
}

// ---- a run's file

static zk_metrics *metrics_to(int64_t last) {
  zk_path path = zk_path_make("%s/metrics_%lld.jsonl", dir, (long long)last);
  zk_metrics *m;
  assert_int_equal(zk_metrics_open(path.s, &m), ZK_OK);
  for (int64_t step = zk_metrics_last_step(m) + 1; step <= last; step++) {
    zk_metrics_line line;
    zk_metrics_line_init(&line, step);
    zk_metrics_put_double(&line, "reward/mean", 0.25 * (double)step);
    zk_metrics_put_double(&line, "time/step", 2);
    zk_metrics_put_hash(&line, "weights/hash", 0);
    assert_int_equal(zk_metrics_append(m, &line), ZK_OK);
    zk_metrics_line_free(&line);
  }
  return m;
}

static void follow_to(int64_t last) {
  zk_metrics *m = metrics_to(last);
  zk_tensorboard *tb;
  assert_int_equal(zk_tensorboard_open(dir, m, &tb), ZK_OK);
  assert_int_equal(zk_tensorboard_follow(tb, m), ZK_OK); // nothing new
  zk_tensorboard_close(tb);
  zk_metrics_close(m);
}

// Whole records to the file's end: the version, then steps 0 to last, one each.
static void expect_steps(int64_t last) {
  char *bytes;
  size_t num_bytes, at = 0, message_bytes;
  const uint8_t *message;
  bool is_version;
  int64_t step, expected = -1;
  assert_int_equal(zk_file_read(events_path.s, 1 << 20, &bytes, &num_bytes), ZK_OK);
  for (; zk_tfrecord_next(bytes, num_bytes, &at, &message, &message_bytes); expected++) {
    assert_true(zk_event_read(message, message_bytes, &is_version, &step));
    assert_int_equal(is_version, expected < 0);
    if (!is_version) assert_int_equal(step, expected);
  }
  assert_int_equal(at, num_bytes);
  assert_int_equal(expected, last + 1);
  free(bytes);
}

static void follows_metrics(void **state) {
  follow_to(-1);
  expect_steps(-1);
  follow_to(3);
  expect_steps(3);
  follow_to(3);
  expect_steps(3);
  follow_to(1); // metrics that end earlier: what they have not goes
  expect_steps(1);
  follow_to(4);
  expect_steps(4);
}

static void cut_anywhere_it_goes_on(void **state) {
  char *bytes;
  size_t num_bytes;
  follow_to(2);
  assert_int_equal(zk_file_read(events_path.s, 1 << 20, &bytes, &num_bytes), ZK_OK);
  for (size_t cut = 0; cut < num_bytes; cut += 3) {
    assert_int_equal(zk_file_write(events_path.s, bytes, cut), ZK_OK);
    follow_to(2);
    expect_steps(2);
  }
  free(bytes);
}

static void damaged_anywhere_it_is_mended(void **state) {
  char *bytes;
  size_t num_bytes;
  follow_to(2);
  assert_int_equal(zk_file_read(events_path.s, 1 << 20, &bytes, &num_bytes), ZK_OK);
  for (size_t k = 0; k < num_bytes; k += 3) {
    bytes[k] ^= 0x10;
    assert_int_equal(zk_file_write(events_path.s, bytes, num_bytes), ZK_OK);
    bytes[k] ^= 0x10;
    size_t at = 0, whole = 0, message_bytes;
    const uint8_t *message;
    char *damaged;
    size_t damaged_bytes;
    assert_int_equal(zk_file_read(events_path.s, 1 << 20, &damaged, &damaged_bytes), ZK_OK);
    while (zk_tfrecord_next(damaged, damaged_bytes, &at, &message, &message_bytes)) whole = at;
    free(damaged);
    assert_true(whole < num_bytes); // the sums see every flip
    follow_to(2);
    expect_steps(2);
  }
  free(bytes);
}

static void wall_times_of_what_is_caught_up_are_apart(void **state) {
  assert_int_equal(unlink(events_path.s), 0);
  follow_to(2);
  char *bytes;
  size_t num_bytes, at = 0, message_bytes;
  const uint8_t *message;
  double times[4] = {0};
  assert_int_equal(zk_file_read(events_path.s, 1 << 20, &bytes, &num_bytes), ZK_OK);
  for (int i = 0; i < 4; i++) {
    assert_true(zk_tfrecord_next(bytes, num_bytes, &at, &message, &message_bytes));
    memcpy(&times[i], message + 1, sizeof times[i]);
  }
  free(bytes);
  assert_true(times[1] == times[0] && times[2] - times[1] > 1.99 && times[2] - times[1] < 2.01); // doubles of 1e9: not exact
  assert_true(times[3] - times[2] > 1.99 && times[3] - times[2] < 2.01);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(crc32c_has_the_published_values), cmocka_unit_test(messages_are_protocol_buffers), cmocka_unit_test(tags_may_be_long),
      cmocka_unit_test(follows_metrics), cmocka_unit_test(cut_anywhere_it_goes_on), cmocka_unit_test(damaged_anywhere_it_is_mended),
      cmocka_unit_test(wall_times_of_what_is_caught_up_are_apart)};
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
