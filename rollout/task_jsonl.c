// jsonl: prompts and labels from files. The held-out lines come from a second file or are the last of the only one; a
// prompt that is held out is never trained on, whichever lines it stands on.
#include <stdlib.h>
#include <xxhash.h>

#include "rollout/jsonl.h"
#include "rollout/task_kind.h"
#include "shared/log.h"

typedef struct {
  zk_jsonl *train, *heldout; // heldout is NULL when the held-out lines are in `train`
  uint32_t first_heldout;    // line of held-out item 0 in its file
  uint32_t *lines;           // the training lines, ascending
} jsonl_state;

static const zk_jsonl *heldout_file(const jsonl_state *state) {
  return state->heldout != NULL ? state->heldout : state->train;
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

// Keeps those of the first `num_lines` lines whose prompt is not held out.
static zk_status keep_disjoint(zk_task *task, uint32_t num_lines) {
  jsonl_state *state = task->state;
  uint64_t *held = malloc(((size_t)task->num_heldout + 1) * sizeof *held);
  state->lines = malloc(((size_t)num_lines + 1) * sizeof *state->lines);
  if (held == NULL || state->lines == NULL) {
    free(held);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the order of %s", task->cfg.task.path);
  }
  for (uint32_t i = 0; i < task->num_heldout; i++)
    held[i] = zk_jsonl_identity(heldout_file(state), state->first_heldout + i);
  qsort(held, task->num_heldout, sizeof *held, compare);
  for (uint32_t i = 0; i < num_lines; i++) {
    uint64_t identity = zk_jsonl_identity(state->train, i);
    if (bsearch(&identity, held, task->num_heldout, sizeof *held, compare) == NULL) state->lines[task->num_pool++] = i;
  }
  free(held);
  if (task->num_pool == 0)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: every line's prompt is held out, none is left to train on", task->cfg.task.path);
  if (task->num_pool < num_lines)
    ZK_LOG(WARN, "task", "%s: %u lines left out of training, because their prompts are held out", task->cfg.task.path,
           num_lines - task->num_pool);
  return ZK_OK;
}

// Decides which lines are held out and how many lines are left for training.
static zk_status split_lines(zk_task *task, uint32_t *num_train) {
  jsonl_state *state = task->state;
  uint32_t want = (uint32_t)task->cfg.task.heldout, num_lines = zk_jsonl_num_lines(state->train);
  *num_train = num_lines;
  if (state->heldout != NULL) {
    uint32_t available = zk_jsonl_num_lines(state->heldout);
    task->num_heldout = want < available ? want : available;
    return ZK_OK;
  }
  if (want >= num_lines)
    return ZK_FAIL(ZK_BAD_INPUT,
                   "%s has %u lines; task.heldout = %u leaves none to train on (lower it, or set "
                   "task.heldout_path)",
                   task->cfg.task.path, num_lines, want);
  task->num_heldout = want;
  *num_train = state->first_heldout = num_lines - want;
  return ZK_OK;
}

static zk_status open_jsonl(zk_task *task) {
  const zk_config *cfg = &task->cfg;
  uint32_t num_train;
  jsonl_state *state = calloc(1, sizeof *state);
  if (state == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a task");
  task->state = state;
  ZK_TRY(zk_jsonl_open(cfg->task.path, task->rewards.labels, &state->train));
  if (cfg->task.heldout_path[0] != 0)
    ZK_TRY(zk_jsonl_open(cfg->task.heldout_path, task->rewards.labels, &state->heldout));
  const uint64_t hashes[2] = {zk_jsonl_hash(state->train), state->heldout != NULL ? zk_jsonl_hash(state->heldout) : 0};
  task->hash = XXH64(hashes, sizeof hashes, 0);
  ZK_TRY(split_lines(task, &num_train));
  ZK_TRY(keep_disjoint(task, num_train));
  if (cfg->task.num_prompts > 0 && (uint32_t)cfg->task.num_prompts < task->num_pool)
    task->num_pool = (uint32_t)cfg->task.num_prompts;
  return ZK_OK;
}

static void close_jsonl(zk_task *task) {
  jsonl_state *state = task->state;
  if (state == NULL) return;
  zk_jsonl_close(state->train);
  zk_jsonl_close(state->heldout);
  free(state->lines);
  free(state);
}

static zk_status get_jsonl(const zk_task *task, zk_split split, uint32_t number, zk_task_item *out) {
  const jsonl_state *state = task->state;
  const char *system = task->cfg.task.system[0] != 0 ? task->cfg.task.system : NULL;
  if (split == ZK_SPLIT_HELDOUT) return zk_jsonl_read(heldout_file(state), state->first_heldout + number, system, out);
  return zk_jsonl_read(state->train, state->lines[number], system, out);
}

static zk_config_grader grader(const zk_task *task) { return task->cfg.task.grader; }

const zk_task_kind zk_task_jsonl = {
    .name = "jsonl",
    .open = open_jsonl,
    .close = close_jsonl,
    .get = get_jsonl,
    .grader = grader,
};
