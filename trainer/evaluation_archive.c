// Part by part: what is on disk, the evaluation, what is not on disk yet.
#include "trainer/evaluation_archive.h"

#include <inttypes.h>
#include <string.h>

#include "shared/file_util.h"
#include "shared/log.h"
#include "trainer/recorded_step.h"
#include "trainer/rl.h"

typedef struct {
  zk_path path; // rank 0's; elsewhere a name for messages
  zk_trajectory recorded;
  bool is_found;
} stored_part;

int32_t zk_evaluation_part_samples(const zk_evaluation_sizes *sizes, int part) {
  if (part == ZK_EVALUATION_GREEDY) return 0;
  return sizes->num_samples > 0 ? sizes->num_samples : -1;
}

static zk_status look_up(const zk_session *s, const zk_run_dir *dir, int64_t step, const zk_evaluation_sizes *sizes, int32_t samples, stored_part *p) {
  p->path = dir ? zk_run_dir_evaluation_path(dir, step, sizes->num_prompts, samples) : zk_path_make("the evaluation after step %" PRId64, step);
  ZK_TRY(zk_recorded_read(s->comm, dir ? p->path.s : NULL, p->path.s, &p->recorded, &p->is_found));
  if (!p->is_found) return ZK_OK;
  const bool fits = zk_recorded_fits(s, &p->recorded, step, sizes->num_prompts, samples ? samples : 1);
  if (fits && dir) ZK_LOG(INFO, "run", "evaluation after step %" PRId64 ": rewards and replies of command.run are those that %s holds", step, p->path.s);
  return zk_comm_agree(s->comm, fits ? ZK_OK : ZK_FAIL(ZK_BAD_ARCHIVE, "%s: not this evaluation; remove it to ask command.run again", p->path.s));
}

// Rank 0.
static zk_status put_file(zk_run_dir *dir, const zk_path *path, zk_trajectory *t) {
  bool existed;
  ZK_TRY(zk_file_make_directories(zk_path_make("%s/evaluations", dir->path.s).s));
  ZK_TRY(zk_trajectory_write(path->s, t, &existed));
  return zk_run_dir_seal_evaluation(dir, path->s);
}

static zk_status settle(const zk_session *s, zk_run_dir *dir, const char *identity, int64_t step, uint64_t weights_hash, const stored_part *p, zk_trajectory *sampled) {
  if (p->is_found) return zk_comm_agree(s->comm, zk_recorded_compare(&p->recorded, sampled, p->path.s));
  zk_status st = zk_rl_describe(s, identity, step, weights_hash, sampled);
  if (st == ZK_OK && dir) st = put_file(dir, &p->path, sampled);
  return zk_comm_agree(s->comm, st);
}

zk_status zk_evaluation_archive(zk_session *s, zk_engine *engine, zk_run_dir *dir, const char *identity, int64_t step, uint64_t weights_hash, zk_evaluation_sizes sizes,
                                zk_evaluation *out) {
  if (!zk_task_asks(s->task)) return zk_evaluate(s, engine, sizes, (uint32_t)step, NULL, out);
  stored_part stored[ZK_EVALUATION_NUM_PARTS];
  zk_evaluation_part parts[ZK_EVALUATION_NUM_PARTS];
  memset(stored, 0, sizeof stored), memset(parts, 0, sizeof parts);
  zk_status st = zk_evaluation_resolve(s, &sizes);
  for (int i = 0; i < ZK_EVALUATION_NUM_PARTS && st == ZK_OK; i++) {
    const int32_t samples = zk_evaluation_part_samples(&sizes, i);
    if (samples < 0) continue;
    st = look_up(s, dir, step, &sizes, samples, &stored[i]);
    parts[i].recorded = stored[i].is_found ? &stored[i].recorded : NULL;
  }
  if (st == ZK_OK) st = zk_evaluate(s, engine, sizes, (uint32_t)step, parts, out);
  for (int i = 0; i < ZK_EVALUATION_NUM_PARTS && st == ZK_OK; i++)
    if (zk_evaluation_part_samples(&sizes, i) >= 0) st = settle(s, dir, identity, step, weights_hash, &stored[i], &parts[i].sampled);
  for (int i = 0; i < ZK_EVALUATION_NUM_PARTS; i++) zk_trajectory_free(&stored[i].recorded), zk_trajectory_free(&parts[i].sampled);
  return st;
}
