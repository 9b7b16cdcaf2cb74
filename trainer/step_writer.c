// One job at a time.
#include "trainer/step_writer.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "shared/clock.h"

static zk_status write_trajectory(zk_step_writer *w) {
  const double start = zk_clock_s();
  bool existed;
  ZK_TRY(zk_trajectory_write(zk_run_dir_trajectory_path(w->dir, w->step).s, &w->trajectory, &existed));
  ZK_TRY(zk_run_dir_seal_trajectory(w->dir, w->step));
  w->trajectory_s = zk_clock_s() - start;
  return ZK_OK;
}

// A failure's message belongs to the thread that failed: it is kept for the one that asks.
static void *write_step(void *arg) {
  zk_step_writer *w = arg;
  w->status = w->trajectory.num_samples ? write_trajectory(w) : ZK_OK;
  if (w->status == ZK_OK) w->status = zk_metrics_append(w->metrics, &w->line);
  if (w->status == ZK_OK && w->tensorboard) w->status = zk_tensorboard_follow(w->tensorboard, w->metrics);
  snprintf(w->message, sizeof w->message, "%s", w->status == ZK_OK ? "" : zk_status_message());
  return NULL;
}

void zk_step_writer_begin(zk_step_writer *w, zk_run_dir *dir, zk_metrics *metrics, zk_tensorboard *tensorboard, int64_t step,
                          zk_trajectory *trajectory, zk_metrics_line *line) {
  w->dir = dir, w->metrics = metrics, w->tensorboard = tensorboard, w->step = step;
  memset(&w->trajectory, 0, sizeof w->trajectory);
  if (trajectory) {
    w->trajectory = *trajectory;
    memset(trajectory, 0, sizeof *trajectory);
  }
  w->line = *line;
  memset(line, 0, sizeof *line);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the main thread's
  w->is_running = !pthread_create(&w->thread, NULL, write_step, w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!w->is_running) write_step(w); // without a thread, now
}

void zk_step_writer_close(zk_step_writer *w) {
  if (w->is_running) pthread_join(w->thread, NULL);
  w->is_running = false;
  zk_trajectory_free(&w->trajectory);
  zk_metrics_line_free(&w->line);
  memset(&w->trajectory, 0, sizeof w->trajectory);
}

zk_status zk_step_writer_finish(zk_step_writer *w) {
  zk_step_writer_close(w);
  const zk_status st = w->status;
  w->status = ZK_OK;
  return st == ZK_OK ? ZK_OK : ZK_FAIL(st, "%s", w->message);
}
