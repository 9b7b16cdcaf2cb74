// A bit flipped in a run is found by the digests, and once all digests are sealed again by none of them: verify has to
// compute.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/optimizer_file.h"
#include "shared/run_dir.h"
#include "shared/safetensors.h"
#include "shared/trajectory.h"

static char dir[] = "/tmp/zk_tamper_XXXXXX";
static int num_runs;
static zk_run_dir run; // a fresh one for each test, open for reading
static int make_dir(void **state) { return mkdtemp(dir) ? 0 : -1; }
static int remove_dir(void **state) { return zk_file_remove_tree(dir) == ZK_OK ? 0 : -1; }

static void write_step(zk_run_dir *writer) {
  zk_trajectory t;
  assert_int_equal(zk_trajectory_alloc(&t, 1, 2, 2, 5, 2), ZK_OK);
  t.prompt_offsets[1] = 2;
  t.sample_offsets[1] = 3;
  t.sample_offsets[2] = 5;
  t.sample_index[1] = 1;
  for (int i = 0; i < 2; i++) t.component_names[i] = strdup(i ? "b" : "a");
  for (int i = 0; i < 5; i++) t.sample_tokens[i] = 10 * i;
  assert_int_equal(zk_trajectory_write(zk_run_dir_trajectory_path(writer, 1).s, &t, NULL), ZK_OK);
  assert_int_equal(zk_run_dir_seal_trajectory(writer, 1), ZK_OK);
  zk_trajectory_free(&t);
}

static void write_checkpoint(zk_run_dir *writer) {
  const zk_safetensors_entry entry = {.name = "weight", .num_dims = 1, .shape = {4}};
  const float values[4] = {1, 2, 3, 4};
  zk_path scratch;
  zk_safetensors_writer *weights;
  zk_optimizer_file *optimizer;
  assert_int_equal(zk_run_dir_begin_checkpoint(writer, 0, &scratch), ZK_OK);
  assert_int_equal(zk_safetensors_writer_open(scratch.s, &entry, 1, ZK_DTYPE_F32, 0, &weights), ZK_OK);
  assert_int_equal(zk_safetensors_writer_append(weights, values, 4), ZK_OK);
  assert_int_equal(zk_safetensors_writer_close(weights), ZK_OK);
  assert_int_equal(zk_optimizer_file_create(zk_path_make("%s/optimizer.h5", scratch.s).s, 0, 4, &optimizer), ZK_OK);
  for (int d = 0; d < ZK_OPTIMIZER_NUM_DATASETS; d++)
    assert_int_equal(zk_optimizer_file_write(optimizer, (zk_optimizer_dataset)d, 0, 4, values), ZK_OK);
  assert_int_equal(zk_optimizer_file_finish(optimizer), ZK_OK);
  assert_int_equal(zk_run_dir_finish_checkpoint(writer, 0), ZK_OK);
}

static int make_run(void **state) {
  zk_path path = zk_path_make("%s/run%d", dir, num_runs++);
  zk_run_dir writer;
  assert_int_equal(zk_run_dir_open(path.s, 0, &writer), ZK_OK);
  assert_int_equal(zk_run_dir_write_config(&writer, "seed: 1\n"), ZK_OK);
  write_step(&writer);
  write_checkpoint(&writer);
  zk_run_dir_close(&writer);
  return zk_run_dir_open_read(path.s, &run) == ZK_OK ? 0 : -1;
}

static void tamper(const char *verb, const char *rest) {
  zk_path command = zk_path_make("%s/tamper %s %s %s", ZK_TOOLS, verb, run.path.s, rest);
  assert_int_equal(system(command.s), 0);
}

static size_t num_problems(const char *names) {
  zk_manifest_report report;
  assert_int_equal(zk_manifest_verify(run.path.s, &report), ZK_OK);
  size_t num = report.num_problems;
  if (num) assert_string_equal(report.problems[0].path, names);
  zk_manifest_report_free(&report);
  return num;
}

static void trajectory_values(void **state) {
  const struct {
    const char *arguments, *dataset;
    int64_t index;
  } flips[] = {{"sample/tokens 3 0", "sample/tokens", 3},
               {"sample/sampler_logprob 4 31", "sample/sampler_logprob", 4},
               {"sample/trainer_logprob 0 22", "sample/trainer_logprob", 0},
               {"sample/reward 1 7", "sample/reward", 1},
               {"sample/reward_component 3 7", "sample/reward_component", 3},
               {"sample/advantage 0 15", "sample/advantage", 0}};
  zk_path path = zk_run_dir_trajectory_path(&run, 1);
  zk_trajectory before, after;
  assert_int_equal(zk_trajectory_read(path.s, &before), ZK_OK);
  for (size_t i = 0; i < sizeof flips / sizeof *flips; i++) {
    zk_path flip = zk_path_make("trajectories/step_000001.h5 %s", flips[i].arguments);
    assert_int_equal(num_problems(NULL), 0);
    tamper("flip", flip.s);
    assert_int_equal(num_problems("trajectories/step_000001.h5"), 1);
    assert_int_equal(zk_trajectory_read(path.s, &after), ZK_BAD_ARCHIVE);
    tamper("reseal", "");
    assert_int_equal(num_problems(NULL), 0);
    assert_int_equal(zk_trajectory_read(path.s, &after), ZK_OK);
    zk_trajectory_difference first;
    assert_false(zk_trajectory_equal(&before, &after, &first));
    assert_string_equal(first.dataset, flips[i].dataset);
    assert_int_equal(first.index, flips[i].index);
    zk_trajectory_free(&after);
    tamper("flip", flip.s); // back
    tamper("reseal", "");
    assert_int_equal(zk_trajectory_read(path.s, &after), ZK_OK);
    assert_true(zk_trajectory_equal(&before, &after, NULL));
    zk_trajectory_free(&after);
  }
  zk_trajectory_free(&before);
}

static void checkpoint_values(void **state) {
  zk_path dir_0 = zk_run_dir_checkpoint_path(&run, 0);
  const char *flips[] = {"checkpoints/step_000000/model.safetensors weight 2 31",
                         "checkpoints/step_000000/optimizer.h5 exp_avg_sq 1 31"};
  const char *files[] = {"checkpoints/step_000000/model.safetensors", "checkpoints/step_000000/optimizer.h5"};
  for (int i = 0; i < 2; i++) {
    tamper("flip", flips[i]);
    assert_int_equal(num_problems(files[i]), 1);
    assert_int_equal(zk_checkpoint_check(dir_0.s), ZK_BAD_ARCHIVE);
    tamper("reseal", "");
    assert_int_equal(num_problems(NULL), 0);
    assert_int_equal(zk_checkpoint_check(dir_0.s), ZK_OK);
  }
  zk_safetensors *weights;
  zk_optimizer_file *optimizer;
  float value;
  assert_int_equal(zk_safetensors_open(dir_0.s, &weights), ZK_OK);
  assert_int_equal(zk_safetensor_read_f32(zk_safetensors_at(weights, 0), 2, 1, &value), ZK_OK);
  assert_true(value == -3);
  zk_safetensors_close(weights);
  assert_int_equal(zk_optimizer_file_open(zk_path_make("%s/optimizer.h5", dir_0.s).s, &optimizer), ZK_OK);
  assert_int_equal(zk_optimizer_file_read(optimizer, ZK_OPTIMIZER_EXP_AVG_SQ, 1, 1, &value), ZK_OK);
  assert_true(value == -2);
  zk_optimizer_file_close(optimizer);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup(trajectory_values, make_run),
                                     cmocka_unit_test_setup(checkpoint_values, make_run)};
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
