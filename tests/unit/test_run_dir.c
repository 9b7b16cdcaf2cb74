// A run directory has one writer, survives a kill at any moment, and publishes checkpoints whole.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/run_dir.h"
#include "shared/trajectory.h"

static char dir[] = "/tmp/zk_run_XXXXXX";
static int num_runs;
static zk_path path; // of a fresh run for each test
static int make_dir(void **state) { return mkdtemp(dir) ? 0 : -1; }
static int remove_dir(void **state) { return zk_file_remove_tree(dir) == ZK_OK ? 0 : -1; }
static int next_path(void **state) {
  path = zk_path_make("%s/deep/er/run%d", dir, num_runs++);
  return 0;
}

static void put(const char *folder, const char *name, const char *text) {
  assert_int_equal(zk_file_make_directories(folder), ZK_OK);
  assert_int_equal(zk_file_write(zk_path_make("%s/%s", folder, name).s, text, strlen(text)), ZK_OK);
}

static zk_status write_checkpoint(zk_run_dir *run, int64_t step, const char *weights) {
  zk_path scratch;
  ZK_TRY(zk_run_dir_begin_checkpoint(run, step, &scratch));
  put(scratch.s, "model.safetensors", weights);
  put(scratch.s, "state.json", "{}");
  return zk_run_dir_finish_checkpoint(run, step);
}

static void open_run(zk_run_dir *run) { assert_int_equal(zk_run_dir_open(path.s, 0, run), ZK_OK); }

static void expect_clean(void) {
  zk_manifest_report report;
  assert_int_equal(zk_manifest_verify(path.s, &report), ZK_OK);
  for (size_t i = 0; i < report.num_problems; i++) print_message("%s\n", report.problems[i].text);
  assert_int_equal(report.num_problems, 0);
  zk_manifest_report_free(&report);
}

static void config_is_written_once(void **state) {
  zk_run_dir run, reader;
  char *text;
  assert_int_equal(zk_run_dir_open_read(path.s, &run), ZK_BAD_INPUT);
  open_run(&run);
  assert_int_equal(zk_run_dir_open_read(path.s, &reader), ZK_BAD_INPUT); // no config.yaml yet
  assert_int_equal(zk_run_dir_read_config(&run, &text), ZK_OK);
  assert_null(text);
  assert_int_equal(zk_run_dir_write_config(&run, "seed: 1\n"), ZK_OK);
  assert_int_equal(zk_run_dir_write_config(&run, "seed: 2\n"), ZK_INTERNAL);
  zk_run_dir_close(&run);
  assert_int_equal(zk_run_dir_open_read(path.s, &reader), ZK_OK);
  assert_int_equal(zk_run_dir_read_config(&reader, &text), ZK_OK);
  assert_string_equal(text, "seed: 1\n");
  free(text);
  expect_clean();
}

static void a_second_writer_is_told_who_holds_it(void **state) {
  int ready[2], leave[2];
  char byte = 0;
  assert_int_equal(pipe(ready) | pipe(leave), 0);
  pid_t holder = fork();
  if (holder == 0) {
    zk_run_dir run;
    byte = zk_run_dir_open(path.s, 0, &run) == ZK_OK;
    if (write(ready[1], &byte, 1) != 1 || read(leave[0], &byte, 1) != 1) _exit(1);
    _exit(0); // the kernel lets go
  }
  assert_int_equal(read(ready[0], &byte, 1), 1);
  assert_int_equal(byte, 1);
  zk_run_dir run;
  assert_int_equal(zk_run_dir_open(path.s, 100, &run), ZK_BUSY);
  char expected[32];
  snprintf(expected, sizeof expected, "pid %ld on ", (long)holder);
  assert_non_null(strstr(zk_status_message(), expected));
  assert_int_equal(write(leave[1], &byte, 1), 1);
  assert_int_equal(zk_run_dir_open(path.s, 600000, &run), ZK_OK); // waits for the holder to leave
  zk_run_dir_close(&run);
  assert_int_equal(waitpid(holder, NULL, 0), holder);
}

