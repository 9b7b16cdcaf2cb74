// task.rewards: what an entry of the list means.
#ifndef ZK_SHARED_CONFIG_REWARD_H
#define ZK_SHARED_CONFIG_REWARD_H

#include "shared/config.h"

typedef enum { ZK_CONFIG_REWARD_TASK, ZK_CONFIG_REWARD_COMMAND, ZK_CONFIG_REWARD_GRADER } zk_config_reward_kind;

typedef struct {
  zk_config_reward_kind kind;
  zk_config_grader grader; // of kind GRADER
  double weight;           // 1 where the entry gives none
  char name[32];           // "math": metrics name reward/math
} zk_config_reward;

// Parses "NAME" or "NAME=WEIGHT". ZK_BAD_INPUT for an unknown name or a weight that is no number.
zk_status zk_config_reward_parse(const char *text, zk_config_reward *out);
// All of task.rewards, and the names in command.components: each parses, none stands twice.
zk_status zk_config_check_rewards(const zk_config *cfg);
// Whether answers are graded by `grader`: task.rewards lists it, or task.grader names it and counts.
bool zk_config_uses_grader(const zk_config *cfg, zk_config_grader grader);

#endif
