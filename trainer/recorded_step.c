// Rank 0 reads the file, all get its bytes: nobody else needs to see the run directory.
#include "trainer/recorded_step.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shared/file.h"
#include "shared/file_util.h"
#include "shared/log.h"

#define MOST_BYTES ((size_t)1 << 36)

// The file's bytes on every rank, to free; none when there is no file.
static zk_status share_file(zk_comm *comm, const char *path, char **bytes, size_t *num_bytes) {
  uint64_t size = 0;
  zk_status st = ZK_OK;
  *bytes = NULL, *num_bytes = 0;
  if (path && zk_file_exists(path)) st = zk_file_read(path, MOST_BYTES, bytes, num_bytes);
  size = *num_bytes;
  st = zk_comm_agree(comm, st);
  if (st == ZK_OK) st = zk_comm_broadcast(comm, 0, &size, sizeof size);
  if (st == ZK_OK && size && !*bytes) *bytes = malloc(size);
  if (st == ZK_OK) st = zk_comm_agree(comm, !size || *bytes ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a step of %" PRIu64 " bytes", size));
  if (st == ZK_OK && size) st = zk_comm_broadcast(comm, 0, *bytes, (size_t)size);
  *num_bytes = (size_t)size;
  return st;
}

zk_status zk_recorded_read(zk_comm *comm, const char *path, const char *name, zk_trajectory *out, bool *found) {
  char *bytes;
  size_t num_bytes;
  memset(out, 0, sizeof *out);
  zk_status st = share_file(comm, path, &bytes, &num_bytes);
  *found = st == ZK_OK && num_bytes > 0;
  if (*found) st = zk_comm_agree(comm, zk_trajectory_parse(name, bytes, num_bytes, out));
  free(bytes);
  return st;
}

bool zk_recorded_fits(const zk_session *s, const zk_trajectory *t, int64_t step, int64_t num_prompts, int64_t group) {
  const int32_t vocab = s->policy.config.vocab; // replies become prompts
  bool fits = t->step == step && t->num_prompts == num_prompts && t->num_samples == num_prompts * group && t->num_components == zk_task_num_components(s->task);
  for (int64_t i = 0; fits && i < t->num_samples; i++)
    fits = t->prompt_index[i] == i / group && t->sample_index[i] == i % group &&
           t->sample_offsets[i + 1] - t->sample_offsets[i] <= s->config.rollout.max_new_tokens;
  for (int64_t k = 0; fits && k < t->num_sample_tokens; k++) fits = t->sample_tokens[k] >= 0 && t->sample_tokens[k] < vocab;
  return fits;
}

static zk_status check(const zk_session *s, const zk_trajectory *t, int64_t step) {
  if (zk_recorded_fits(s, t, step, s->config.rollout.prompts_per_step, s->config.rollout.samples_per_prompt)) return ZK_OK;
  return ZK_FAIL(ZK_BAD_ARCHIVE, "the trajectory of step %" PRId64 " that is there is no step of this config; remove it to ask command.run again", step);
}

zk_status zk_recorded_compare(const zk_trajectory *recorded, const zk_trajectory *now, const char *path) {
  for (int64_t i = 0; i < now->num_samples; i++) {
    const int64_t a = recorded->sample_offsets[i], b = now->sample_offsets[i];
    const int64_t num_a = recorded->sample_offsets[i + 1] - a, num_b = now->sample_offsets[i + 1] - b, least = num_a < num_b ? num_a : num_b;
    int64_t k = 0;
    while (k < least && recorded->sample_tokens[a + k] == now->sample_tokens[b + k] && recorded->loss_mask[a + k] == now->loss_mask[b + k]) k++;
    if (k == num_a && k == num_b && recorded->finish_reason[i] == now->finish_reason[i]) continue;
    return ZK_FAIL(ZK_BAD_ARCHIVE,
                   "%s holds other completions than are sampled now, from prompt %" PRIu64 ", sample %d, position %" PRId64
                   " on (weights, data or numerics that are not those it was made with), and its rewards are of those; remove it to ask command.run again",
                   path, recorded->prompt_id[recorded->prompt_index[i]], recorded->sample_index[i], k);
  }
  return ZK_OK;
}

static zk_status sample(zk_session *s, zk_engine *engine, const zk_trajectory *recorded, int64_t step, zk_trajectory *out, zk_collect_stats *stats) {
  uint32_t *ids = malloc(((size_t)recorded->num_prompts + 1) * sizeof *ids);
  for (int64_t p = 0; ids && p < recorded->num_prompts; p++) ids[p] = (uint32_t)recorded->prompt_id[p];
  const zk_collect_request q = {.split = ZK_SPLIT_TRAIN, .num_prompts = (int32_t)recorded->num_prompts, .samples_per_prompt = s->config.rollout.samples_per_prompt,
                                .step = (uint32_t)step, .what = "sample", .may_stop = true, .recorded = recorded, .prompt_ids = ids};
  zk_status st = zk_comm_agree(s->comm, ids ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a step's prompts"));
  if (st == ZK_OK) st = zk_collect(s, engine, &q, out, stats);
  free(ids);
  return st;
}

zk_status zk_recorded_step_sample(zk_session *s, zk_engine *engine, const zk_run_dir *dir, int64_t step, zk_trajectory *out, zk_collect_stats *stats,
                                  int64_t *num_tried, bool *found) {
  zk_trajectory recorded;
  *found = false;
  if (!zk_task_asks(s->task)) return ZK_OK;
  const zk_path path = dir ? zk_run_dir_trajectory_path(dir, step) : zk_path_make("step %" PRId64, step);
  zk_status st = zk_recorded_read(s->comm, dir ? path.s : NULL, path.s, &recorded, found);
  if (*found) {
    if (st == ZK_OK) st = zk_comm_agree(s->comm, check(s, &recorded, step));
    if (st == ZK_OK && zk_comm_rank(s->comm) == 0)
      ZK_LOG(INFO, "train", "step %" PRId64 ": rewards and replies of command.run are those that %s holds", step, path.s);
    if (st == ZK_OK) st = sample(s, engine, &recorded, step, out, stats);
    if (st == ZK_OK) st = zk_comm_agree(s->comm, zk_recorded_compare(&recorded, out, path.s));
    if (st == ZK_OK) *num_tried = zk_step_num_tried(&s->config, step, recorded.prompt_id[recorded.num_prompts - 1]);
  }
  zk_trajectory_free(&recorded);
  return st;
}
