// The table of tasks, and what all of them share: indices to items, ids, rewards.
#include "rollout/task.h"

#include <stdlib.h>

#include "rollout/task_kind.h"

static const zk_task_kind *const kinds[] = {
    [ZK_CONFIG_TASK_REVERSE] = &zk_task_reverse,
    [ZK_CONFIG_TASK_ARITHMETIC] = &zk_task_arithmetic,
    [ZK_CONFIG_TASK_MULTISTEP] = &zk_task_multistep,
    [ZK_CONFIG_TASK_COUNTDOWN] = &zk_task_countdown,
    [ZK_CONFIG_TASK_JSONL] = &zk_task_jsonl,
};

static const uint32_t HELDOUT_BIT = 1u << 31;

zk_status zk_task_open(const zk_config *cfg, zk_task **out) {
  *out = NULL;
  zk_task *task = calloc(1, sizeof *task);
  if (task == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a task");
  task->kind = kinds[cfg->task.name];
  task->cfg = *cfg;
  zk_status st = zk_reward_set_open(&task->cfg, task->kind->grader(task), &task->rewards);
  if (st == ZK_OK) st = task->kind->open(task);
  if (st != ZK_OK) {
    zk_task_close(task);
    return st;
  }
  *out = task;
  return ZK_OK;
}

void zk_task_close(zk_task *task) {
  if (task == NULL) return;
  task->kind->close(task);
  zk_reward_set_close(&task->rewards);
  free(task);
}

const char *zk_task_name(const zk_task *task) { return task->kind->name; }
uint32_t zk_task_num_heldout(const zk_task *task) { return task->num_heldout; }
uint64_t zk_task_hash(const zk_task *task) { return task->hash; }

zk_status zk_task_get(const zk_task *task, zk_split split, uint64_t index, zk_task_item *out) {
  if (index >= HELDOUT_BIT) return ZK_FAIL(ZK_BAD_INPUT, "prompt %llu: ids end at 2^31", (unsigned long long)index);
  uint32_t number = (uint32_t)index;
  if (split == ZK_SPLIT_HELDOUT && number >= task->num_heldout)
    return ZK_FAIL(ZK_BAD_INPUT, "task %s has %u held-out items, there is no item %u", task->kind->name,
                   task->num_heldout, number);
  // A limited pool is walked through in a new order each epoch.
  if (split == ZK_SPLIT_TRAIN && task->num_pool > 0)
    number = zk_task_permute(task->cfg.seed, number / task->num_pool, number % task->num_pool, task->num_pool);
  ZK_TRY(task->kind->get(task, split, number, out));
  out->prompt_id = (uint32_t)index | (split == ZK_SPLIT_HELDOUT ? HELDOUT_BIT : 0);
  return ZK_OK;
}

zk_status zk_task_get_by_id(const zk_task *task, uint32_t prompt_id, zk_task_item *out) {
  zk_split split = prompt_id & HELDOUT_BIT ? ZK_SPLIT_HELDOUT : ZK_SPLIT_TRAIN;
  return zk_task_get(task, split, prompt_id & ~HELDOUT_BIT, out);
}

void zk_task_reward(const zk_task *task, const zk_task_item *item, const char *completion, size_t num_bytes,
                    zk_reward *out) {
  const zk_reward_set *set = &task->rewards;
  zk_reward own = {0};
  if (set->labels & 1u << set->own) zk_grader_grade(set->own, set->pattern, item->label, completion, num_bytes, &own);
  if (task->kind->extra != NULL) own.component[1] = task->kind->extra(item, completion, num_bytes);
  zk_reward_set_grade(set, item->label, completion, num_bytes, &own, out);
}

bool zk_task_reward_is_first(const zk_task *task) {
  return task->rewards.num_listed == 0 && task->rewards.own != ZK_CONFIG_GRADER_COUNTDOWN;
}

void zk_task_put_recorded(const zk_task *task, const float *component, zk_reward *reward) {
  const zk_reward_set *set = &task->rewards;
  if (set->command < 0) return;
  for (int k = 0; k < set->num_components; k++)
    if (zk_reward_set_is_recorded(set, k)) reward->component[k] = component[k];
  reward->total = zk_reward_set_total(set, reward->component);
}

bool zk_task_component_is_recorded(const zk_task *task, int idx) { return zk_reward_set_is_recorded(&task->rewards, idx); }
bool zk_task_asks_for_rewards(const zk_task *task) { return task->rewards.command >= 0; }
bool zk_task_asks(const zk_task *task) { return task->cfg.command.run[0] != 0; }

int zk_task_num_components(const zk_task *task) {
  if (task->rewards.num_listed > 0) return task->rewards.num_components;
  return task->kind->extra != NULL ? 2 : zk_grader_num_components(task->kind->grader(task));
}

const char *zk_task_component(const zk_task *task, int component_idx) {
  if (task->rewards.num_listed > 0) return zk_reward_set_component(&task->rewards, component_idx);
  if (task->kind->extra != NULL && component_idx == 1) return task->kind->extra_component;
  return zk_grader_component(task->kind->grader(task), component_idx);
}