static void a_killed_writer_holds_nothing(void **state) {
  int ready[2];
  char byte;
  assert_int_equal(pipe(ready), 0);
  pid_t holder = fork();
  if (holder == 0) {
    zk_run_dir run;
    byte = zk_run_dir_open(path.s, 0, &run) == ZK_OK;
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    for (;;) pause();
  }
  assert_int_equal(read(ready[0], &byte, 1), 1);
  zk_run_dir run;
  assert_int_equal(zk_run_dir_open(path.s, 0, &run), ZK_BUSY);
  kill(holder, SIGKILL);
  assert_int_equal(waitpid(holder, NULL, 0), holder);
  open_run(&run);
  zk_run_dir_close(&run);
}

static void checkpoints_are_published_whole(void **state) {
  zk_run_dir run;
  int64_t *steps, latest;
  size_t num;
  open_run(&run);
  const int64_t written[] = {0, 1000000, 3, 20};
  for (int i = 0; i < 4; i++) assert_int_equal(write_checkpoint(&run, written[i], "weights"), ZK_OK);
  put(zk_path_make("%s/checkpoints/step_000007", path.s).s, "model.safetensors", "no DONE");
  put(zk_path_make("%s/checkpoints/step_8", path.s).s, "DONE", "");
  assert_int_equal(zk_run_dir_list_checkpoints(&run, &steps, &num), ZK_OK);
  assert_int_equal(num, 4);
  assert_true(steps[0] == 0 && steps[1] == 3 && steps[2] == 20 && steps[3] == 1000000);
  free(steps);
  assert_int_equal(zk_run_dir_latest_checkpoint(&run, 19, &latest), ZK_OK);
  assert_int_equal(latest, 3);
  assert_int_equal(zk_run_dir_latest_checkpoint(&run, INT64_MAX, &latest), ZK_OK);
  assert_int_equal(latest, 1000000);
  assert_int_equal(zk_checkpoint_check(zk_run_dir_checkpoint_path(&run, 3).s), ZK_OK);
  zk_run_dir_close(&run);
  put(zk_path_make("%s/checkpoints/step_000003", path.s).s, "state.json", "[]");
  assert_int_equal(zk_checkpoint_check(zk_path_make("%s/checkpoints/step_000003", path.s).s), ZK_BAD_ARCHIVE);
  assert_non_null(strstr(zk_status_message(), "step_000003/state.json"));
}

static void a_repeated_checkpoint_is_compared(void **state) {
  zk_run_dir run;
  open_run(&run);
  assert_int_equal(write_checkpoint(&run, 5, "weights"), ZK_OK);
  assert_int_equal(write_checkpoint(&run, 5, "weights"), ZK_OK);
  assert_int_equal(write_checkpoint(&run, 5, "weight\x01"), ZK_MISMATCH);
  assert_non_null(strstr(zk_status_message(), "model.safetensors"));
  assert_non_null(strstr(zk_status_message(), "step 5"));
  zk_run_dir_close(&run);
  expect_clean();
}

static void keep_removes_the_oldest_but_step_0(void **state) {
  zk_run_dir run;
  int64_t *steps;
  size_t num;
  open_run(&run);
  for (int64_t step = 0; step < 6; step++) assert_int_equal(write_checkpoint(&run, step, "weights"), ZK_OK);
  assert_int_equal(zk_run_dir_prune_checkpoints(&run, 0), ZK_OK);
  assert_int_equal(zk_run_dir_prune_checkpoints(&run, 2), ZK_OK);
  assert_int_equal(zk_run_dir_list_checkpoints(&run, &steps, &num), ZK_OK);
  assert_int_equal(num, 3);
  assert_true(steps[0] == 0 && steps[1] == 4 && steps[2] == 5);
  free(steps);
  assert_int_equal(zk_run_dir_remove_checkpoint(&run, 0), ZK_INTERNAL);
  expect_clean();
  assert_int_equal(write_checkpoint(&run, 2, "weights"), ZK_OK); // a resumed run comes by again
  zk_run_dir_close(&run);
  expect_clean();
}

