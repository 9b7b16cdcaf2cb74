// A file is whole or absent, also when the disk is full; trees are listed and removed; digests are SHA-256.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "shared/file_util.h"
#include "shared/line_file.h"
#include "shared/metrics.h"
#include "shared/optimizer_file.h"
#include "shared/trajectory.h"

static char dir[] = "/tmp/zk_file_XXXXXX";
static int make_dir(void **state) {
  signal(SIGXFSZ, SIG_IGN); // then a write beyond RLIMIT_FSIZE fails with EFBIG, as one on a full disk does with ENOSPC
  return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) { return zk_file_remove_tree(dir) == ZK_OK ? 0 : -1; }

static zk_path in_dir(const char *name) { return zk_path_make("%s/%s", dir, name); }

static void set_disk_full(bool full) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = full ? 1000 : limit.rlim_max;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void assert_holds(const char *path, const char *expected) {
  char *text;
  size_t num_bytes;
  assert_int_equal(zk_file_read(path, 1 << 20, &text, &num_bytes), ZK_OK);
  assert_string_equal(text, expected);
  free(text);
}

static void digests(void **state) {
  char hex[ZK_SHA256_HEX];
  uint64_t num_bytes;
  assert_int_equal(zk_sha256("abc", 3, hex), ZK_OK); // FIPS 180-2, B.1
  assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert_int_equal(zk_file_write(in_dir("abc").s, "abc", 3), ZK_OK);
  assert_int_equal(zk_sha256_file(in_dir("abc").s, hex, &num_bytes), ZK_OK);
  assert_int_equal(num_bytes, 3);
  assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert_int_equal(zk_sha256_file(in_dir("none").s, hex, NULL), ZK_IO);
}

static void trees(void **state) {
  zk_file_list files;
  assert_int_equal(zk_file_make_directories(in_dir("tree/a/b").s), ZK_OK);
  assert_int_equal(zk_file_make_directories(in_dir("tree/a/b").s), ZK_OK);
  assert_int_equal(zk_file_make_directories(in_dir("tree/half.tmp").s), ZK_OK);
  const char *names[] = {"tree/z", "tree/a/b/c", "tree/a/half.tmp", "tree/half.tmp/x"};
  for (int i = 0; i < 4; i++) assert_int_equal(zk_file_write(in_dir(names[i]).s, "1", 1), ZK_OK);
  assert_int_equal(symlink("/", in_dir("tree/link").s), 0);
  assert_int_equal(zk_file_list_tree(in_dir("tree").s, &files), ZK_OK);
  assert_int_equal(files.num_paths, 2);
  assert_string_equal(files.paths[0], "a/b/c");
  assert_string_equal(files.paths[1], "z");
  zk_file_list_free(&files);
  assert_int_equal(zk_file_make_directories(in_dir("tree/z/sub").s), ZK_IO); // z is a file
  assert_int_equal(zk_file_remove_tree(in_dir("tree").s), ZK_OK);
  assert_false(zk_file_exists(in_dir("tree").s));
  assert_true(zk_file_is_directory("/"));
}

static void a_path_too_long_is_refused(void **state) {
  zk_path path = zk_path_make("%05000d", 1);
  assert_string_equal(path.s, "");
  assert_int_equal(zk_file_make_directories(path.s), ZK_IO);
}

static void torn_lines(void **state) {
  zk_path path = in_dir("lines");
  zk_line_file file;
  assert_int_equal(zk_line_file_read(path.s, false, &file), ZK_IO);
  assert_int_equal(zk_line_file_read(path.s, true, &file), ZK_OK);
  assert_int_equal(file.num_lines, 0);
  assert_int_equal(zk_file_append(path.s, "one\n\ntorn", 9), ZK_OK);
  assert_int_equal(zk_line_file_read(path.s, false, &file), ZK_OK);
  assert_int_equal(file.num_lines, 2);
  assert_int_equal(file.lines[0].num_bytes, 3);
  zk_line_file_free(&file);
  assert_holds(path.s, "one\n\ntorn");
  assert_int_equal(zk_line_file_read(path.s, true, &file), ZK_OK);
  zk_line_file_free(&file);
  assert_holds(path.s, "one\n\n");
}

// ---- a full disk ----------------------------------------------------------------------------------------------------

