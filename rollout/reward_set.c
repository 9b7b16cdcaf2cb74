// A list is walked in its order, which is the order of components in the archive.
#include "rollout/reward_set.h"

#include <string.h>

zk_status zk_reward_set_open(const zk_config *cfg, zk_config_grader own, zk_reward_set *out) {
  *out = (zk_reward_set){.own = own, .num_listed = cfg->task.rewards.num, .command = -1, .cfg = cfg};
  bool uses_own = out->num_listed == 0;
  for (int i = 0; i < out->num_listed; i++) {
    ZK_TRY(zk_config_reward_parse(cfg->task.rewards.text[i], &out->listed[i]));
    if (out->listed[i].kind == ZK_CONFIG_REWARD_TASK) uses_own = true;
    if (out->listed[i].kind == ZK_CONFIG_REWARD_COMMAND) out->command = i;
    if (out->listed[i].kind == ZK_CONFIG_REWARD_GRADER) out->labels |= 1u << out->listed[i].grader;
  }
  if (uses_own) out->labels |= 1u << own;
  out->num_components = out->num_listed + (out->command >= 0 ? cfg->command.components.num : 0);
  return out->labels & 1u << ZK_CONFIG_GRADER_REGEX ? zk_pattern_open(cfg->task.regex, &out->pattern) : ZK_OK;
}

void zk_reward_set_close(zk_reward_set *set) {
  zk_pattern_close(set->pattern);
  set->pattern = NULL;
}

const char *zk_reward_set_component(const zk_reward_set *set, int idx) {
  return idx < set->num_listed ? set->listed[idx].name : set->cfg->command.components.text[idx - set->num_listed];
}

bool zk_reward_set_is_recorded(const zk_reward_set *set, int idx) { return set->num_listed > 0 && (idx == set->command || idx >= set->num_listed); }

float zk_reward_set_total(const zk_reward_set *set, const float *component) {
  double total = 0;
  for (int i = 0; i < set->num_listed; i++) total += set->listed[i].weight * (double)component[i];
  return (float)total;
}

void zk_reward_set_grade(const zk_reward_set *set, const char *label, const char *completion, size_t num_bytes, const zk_reward *own, zk_reward *out) {
  *out = *own;
  if (set->num_listed == 0) return;
  memset(out, 0, sizeof *out);
  for (int i = 0; i < set->num_listed; i++) {
    zk_reward one = *own;
    if (set->listed[i].kind == ZK_CONFIG_REWARD_GRADER)
      zk_grader_grade(set->listed[i].grader, set->pattern, label, completion, num_bytes, &one);
    out->component[i] = set->listed[i].kind == ZK_CONFIG_REWARD_COMMAND ? 0 : one.total;
  }
  out->total = zk_reward_set_total(set, out->component);
}
