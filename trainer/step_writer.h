// What a step leaves on disk, written by a thread of its own while the next step is sampled: the trajectory and its seal, then the line of metrics, then
// its event. Only rank 0 has any. Nothing else touches the run's files meanwhile.
#ifndef ZK_TRAINER_STEP_WRITER_H
#define ZK_TRAINER_STEP_WRITER_H

#include <pthread.h>
#include <stdbool.h>

#include "shared/metrics.h"
#include "shared/run_dir.h"
#include "shared/tensorboard.h"
#include "shared/trajectory.h"

typedef struct {
  zk_run_dir *dir;
  zk_metrics *metrics;
  zk_tensorboard *tensorboard; // NULL: none
  bool is_running;
  pthread_t thread;
  int64_t step;
  zk_trajectory trajectory; // all zero: none, only the line
  zk_metrics_line line;
  double trajectory_s; // what the last trajectory took
  zk_status status;
  char message[2048]; // as long as a status's
} zk_step_writer;

// `tensorboard` may be NULL. Takes over *trajectory (which may be NULL) and *line, and leaves them empty. The last step's writing has been waited for.
void zk_step_writer_begin(zk_step_writer *writer, zk_run_dir *dir, zk_metrics *metrics, zk_tensorboard *tensorboard, int64_t step,
                          zk_trajectory *trajectory, zk_metrics_line *line);
// Waits for what was begun last and frees it; its failure, once. Nothing begun is ZK_OK.
zk_status zk_step_writer_finish(zk_step_writer *writer);
void zk_step_writer_close(zk_step_writer *writer); // the same at a run's end, whose own failure is what counts

#endif