static void what_a_kill_leaves_is_tidied(void **state) {
  zk_run_dir run;
  open_run(&run);
  assert_int_equal(zk_run_dir_write_config(&run, "seed: 1\n"), ZK_OK);
  for (int64_t step = 0; step < 3; step++) assert_int_equal(write_checkpoint(&run, step, "weights"), ZK_OK);
  zk_trajectory t;
  assert_int_equal(zk_trajectory_alloc(&t, 0, 0, 0, 0, 0), ZK_OK);
  assert_int_equal(zk_trajectory_write(zk_run_dir_trajectory_path(&run, 1).s, &t, NULL), ZK_OK);
  // In mid-write of files; between a trajectory and its manifest line; between the "removed" line and the removal of
  // step 2.
  put(path.s, "config.yaml.tmp", "half");
  put(zk_path_make("%s/trajectories", path.s).s, "step_000002.h5.tmp", "half");
  put(zk_path_make("%s/checkpoints/step_000004.tmp", path.s).s, "model.safetensors", "half");
  put(zk_path_make("%s/checkpoints/step_000005", path.s).s, "model.safetensors", "no DONE");
  assert_int_equal(zk_manifest_remove(run.manifest, "checkpoints/step_000002"), ZK_OK);
  zk_run_dir_close(&run);
  // Between DONE and the manifest lines of step 3.
  zk_path three = zk_path_make("%s/checkpoints/step_000003", path.s);
  put(three.s, "state.json", "{}");
  put(three.s, "DONE", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a  state.json\n");
  assert_int_equal(zk_file_append(zk_path_make("%s/manifest.jsonl", path.s).s, "{\"pa", 4), ZK_OK);

  open_run(&run);
  expect_clean();
  zk_file_list files;
  assert_int_equal(zk_file_list_tree(path.s, &files), ZK_OK);
  const char *left[] = {"checkpoints/step_000000/DONE",
                        "checkpoints/step_000000/model.safetensors",
                        "checkpoints/step_000000/state.json",
                        "checkpoints/step_000001/DONE",
                        "checkpoints/step_000001/model.safetensors",
                        "checkpoints/step_000001/state.json",
                        "checkpoints/step_000003/DONE",
                        "checkpoints/step_000003/state.json",
                        "config.yaml",
                        "lock",
                        "manifest.jsonl",
                        "trajectories/step_000001.h5"};
  assert_int_equal(files.num_paths, sizeof left / sizeof *left);
  for (size_t i = 0; i < files.num_paths; i++) assert_string_equal(files.paths[i], left[i]);
  zk_file_list_free(&files);
  assert_false(zk_file_exists(zk_path_make("%s/checkpoints/step_000004.tmp", path.s).s));
  assert_int_equal(zk_run_dir_seal_trajectory(&run, 1), ZK_OK); // already entered
  zk_run_dir_close(&run);
  zk_trajectory_free(&t);
}

static void damage_is_not_tidied_away(void **state) {
  zk_run_dir run;
  open_run(&run);
  assert_int_equal(write_checkpoint(&run, 0, "weights"), ZK_OK);
  zk_run_dir_close(&run);
  unlink(zk_path_make("%s/checkpoints/step_000000/DONE", path.s).s);
  put(zk_path_make("%s/trajectories", path.s).s, "step_000001.h5", "no HDF5");
  open_run(&run);
  zk_run_dir_close(&run);
  assert_true(zk_file_exists(zk_path_make("%s/checkpoints/step_000000/model.safetensors", path.s).s));
  zk_manifest_report report;
  assert_int_equal(zk_manifest_verify(path.s, &report), ZK_OK);
  assert_int_equal(report.num_problems, 2);
  zk_manifest_report_free(&report);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(config_is_written_once, next_path),
      cmocka_unit_test_setup(a_second_writer_is_told_who_holds_it, next_path),
      cmocka_unit_test_setup(a_killed_writer_holds_nothing, next_path),
      cmocka_unit_test_setup(checkpoints_are_published_whole, next_path),
      cmocka_unit_test_setup(a_repeated_checkpoint_is_compared, next_path),
      cmocka_unit_test_setup(keep_removes_the_oldest_but_step_0, next_path),
      cmocka_unit_test_setup(what_a_kill_leaves_is_tidied, next_path),
      cmocka_unit_test_setup(damage_is_not_tidied_away, next_path),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
