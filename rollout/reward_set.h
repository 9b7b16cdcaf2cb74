// What a task's completions are graded by: its own grader, or the weighted list of task.rewards, which a program (command.run) may be in.
#ifndef ZK_ROLLOUT_REWARD_SET_H
#define ZK_ROLLOUT_REWARD_SET_H

#include "rollout/grader.h"
#include "shared/config_reward.h"

typedef struct {
  zk_config_grader own; // the task's own grader
  int num_listed;       // 0: the task's own reward and its components are all there is
  zk_config_reward listed[ZK_CONFIG_MAX_STOPS];
  uint32_t labels;      // bit g: labels must suit grader g
  zk_pattern *pattern;  // for regex, else NULL
  int command;          // place of the program's reward in the list; -1: it gives none
  int num_components;   // of a list: its rewards, then what else the program gives
  const zk_config *cfg; // borrowed
} zk_reward_set;

// From task.rewards and task.regex. ZK_BAD_INPUT for a pattern that does not compile.
zk_status zk_reward_set_open(const zk_config *cfg, zk_config_grader own, zk_reward_set *out);
void zk_reward_set_close(zk_reward_set *set);

// The name of component idx of a set with a list, and whether it comes from the program: then it is a recorded input, and nothing computes it again.
const char *zk_reward_set_component(const zk_reward_set *set, int component_idx);
bool zk_reward_set_is_recorded(const zk_reward_set *set, int component_idx);

// Fills components of listed rewards from the completion and the task's `own` reward of it, those of the program as 0, and the total. Without a list *out is *own.
void zk_reward_set_grade(const zk_reward_set *set, const char *label, const char *completion, size_t num_bytes, const zk_reward *own, zk_reward *out);
// The sum of components by weights, in the list's order, in double, rounded once; for a set with a list.
float zk_reward_set_total(const zk_reward_set *set, const float *component);

#endif
