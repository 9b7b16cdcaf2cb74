// golden_run RUN: what a run computed, as lines to compare with another device's: the hashes of weights and state after every step, and of every
// column of every step's trajectories. Names, times and the config's text are left out: they are not the device's doing.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/hash.h"
#include "shared/metrics.h"
#include "shared/run_dir.h"
#include "shared/trajectory.h"

static zk_status print_hashes(const char *path) {
  zk_metrics *m;
  ZK_TRY(zk_metrics_open_read(path, &m));
  for (int64_t step = 0; step <= zk_metrics_last_step(m); step++) {
    json_t *line = zk_metrics_find(m, step);
    const char *weights = json_string_value(json_object_get(line, "weights/hash")),
               *state = json_string_value(json_object_get(line, "state/hash"));
    if (weights != NULL && state != NULL) printf("step %" PRId64 ": weights %s state %s\n", step, weights, state);
  }
  zk_metrics_close(m);
  return ZK_OK;
}

static void print_columns(const zk_trajectory *t) {
  for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++) {
    if (zk_trajectory_is_left_out(t, c)) continue;
    const zk_trajectory_column *column = &zk_trajectory_columns[c];
    const char *data = zk_trajectory_data(t, c);
    const int64_t n = zk_trajectory_num_elements(t, c);
    uint64_t hash = 0;
    for (int64_t i = 0; i < n; i++) {
      uint64_t bits = 0;
      memcpy(&bits, data + i * column->element_bytes, (size_t)column->element_bytes);
      hash += zk_mix64(bits, (uint64_t)i);
    }
    printf("step %" PRId64 ": %s[%" PRId64 "] %016" PRIx64 "\n", t->step, column->name, n, hash);
  }
}

static zk_status print_run(const char *path) {
  zk_run_dir run;
  int64_t *steps = NULL;
  size_t num = 0;
  ZK_TRY(zk_run_dir_open_read(path, &run));
  zk_status status = print_hashes(zk_run_dir_metrics_path(&run).s);
  if (status == ZK_OK) status = zk_run_dir_list_trajectories(&run, &steps, &num);
  for (size_t i = 0; i < num && status == ZK_OK; i++) {
    zk_trajectory t;
    status = zk_trajectory_read(zk_run_dir_trajectory_path(&run, steps[i]).s, &t);
    if (status != ZK_OK) break;
    print_columns(&t);
    zk_trajectory_free(&t);
  }
  free(steps);
  zk_run_dir_close(&run);
  return status;
}

int main(int argc, char **argv) {
  const zk_status status = argc == 2 ? print_run(argv[1]) : ZK_FAIL(ZK_BAD_INPUT, "usage: golden_run RUN");
  if (status != ZK_OK) fprintf(stderr, "golden_run: %s\n", zk_status_message());
  return zk_status_exit_code(status);
}
