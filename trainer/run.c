// Opening, resuming and recording a run.
#include "trainer/run.h"

#include <stdlib.h>
#include <string.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stop.h"
#include "shared/watch.h"
#include "trainer/plan.h"
#include "trainer/run_folder.h"

// Rank 0: the lock, the config on disk, and the checkpoint to go on from (-1: none).
static zk_status open_directory(zk_run *run, const zk_config *config, int64_t *from) {
  *from = -1;
  ZK_TRY(zk_run_folder_open(config, run->identity, &run->dir_memory));
  run->dir = &run->dir_memory;
  ZK_TRY(zk_run_dir_latest_checkpoint(run->dir, INT64_MAX, from));
  if (*from >= 0 && config->run.resume == ZK_CONFIG_RESUME_NEVER)
    return ZK_FAIL(ZK_BAD_INPUT, "%s already holds a run (checkpoint of step %lld) and run.resume is never: choose another run.dir", config->run.dir,
                   (long long)*from);
  if (*from < 0 && config->run.resume == ZK_CONFIG_RESUME_MUST)
    return ZK_FAIL(ZK_BAD_INPUT, "%s holds no complete checkpoint and run.resume is must", config->run.dir);
  ZK_TRY(zk_metrics_open(zk_run_dir_metrics_path(run->dir).s, &run->metrics));
  return config->log.tensorboard ? zk_tensorboard_open(config->run.dir, run->metrics, &run->tensorboard) : ZK_OK;
}

static zk_path checkpoint_path(const zk_run *run, int64_t step) {
  return zk_path_make("%s/checkpoints/step_%06lld", run->session.config.run.dir, (long long)step);
}

static void note_checkpoint(zk_run *run, int64_t step) {
  run->checkpoint_step = step;
  zk_watch_checkpoint(checkpoint_path(run, step).s);
}

static zk_status open_engine(zk_run *run) {
  zk_session *s = &run->session;
  zk_engine_options o;
  ZK_TRY(zk_turns_open(s, &run->turns));
  ZK_TRY(zk_plan_engine_options(s, ZK_PLAN_TRAIN, run->turns.is_on, &o));
  ZK_TRY(zk_comm_agree(s->comm, zk_engine_open(zk_session_sampler(s), &o, &run->engine)));
  run->turns.engine = run->engine;
  return ZK_OK;
}

zk_status zk_run_turn_to(zk_run *run, zk_side side) { return zk_turns_to(&run->turns, side, ZK_OK); }

// The reference model of a run that goes on must be the one that it began with.
static zk_status open_reference(zk_run *run, const char *first_weights) {
  uint64_t stored;
  ZK_TRY(zk_reference_open(&run->session, first_weights, &run->reference));
  zk_status st = ZK_OK;
  if (run->reference && run->metrics && zk_metrics_get_hash(run->metrics, 0, "reference/hash", &stored) == ZK_OK && stored != zk_reference_weights_hash(run->reference))
    st = ZK_FAIL(ZK_BAD_INPUT, "algorithm.kl.reference: its weights hash to %016llx; when %s began they were %016llx: give it the same model",
                 (unsigned long long)zk_reference_weights_hash(run->reference), run->session.config.run.dir, (unsigned long long)stored);
  return zk_comm_agree(run->session.comm, st);
}

static zk_status open_parts(zk_run *run, const zk_config *config, zk_comm *comm, int64_t from) {
  zk_path dir = zk_path_make("%s/checkpoints/step_%06lld", config->run.dir, (long long)from);
  ZK_TRY(zk_session_open(config, comm, from >= 0 ? dir.s : NULL, &run->session));
  zk_session *s = &run->session;
  bool rl = !strcmp(run->kind, "train");
  ZK_TRY(zk_updater_open(s, rl ? config->rollout.temperature : 1, rl ? config->rollout.top_k : 0, rl ? config->rollout.top_p : 1, &run->updater));
  zk_path first = zk_path_make("%s/checkpoints/step_000000", config->run.dir);
  if (rl) ZK_TRY(open_reference(run, from < 0 ? zk_session_origin(s) : first.s));
  ZK_TRY(open_engine(run));
  if (from < 0) {
    run->step = -1;
    ZK_TRY(zk_comm_agree(comm, run->dir ? zk_run_folder_write_config(run->dir, &s->config) : ZK_OK));
    return zk_optimizer_hashes(&run->updater.optimizer, s->stream, &run->weights_hash, &run->state_hash);
  }
  zk_checkpoint_state state;
  ZK_TRY(zk_checkpoint_read_optimizer(&run->updater, dir.s, &state));
  if (strcmp(state.kind, run->kind)) return ZK_FAIL(ZK_BAD_INPUT, "%s is a run of `zerokl %s`, not of `zerokl %s`", config->run.dir, state.kind, run->kind);
  run->step = state.step, run->weights_hash = state.weights_hash, run->state_hash = state.state_hash;
  note_checkpoint(run, from);
  // Later checkpoints copy the tokenizer's files: from the one that is never removed.
  const size_t length = strlen(first.s);
  if (zk_checkpoint_is_complete(first.s) && length < sizeof s->model_dir) memcpy(s->model_dir, first.s, length + 1);
  if (from > 0) ZK_LOG(INFO, "run", "%s: going on after step %lld", config->run.dir, (long long)from);
  return ZK_OK;
}

