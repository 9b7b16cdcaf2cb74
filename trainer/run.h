// A run in progress: its directory, its session, its updater, where it stands. `train` and `sft` open one and walk its steps.
#ifndef ZK_TRAINER_RUN_H
#define ZK_TRAINER_RUN_H

#include "shared/metrics.h"
#include "shared/run_dir.h"
#include "trainer/checkpoint.h"
#include "trainer/reference.h"
#include "trainer/step_writer.h"
#include "trainer/turns.h"
#include "trainer/update.h"

typedef struct zk_run {
  const char *kind;        // "train" or "sft"
  zk_session session;
  zk_updater updater;
  zk_reference *reference; // NULL without a KL term
  zk_engine *engine;       // for sampling and evaluation
  zk_turns turns;          // at the device's memory; the seconds are since the last line of metrics
  zk_run_dir *dir;         // rank 0; NULL elsewhere
  zk_run_dir dir_memory;
  zk_metrics *metrics;     // rank 0; NULL elsewhere
  zk_tensorboard *tensorboard; // rank 0, with log.tensorboard; NULL elsewhere
  zk_step_writer writer;   // rank 0
  char *identity;          // the config's identity text
  int64_t step;            // steps done
  int64_t checkpoint_step; // the newest complete checkpoint; -1: none
  double checkpoint_s;     // what the last checkpoint took; a step's line is written before its own
  uint64_t weights_hash, state_hash; // after `step`
} zk_run;

// Opens RUN: takes its lock, resumes from the newest complete checkpoint as run.resume says, or begins anew (config.yaml, then after
// zk_run_begin the state before step 1). Refuses a directory that belongs to another config, naming the first key. Collective.
zk_status zk_run_open(const zk_config *config, zk_comm *comm, const char *kind, zk_run *out);
void zk_run_close(zk_run *run);
bool zk_run_is_new(const zk_run *run); // nothing is on disk yet but config.yaml
// Before sampling (ZK_SIDE_SAMPLER) and before training (ZK_SIDE_TRAINER): where they take turns, the other's memory is given back and this one's taken
// again. Collective.
zk_status zk_run_turn_to(zk_run *run, zk_side side);
// Writes `line` (step 0) and checkpoint 0 of a new run. Collective.
zk_status zk_run_begin(zk_run *run, zk_metrics_line *line);
// Before a step's line is made and before anything else touches the run's files: what the last step leaves is on disk, run->writer.trajectory_s what its
// trajectory took. Collective.
zk_status zk_run_settle(zk_run *run);
// After an update: what the step leaves goes to disk on the side (rank 0; trajectory may be NULL; it and `line` are taken over), to be waited for by
// zk_run_settle; when a checkpoint is due, here, and the checkpoint is written. `line` is complete but for hashes and memory. Collective.
zk_status zk_run_finish_step(zk_run *run, int64_t step, const zk_update_result *result, zk_trajectory *trajectory, zk_metrics_line *line);
// Between steps: goes on, unless a signal that some rank caught asks for a stop; then as zk_run_stop. Collective.
zk_status zk_run_check_stop(zk_run *run);
// Writes a checkpoint of the state after run->step when there is none yet, and returns ZK_INTERRUPTED, saying which signal and how to go on. For a
// stop that all ranks know of, at a moment when weights and moments are those of run->step. Collective.
zk_status zk_run_stop(zk_run *run);

#endif
