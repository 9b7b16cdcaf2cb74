// What a step leaves is on disk once it has been waited for, in order; a failure is told once, with its words, and nothing comes after it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/step_writer.h"

static char dir[] = "/tmp/zk_step_writer_XXXXXX";
static int make_dir(void **state) { return mkdtemp(dir) ? 0 : -1; }
static int remove_dir(void **state) { return zk_file_remove_tree(dir) == ZK_OK ? 0 : -1; }

typedef struct {
  zk_run_dir run;
  zk_metrics *metrics;
} files;

static void open_files(files *f, const char *name) {
  assert_int_equal(zk_run_dir_open(zk_path_make("%s/%s", dir, name).s, 0, &f->run), ZK_OK);
  assert_int_equal(zk_run_dir_write_config(&f->run, "seed: 1\n"), ZK_OK);
  assert_int_equal(zk_metrics_open(zk_run_dir_metrics_path(&f->run).s, &f->metrics), ZK_OK);
}

static void close_files(files *f) {
  zk_metrics_close(f->metrics);
  zk_run_dir_close(&f->run);
}

static void begin(zk_step_writer *w, files *f, int64_t step, bool has_trajectory) {
  zk_trajectory t;
  zk_metrics_line line;
  assert_int_equal(zk_trajectory_alloc(&t, 1, 2, 2, 5, 0), ZK_OK);
  t.prompt_offsets[1] = 2;
  t.sample_offsets[1] = 3, t.sample_offsets[2] = 5, t.sample_index[1] = 1;
  zk_metrics_line_init(&line, step);
  zk_metrics_put_int(&line, "value", 10 * step);
  zk_step_writer_begin(w, &f->run, f->metrics, NULL, step, has_trajectory ? &t : NULL, &line);
  assert_null(line.text);
  if (has_trajectory) assert_int_equal(t.num_samples, 0);
  else zk_trajectory_free(&t);
}

static void steps_one_after_the_other(void **state) {
  files f;
  zk_step_writer w = {0};
  open_files(&f, "steps");
  assert_int_equal(zk_step_writer_finish(&w), ZK_OK); // nothing begun
  for (int64_t step = 0; step < 4; step++) {
    begin(&w, &f, step, step > 0);
    assert_int_equal(zk_step_writer_finish(&w), ZK_OK);
    assert_int_equal(zk_metrics_last_step(f.metrics), step);
    assert_int_equal(zk_file_exists(zk_run_dir_trajectory_path(&f.run, step).s), step > 0);
  }
  assert_true(w.trajectory_s > 0);
  begin(&w, &f, 4, true);
  zk_step_writer_close(&w); // waits too
  assert_int_equal(zk_metrics_last_step(f.metrics), 4);
  close_files(&f);
}

static void a_failure_is_told_once(void **state) {
  files f;
  zk_step_writer w = {0};
  open_files(&f, "failure");
  begin(&w, &f, 0, false);
  assert_int_equal(zk_step_writer_finish(&w), ZK_OK);
  const zk_path folder = zk_path_make("%s/failure/trajectories", dir);
  assert_int_equal(zk_file_remove_tree(folder.s), ZK_OK);
  begin(&w, &f, 1, true);
  assert_int_equal(zk_step_writer_finish(&w), ZK_IO);
  assert_non_null(strstr(zk_status_message(), "step_000001.h5"));
  assert_int_equal(zk_metrics_last_step(f.metrics), 0); // no line without its trajectory
  assert_int_equal(zk_step_writer_finish(&w), ZK_OK);
  begin(&w, &f, 5, false); // a line that would leave a gap
  assert_int_equal(zk_step_writer_finish(&w), ZK_BAD_ARCHIVE);
  close_files(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(steps_one_after_the_other), cmocka_unit_test(a_failure_is_told_once)};
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