zk_status zk_run_open(const zk_config *config, zk_comm *comm, const char *kind, zk_run *out) {
  memset(out, 0, sizeof *out);
  out->kind = kind, out->checkpoint_step = -1;
  int64_t from = -1;
  zk_stop_catch();
  ZK_TRY(zk_updater_check_workers(config, comm));
  zk_status st = zk_config_identity_text(config, &out->identity);
  if (st == ZK_OK && zk_comm_rank(comm) == 0) st = open_directory(out, config, &from);
  st = zk_comm_agree(comm, st);
  if (st == ZK_OK) st = zk_comm_broadcast(comm, 0, &from, sizeof from);
  if (st == ZK_OK) st = open_parts(out, config, comm, from);
  if (st != ZK_OK) zk_run_close(out);
  return st;
}

void zk_run_close(zk_run *run) {
  zk_step_writer_close(&run->writer);
  zk_engine_close(run->engine);
  zk_reference_close(run->reference);
  if (run->updater.session) zk_updater_close(&run->updater);
  if (run->session.comm) zk_session_close(&run->session);
  zk_tensorboard_close(run->tensorboard);
  zk_metrics_close(run->metrics);
  if (run->dir) zk_run_dir_close(run->dir);
  free(run->identity);
  memset(run, 0, sizeof *run);
}

bool zk_run_is_new(const zk_run *run) { return run->step < 0; }

static zk_status checkpoint(zk_run *run, int64_t step) {
  if (!run->session.config.checkpoint.write) return ZK_OK;
  zk_checkpoint_state state = {.step = step, .weights_hash = run->weights_hash, .state_hash = run->state_hash};
  memcpy(state.kind, run->kind, strlen(run->kind) + 1);
  double start = zk_clock_s();
  zk_watch_doing("writing the checkpoint of step %lld", (long long)step);
  zk_status st = zk_checkpoint_write(&run->updater, run->dir, &state, run->session.config.checkpoint.keep);
  run->checkpoint_s = zk_clock_s() - start;
  if (st == ZK_OK) note_checkpoint(run, step);
  return st;
}

static zk_status complete_line(zk_run *run, zk_metrics_line *line) {
  if (run->turns.is_on) zk_metrics_put_double(line, "time/turns", run->turns.seconds);
  run->turns.seconds = 0;
  uint64_t peak = zk_device_memory_peak(run->session.device);
  ZK_TRY(zk_comm_max_u64(run->session.comm, &peak, 1));
  zk_metrics_put_int(line, "perf/memory_peak_bytes", (int64_t)peak);
  zk_metrics_put_hash(line, "weights/hash", run->weights_hash);
  zk_metrics_put_hash(line, "state/hash", run->state_hash);
  return ZK_OK;
}

static zk_status append_line(zk_run *run, const zk_metrics_line *line) {
  if (!run->metrics) return ZK_OK;
  ZK_TRY(zk_metrics_append(run->metrics, line));
  return run->tensorboard ? zk_tensorboard_follow(run->tensorboard, run->metrics) : ZK_OK;
}

zk_status zk_run_begin(zk_run *run, zk_metrics_line *line) {
  ZK_TRY(complete_line(run, line));
  ZK_TRY(zk_comm_agree(run->session.comm, append_line(run, line)));
  ZK_TRY(checkpoint(run, 0));
  run->step = 0;
  return ZK_OK;
}

zk_status zk_run_settle(zk_run *run) { return zk_comm_agree(run->session.comm, zk_step_writer_finish(&run->writer)); }

zk_status zk_run_finish_step(zk_run *run, int64_t step, const zk_update_result *result, zk_trajectory *trajectory, zk_metrics_line *line) {
  const zk_config *c = &run->session.config;
  run->weights_hash = result->weights_hash, run->state_hash = result->state_hash;
  ZK_TRY(complete_line(run, line));
  ZK_TRY(zk_run_settle(run));
  if (run->dir) zk_step_writer_begin(&run->writer, run->dir, run->metrics, run->tensorboard, step, trajectory, line);
  run->step = step;
  if (step != c->run.steps && (!c->checkpoint.every || step % c->checkpoint.every)) return ZK_OK;
  ZK_TRY(zk_run_settle(run));
  return checkpoint(run, step);
}

zk_status zk_run_stop(zk_run *run) {
  zk_comm *comm = run->session.comm;
  int rank;
  uint64_t who[2] = {(uint64_t)zk_watch_stop(&rank), 0}; // of several ranks' signals, the largest and one of its ranks
  uint64_t mine = who[0];
  ZK_TRY(zk_comm_max_u64(comm, who, 1));
  if (mine == who[0]) who[1] = (uint64_t)rank;
  ZK_TRY(zk_comm_max_u64(comm, who + 1, 1));
  ZK_TRY(zk_run_settle(run));
  if (run->checkpoint_step != run->step) ZK_TRY(checkpoint(run, run->step));
  if (!run->session.config.checkpoint.write)
    return zk_comm_agree(comm, ZK_FAIL(ZK_INTERRUPTED, "%s reached rank %d; stopped after step %lld, and nothing goes on from there: checkpoint.write is false",
                                       zk_stop_name((int)who[0]), (int)who[1], (long long)run->step));
  return zk_comm_agree(comm, ZK_FAIL(ZK_INTERRUPTED, "%s reached rank %d; stopped after step %lld with a checkpoint, %s: start the same command again, with any "
                                     "number of workers, and it goes on from there", zk_stop_name((int)who[0]), (int)who[1], (long long)run->step,
                                     checkpoint_path(run, run->step).s));
}

zk_status zk_run_check_stop(zk_run *run) {
  int rank;
  uint64_t asked = zk_watch_stop(&rank) != 0;
  ZK_TRY(zk_comm_max_u64(run->session.comm, &asked, 1));
  return asked ? zk_run_stop(run) : ZK_OK;
}
