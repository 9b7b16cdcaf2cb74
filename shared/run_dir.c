// Opening and tidying a run directory, and the names of its files.
#include "shared/run_dir.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/log.h"
#include "shared/run_lock.h"
#include "shared/trajectory.h"

enum { MAX_RUN_PATH_BYTES = ZK_PATH_BYTES - 512 }; // what is put behind fits
#define MAX_CONFIG_BYTES ((size_t)16 << 20)

// ---- names ----------------------------------------------------------------------------------------------------------

zk_path zk_run_dir_config_path(const zk_run_dir *run) { return zk_path_make("%s/config.yaml", run->path.s); }
zk_path zk_run_dir_metrics_path(const zk_run_dir *run) { return zk_path_make("%s/metrics.jsonl", run->path.s); }
zk_path zk_run_dir_trajectory_path(const zk_run_dir *run, int64_t step) {
  return zk_path_make("%s/trajectories/step_%06" PRId64 ".h5", run->path.s, step);
}
zk_path zk_run_dir_checkpoint_path(const zk_run_dir *run, int64_t step) {
  return zk_path_make("%s/checkpoints/step_%06" PRId64, run->path.s, step);
}

zk_path zk_run_dir_evaluation_path(const zk_run_dir *run, int64_t step, int32_t num_prompts, int32_t num_samples) {
  if (num_samples == 0) return zk_path_make("%s/evaluations/step_%06" PRId64 "_greedy_%d.h5", run->path.s, step, num_prompts);
  return zk_path_make("%s/evaluations/step_%06" PRId64 "_sampled_%dx%d.h5", run->path.s, step, num_prompts, num_samples);
}

// ---- lists ----------------------------------------------------------------------------------------------------------