static void full_disk_leaves_the_old_file(void **state) {
  static const char large[5000];
  zk_path path = in_dir("kept");
  assert_int_equal(zk_file_write(path.s, "old", 3), ZK_OK);
  set_disk_full(true);
  zk_status written = zk_file_write(path.s, large, sizeof large);
  set_disk_full(false);
  assert_int_equal(written, ZK_IO);
  assert_non_null(strstr(zk_status_message(), path.s));
  assert_holds(path.s, "old");
  assert_false(zk_file_exists(zk_file_temp_path(path.s).s));
}

static void full_disk_undoes_an_append(void **state) {
  char line[900];
  zk_path path = in_dir("appended");
  memset(line, 'x', sizeof line);
  assert_int_equal(zk_file_append(path.s, "first\n", 6), ZK_OK);
  set_disk_full(true);
  zk_status first = zk_file_append(path.s, line, sizeof line), second = zk_file_append(path.s, line, sizeof line);
  set_disk_full(false);
  assert_int_equal(first, ZK_OK);
  assert_int_equal(second, ZK_IO);
  zk_line_file file;
  assert_int_equal(zk_line_file_read(path.s, false, &file), ZK_OK);
  assert_int_equal(strlen(file.text), 6 + sizeof line); // nothing of the second
  zk_line_file_free(&file);
}

static void full_disk_and_a_trajectory(void **state) {
  zk_path path = in_dir("step.h5");
  zk_trajectory t;
  assert_int_equal(zk_trajectory_alloc(&t, 0, 0, 0, 0, 0), ZK_OK); // its metadata alone are several thousand bytes
  set_disk_full(true);
  zk_status written = zk_trajectory_write(path.s, &t, NULL);
  set_disk_full(false);
  assert_int_equal(written, ZK_IO);
  assert_false(zk_file_exists(path.s) || zk_file_exists(zk_file_temp_path(path.s).s));
  assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_OK);
  zk_trajectory_free(&t);
}

static void full_disk_and_metrics(void **state) {
  zk_path path = in_dir("metrics.jsonl");
  zk_metrics *m;
  assert_int_equal(zk_metrics_open(path.s, &m), ZK_OK);
  for (int step = 0; step < 3; step++) {
    zk_metrics_line line;
    char note[600];
    memset(note, 'n', sizeof note);
    note[sizeof note - 1] = 0;
    zk_metrics_line_init(&line, step == 2 ? 1 : step);
    zk_metrics_put_string(&line, "note", note);
    set_disk_full(step == 1); // the line of step 1 fails, and is written when there is room again
    zk_status st = zk_metrics_append(m, &line);
    set_disk_full(false);
    assert_int_equal(st, step == 1 ? ZK_IO : ZK_OK);
    zk_metrics_line_free(&line);
  }
  zk_metrics_close(m);
  assert_int_equal(zk_metrics_open_read(path.s, &m), ZK_OK);
  assert_int_equal(zk_metrics_last_step(m), 1);
  zk_metrics_close(m);
}

static void full_disk_and_optimizer_state(void **state) {
  zk_path path = in_dir("optimizer.h5");
  zk_optimizer_file *f;
  const float data[100] = {0};
  assert_int_equal(zk_optimizer_file_create(path.s, 0, 100, &f), ZK_OK); // laid out while there is room
  set_disk_full(true);
  zk_status written = zk_optimizer_file_write(f, ZK_OPTIMIZER_EXP_AVG_SQ, 0, 100, data);
  set_disk_full(false);
  assert_int_equal(written, ZK_IO);
  zk_optimizer_file_close(f);
  set_disk_full(true);
  zk_status created = zk_optimizer_file_create(path.s, 0, 100000, &f);
  set_disk_full(false);
  assert_int_equal(created, ZK_IO);
  assert_false(zk_file_exists(path.s) || zk_file_exists(zk_file_temp_path(path.s).s));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(digests),
      cmocka_unit_test(trees),
      cmocka_unit_test(a_path_too_long_is_refused),
      cmocka_unit_test(torn_lines),
      cmocka_unit_test(full_disk_leaves_the_old_file),
      cmocka_unit_test(full_disk_undoes_an_append),
      cmocka_unit_test(full_disk_and_a_trajectory),
      cmocka_unit_test(full_disk_and_metrics),
      cmocka_unit_test(full_disk_and_optimizer_state),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
