// A run directory: who may write it (one process, by a lock), where its files are, which checkpoints are complete.
//
// None of these functions is collective: one rank (0) holds the directory, the others know its path.
#ifndef ZK_SHARED_RUN_DIR_H
#define ZK_SHARED_RUN_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"
#include "shared/file_util.h"
#include "shared/manifest.h"

#define ZK_RUN_DIR_LOCK_WAIT_MS 10000 // ranks outlive a killed mpirun by seconds

typedef struct {
  zk_path path;
  int lock_fd;           // -1: opened for reading
  zk_manifest *manifest; // NULL: opened for reading
} zk_run_dir;

// Creates RUN when absent, takes its lock (waiting up to wait_ms; then ZK_BUSY names the holder's pid and host), and
// tidies up after a killed process: temporary files and incomplete checkpoints are removed, a torn last manifest line
// is cut off, a complete checkpoint that had not reached the manifest is entered. The lock is the kernel's: it goes
// with the process.
zk_status zk_run_dir_open(const char *path, int wait_ms, zk_run_dir *out);
// For readers (verify, inspect, export): no lock, changes nothing; ZK_BAD_INPUT when `path` is no run directory.
zk_status zk_run_dir_open_read(const char *path, zk_run_dir *out);
void zk_run_dir_close(zk_run_dir *run);

// config.yaml: NULL in *out_text when the run is new. It is written once, and entered in the manifest; comparing what
// was written with what is asked now is the config module's affair. Writing over an existing one is ZK_INTERNAL.
zk_status zk_run_dir_read_config(const zk_run_dir *run, char **out_text);
zk_status zk_run_dir_write_config(zk_run_dir *run, const char *yaml_text);

// Names of files, absolute or relative as `path` was given.
zk_path zk_run_dir_config_path(const zk_run_dir *run);
zk_path zk_run_dir_metrics_path(const zk_run_dir *run);
zk_path zk_run_dir_trajectory_path(const zk_run_dir *run, int64_t step); // RUN/trajectories/step_000001.h5
zk_path zk_run_dir_checkpoint_path(const zk_run_dir *run, int64_t step); // RUN/checkpoints/step_000001
// Held-out samples at the weights after a step: RUN/evaluations/step_000020_greedy_500.h5 (num_samples: 0), step_000020_sampled_500x8.h5.
zk_path zk_run_dir_evaluation_path(const zk_run_dir *run, int64_t step, int32_t num_prompts, int32_t num_samples);

// Enters a finished trajectory file in the manifest (a no-op when already there with this digest).
zk_status zk_run_dir_seal_trajectory(zk_run_dir *run, int64_t step);
// The same of an evaluation's file, by its path.
zk_status zk_run_dir_seal_evaluation(zk_run_dir *run, const char *path);

// Steps that have a trajectory file; steps that have a complete checkpoint (DONE is there). Ascending; free *out_steps.
zk_status zk_run_dir_list_trajectories(const zk_run_dir *run, int64_t **out_steps, size_t *out_num);
zk_status zk_run_dir_list_checkpoints(const zk_run_dir *run, int64_t **out_steps, size_t *out_num);
// The newest complete checkpoint at or before max_step; -1 when there is none.
zk_status zk_run_dir_latest_checkpoint(const zk_run_dir *run, int64_t max_step, int64_t *out_step);

// A checkpoint is written into the scratch folder that begin makes (any writer, any files), and published by finish:
// every file flushed, DONE written last (`sha256sum -c DONE` checks the others), folder renamed, files entered in the
// manifest. When a complete checkpoint of that step exists, finish compares the files instead and ZK_MISMATCH names the
// first that differs. Append the step's metrics line before finish: a resumed run starts at a checkpoint that
// metrics.jsonl has reached.
zk_status zk_run_dir_begin_checkpoint(zk_run_dir *run, int64_t step, zk_path *out_scratch);
zk_status zk_run_dir_finish_checkpoint(zk_run_dir *run, int64_t step);
// Enters a complete checkpoint that the manifest does not list (a kill between the two), after zk_checkpoint_check.
zk_status zk_run_dir_enter_checkpoint(zk_run_dir *run, int64_t step);
// `checkpoint.keep`: enters the removal in the manifest, then deletes. Step 0 is always kept (ZK_INTERNAL).
zk_status zk_run_dir_remove_checkpoint(zk_run_dir *run, int64_t step);
// Removes all but step 0 and the newest `keep` complete checkpoints; keep <= 0 keeps all.
zk_status zk_run_dir_prune_checkpoints(zk_run_dir *run, int keep);

// True for a folder whose DONE marker is there.
bool zk_checkpoint_is_complete(const char *dir);
// Recomputes the digests in DONE; ZK_BAD_ARCHIVE names the first file that is missing or differs.
zk_status zk_checkpoint_check(const char *dir);

#endif