static int compare_steps(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

// The step of a name "step_000001" + suffix, written just so; -1 for any other name.
static int64_t step_of(const char *name, const char *suffix) {
  long long step;
  if (sscanf(name, "step_%lld", &step) != 1 || step < 0) return -1;
  zk_path same = zk_path_make("step_%06lld%s", step, suffix);
  return strcmp(same.s, name) ? -1 : step;
}

// The steps for which RUN/folder holds step_N + suffix, ascending. A folder that is not there holds none.
static zk_status list_steps(const zk_run_dir *run, const char *folder, const char *suffix, int64_t **out,
                            size_t *out_num) {
  *out = NULL;
  *out_num = 0;
  zk_path path = zk_path_make("%s/%s", run->path.s, folder);
  DIR *dir = opendir(path.s);
  if (!dir) return errno == ENOENT ? ZK_OK : ZK_FAIL(ZK_IO, "%s: cannot list: %s", path.s, strerror(errno));
  zk_status st = ZK_OK;
  size_t capacity = 0;
  for (struct dirent *entry; st == ZK_OK && (entry = readdir(dir));) {
    int64_t step = step_of(entry->d_name, suffix);
    if (step < 0) continue;
    if (*out_num == capacity) {
      capacity = 2 * capacity + 16;
      int64_t *grown = realloc(*out, capacity * sizeof *grown);
      if (grown) *out = grown;
      else st = ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory for %zu steps", path.s, capacity);
    }
    if (st == ZK_OK) (*out)[(*out_num)++] = step;
  }
  closedir(dir);
  if (st != ZK_OK) {
    free(*out);
    *out = NULL;
    *out_num = 0;
  }
  if (*out_num) qsort(*out, *out_num, sizeof **out, compare_steps);
  return st;
}

zk_status zk_run_dir_list_trajectories(const zk_run_dir *run, int64_t **out_steps, size_t *out_num) {
  return list_steps(run, "trajectories", ".h5", out_steps, out_num);
}

zk_status zk_run_dir_list_checkpoints(const zk_run_dir *run, int64_t **out_steps, size_t *out_num) {
  size_t num;
  ZK_TRY(list_steps(run, "checkpoints", "", out_steps, &num));
  *out_num = 0;
  for (size_t i = 0; i < num; i++)
    if (zk_checkpoint_is_complete(zk_run_dir_checkpoint_path(run, (*out_steps)[i]).s))
      (*out_steps)[(*out_num)++] = (*out_steps)[i];
  return ZK_OK;
}

zk_status zk_run_dir_latest_checkpoint(const zk_run_dir *run, int64_t max_step, int64_t *out_step) {
  int64_t *steps;
  size_t num;
  ZK_TRY(zk_run_dir_list_checkpoints(run, &steps, &num));
  *out_step = -1;
  for (size_t i = 0; i < num && steps[i] <= max_step; i++) *out_step = steps[i];
  free(steps);
  return ZK_OK;
}

// ---- tidying up after a killed process ------------------------------------------------------------------------------

static zk_status remove_temporaries(const char *path) {
  DIR *dir = opendir(path);
  if (!dir) return ZK_FAIL(ZK_IO, "%s: cannot list: %s", path, strerror(errno));
  zk_status st = ZK_OK;
  for (struct dirent *entry; st == ZK_OK && (entry = readdir(dir));) {
    size_t n = strlen(entry->d_name), suffix = strlen(ZK_FILE_TEMP_SUFFIX);
    if (n <= suffix || strcmp(entry->d_name + n - suffix, ZK_FILE_TEMP_SUFFIX)) continue;
    ZK_LOG(INFO, "archive", "%s/%s: left by a process that was killed; removed", path, entry->d_name);
    st = zk_file_remove_tree(zk_path_make("%s/%s", path, entry->d_name).s);
  }
  closedir(dir);
  return st;
}

// A relative path under the run that the manifest lists, and has not seen removed.
static bool is_listed(const zk_run_dir *run, const char *path) {
  const zk_manifest_entry *entry = zk_manifest_find(run->manifest, path);
  return entry && !entry->removed;
}

static zk_status tidy_checkpoint(zk_run_dir *run, int64_t step) {
  zk_path done = zk_path_make("checkpoints/step_%06" PRId64 "/DONE", step), dir = zk_run_dir_checkpoint_path(run, step);
  if (is_listed(run, done.s)) return ZK_OK; // should it be damaged, that is for verify to say
  if (zk_checkpoint_is_complete(dir.s) && !zk_manifest_find(run->manifest, done.s))
    return zk_run_dir_enter_checkpoint(run, step);
  ZK_LOG(INFO, "archive", "%s: a checkpoint half written or half removed when a process was killed; removed", dir.s);
  return zk_file_remove_tree(dir.s);
}

// A whole trajectory that had not reached the manifest is entered; one that cannot be read is left for its rewriting to
// refuse.
static zk_status tidy_trajectory(zk_run_dir *run, int64_t step) {
  zk_path name = zk_path_make("trajectories/step_%06" PRId64 ".h5", step);
  if (is_listed(run, name.s)) return ZK_OK;
  zk_trajectory t;
  if (zk_trajectory_read(zk_run_dir_trajectory_path(run, step).s, &t) != ZK_OK) {
    ZK_LOG(WARN, "archive", "%s; not entered in the manifest", zk_status_message());
    return ZK_OK;
  }
  zk_trajectory_free(&t);
  return zk_run_dir_seal_trajectory(run, step);
}

// The same for an evaluation.
static zk_status tidy_evaluations(zk_run_dir *run) {
  const zk_path root = zk_path_make("%s/evaluations", run->path.s);
  if (!zk_file_is_directory(root.s)) return ZK_OK;
  zk_file_list files;
  ZK_TRY(remove_temporaries(root.s));
  ZK_TRY(zk_file_list_tree(root.s, &files));
  zk_status st = ZK_OK;
  for (size_t i = 0; st == ZK_OK && i < files.num_paths; i++) {
    const zk_path path = zk_path_make("%s/%s", root.s, files.paths[i]);
    zk_trajectory t;
    if (is_listed(run, zk_path_make("evaluations/%s", files.paths[i]).s)) continue;
    if (zk_trajectory_read(path.s, &t) != ZK_OK) {
      ZK_LOG(WARN, "archive", "%s; not entered in the manifest", zk_status_message());
      continue;
    }
    zk_trajectory_free(&t);
    st = zk_run_dir_seal_evaluation(run, path.s);
  }
  zk_file_list_free(&files);
  return st;
}

static zk_status tidy_steps(zk_run_dir *run, const char *folder, const char *suffix,
                            zk_status (*tidy)(zk_run_dir *, int64_t)) {
  int64_t *steps;
  size_t num;
  ZK_TRY(list_steps(run, folder, suffix, &steps, &num));
  zk_status st = ZK_OK;
  for (size_t i = 0; st == ZK_OK && i < num; i++) st = tidy(run, steps[i]);
  free(steps);
  return st;
}

static zk_status tidy_up(zk_run_dir *run) {
  ZK_TRY(remove_temporaries(run->path.s));
  ZK_TRY(remove_temporaries(zk_path_make("%s/trajectories", run->path.s).s));
  ZK_TRY(remove_temporaries(zk_path_make("%s/checkpoints", run->path.s).s));
  if (zk_file_exists(zk_run_dir_config_path(run).s) && !is_listed(run, "config.yaml"))
    ZK_TRY(zk_manifest_add(run->manifest, (const char *[]){"config.yaml"}, 1));
  ZK_TRY(tidy_steps(run, "trajectories", ".h5", tidy_trajectory));
  ZK_TRY(tidy_evaluations(run));
  return tidy_steps(run, "checkpoints", "", tidy_checkpoint);
}

// ---- open and close -------------------------------------------------------------------------------------------------

static zk_status set_path(const char *path, zk_run_dir *out) {
  *out = (zk_run_dir){.lock_fd = -1};
  if (!*path || strlen(path) > MAX_RUN_PATH_BYTES)
    return ZK_FAIL(ZK_BAD_INPUT, "%.100s: no name for a run directory", path);
  out->path = zk_path_make("%s", path);
  return ZK_OK;
}

zk_status zk_run_dir_open(const char *path, int wait_ms, zk_run_dir *out) {
  ZK_TRY(set_path(path, out));
  zk_status st;
  ZK_TRY_GOTO(st, fail, zk_file_make_directories(path));
  ZK_TRY_GOTO(st, fail, zk_run_lock_take(path, wait_ms, &out->lock_fd));
  ZK_TRY_GOTO(st, fail, zk_file_make_directories(zk_path_make("%s/trajectories", path).s));
  ZK_TRY_GOTO(st, fail, zk_file_make_directories(zk_path_make("%s/checkpoints", path).s));
  ZK_TRY_GOTO(st, fail, zk_manifest_open(path, &out->manifest));
  ZK_TRY_GOTO(st, fail, tidy_up(out));
  return ZK_OK;
fail:
  zk_run_dir_close(out);
  return st;
}

zk_status zk_run_dir_open_read(const char *path, zk_run_dir *out) {
  ZK_TRY(set_path(path, out));
  if (!zk_file_is_directory(path)) return ZK_FAIL(ZK_BAD_INPUT, "%s: no such run directory", path);
  if (!zk_file_exists(zk_run_dir_config_path(out).s))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: not a run directory (no config.yaml in it)", path);
  return ZK_OK;
}

void zk_run_dir_close(zk_run_dir *run) {
  zk_manifest_close(run->manifest);
  if (run->lock_fd >= 0) close(run->lock_fd);
  run->manifest = NULL;
  run->lock_fd = -1;
}

// ---- config.yaml and trajectories -----------------------------------------------------------------------------------

zk_status zk_run_dir_read_config(const zk_run_dir *run, char **out_text) {
  *out_text = NULL;
  zk_path path = zk_run_dir_config_path(run);
  size_t num_bytes;
  return zk_file_exists(path.s) ? zk_file_read(path.s, MAX_CONFIG_BYTES, out_text, &num_bytes) : ZK_OK;
}

zk_status zk_run_dir_write_config(zk_run_dir *run, const char *yaml_text) {
  zk_path path = zk_run_dir_config_path(run);
  if (zk_file_exists(path.s)) return ZK_FAIL(ZK_INTERNAL, "%s is written once", path.s);
  ZK_TRY(zk_file_write(path.s, yaml_text, strlen(yaml_text)));
  return zk_manifest_add(run->manifest, (const char *[]){"config.yaml"}, 1);
}

zk_status zk_run_dir_seal_trajectory(zk_run_dir *run, int64_t step) {
  zk_path name = zk_path_make("trajectories/step_%06" PRId64 ".h5", step);
  return zk_manifest_add(run->manifest, (const char *[]){name.s}, 1);
}

zk_status zk_run_dir_seal_evaluation(zk_run_dir *run, const char *path) {
  zk_path name = zk_path_make("evaluations/%s", strrchr(path, '/') + 1);
  return zk_manifest_add(run->manifest, (const char *[]){name.s}, 1);
}
