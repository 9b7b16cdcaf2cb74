// A run directory for a person: how far it came, what it keeps, its last steps.
#include <stdlib.h>
#include <string.h>

#include "shared/inspect.h"
#include "shared/json_text.h"
#include "shared/metrics.h"
#include "shared/run_dir.h"

enum { NUM_LAST_STEPS = 10 };

// The columns of the table of last steps; those that no step has are left out.
static const char *const shown_keys[] = {
    "step", "reward/mean", "response/length_mean", "policy/loss", "mismatch/tokens", "eval/accuracy", "weights/hash"};

static json_t *step_list(zk_status (*list)(const zk_run_dir *, int64_t **, size_t *), const zk_run_dir *run,
                         zk_status *st) {
  int64_t *steps = NULL;
  size_t num = 0;
  if (*st == ZK_OK) *st = list(run, &steps, &num);
  json_t *array = json_array();
  for (size_t i = 0; i < num; i++) json_array_append_new(array, json_integer(steps[i]));
  free(steps);
  return array;
}

static bool any_has(const zk_metrics *m, int64_t first, const char *key) {
  for (int64_t step = first; step <= zk_metrics_last_step(m); step++)
    if (json_object_get(zk_metrics_find(m, step), key)) return true;
  return false;
}

static json_t *last_steps(const zk_metrics *m) {
  int64_t last = zk_metrics_last_step(m), first = last - NUM_LAST_STEPS + 1;
  while (first <= last && !zk_metrics_find(m, first)) first++;
  json_t *rows = json_array();
  for (int64_t step = first; step <= last; step++) {
    json_t *row = json_object(), *line = zk_metrics_find(m, step);
    for (size_t k = 0; k < sizeof shown_keys / sizeof *shown_keys; k++) {
      json_t *value = json_object_get(line, shown_keys[k]);
      if (any_has(m, first, shown_keys[k]))
        json_object_set_new(row, shown_keys[k], value ? json_incref(value) : json_null());
    }
    json_array_append_new(rows, row);
  }
  return rows;
}

static zk_status describe(const zk_run_dir *run, const zk_metrics *m, json_t **out) {
  zk_status st = ZK_OK;
  char *config = NULL;
  json_t *trajectories = step_list(zk_run_dir_list_trajectories, run, &st);
  json_t *checkpoints = step_list(zk_run_dir_list_checkpoints, run, &st);
  size_t num = json_array_size(trajectories);
  if (st == ZK_OK) st = zk_run_dir_read_config(run, &config);
  *out = json_pack("{s:s, s:o, s:I, s:I, s:O*, s:O*, s:o}", "kind", "run", "folder",
                   zk_json_text_string(run->path.s, strlen(run->path.s)), "last_step",
                   (json_int_t)(m ? zk_metrics_last_step(m) : -1), "num_trajectories", (json_int_t)num,
                   "first_trajectory", json_array_get(trajectories, 0), "last_trajectory",
                   num ? json_array_get(trajectories, num - 1) : NULL, "checkpoints", checkpoints);
  json_decref(trajectories);
  if (st == ZK_OK && !*out) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", run->path.s);
  if (st == ZK_OK && m && zk_metrics_last_step(m) >= 0) {
    json_object_set_new(*out, "last_metrics", json_incref(zk_metrics_find(m, zk_metrics_last_step(m))));
    json_object_set_new(*out, "last_steps", last_steps(m));
  }
  if (st == ZK_OK && config) json_object_set_new(*out, "config", zk_json_text_string(config, strlen(config)));
  free(config);
  return st;
}

zk_status zk_inspect_run(const char *path, json_t **out) {
  zk_run_dir run;
  zk_metrics *m = NULL;
  ZK_TRY(zk_run_dir_open_read(path, &run));
  zk_path metrics = zk_run_dir_metrics_path(&run);
  zk_status st = zk_file_exists(metrics.s) ? zk_metrics_open_read(metrics.s, &m) : ZK_OK;
  if (st == ZK_OK) st = describe(&run, m, out);
  zk_metrics_close(m);
  zk_run_dir_close(&run);
  return st;
}
