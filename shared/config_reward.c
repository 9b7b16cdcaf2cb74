// Entries of task.rewards, read and checked in one place for config and rollout.
#include "shared/config_reward.h"

#include <math.h>
#include <string.h>

#include "shared/config_keys.h"

static const char *const grader_names[] = {
#define X(id, name, first, second) name,
    ZK_CONFIG_GRADER_LIST(X)
#undef X
};

static bool find(const char *name, size_t n, zk_config_reward *out) {
  if (n == 4 && memcmp(name, "task", n) == 0) {
    out->kind = ZK_CONFIG_REWARD_TASK;
    return true;
  }
  if (n == 7 && memcmp(name, "command", n) == 0) {
    out->kind = ZK_CONFIG_REWARD_COMMAND;
    return true;
  }
  for (int g = 0; g < ZK_CONFIG_NUM_GRADERS; g++)
    if (strlen(grader_names[g]) == n && memcmp(grader_names[g], name, n) == 0) {
      out->kind = ZK_CONFIG_REWARD_GRADER, out->grader = (zk_config_grader)g;
      return true;
    }
  return false;
}

zk_status zk_config_reward_parse(const char *text, zk_config_reward *out) {
  const char *equals = strchr(text, '=');
  const size_t n = equals != NULL ? (size_t)(equals - text) : strlen(text);
  *out = (zk_config_reward){.weight = 1};
  if (!find(text, n, out)) return ZK_FAIL(ZK_BAD_INPUT, "task.rewards: \"%.60s\" is no reward; there are task, command, and the graders of task.grader", text);
  snprintf(out->name, sizeof out->name, "%.*s", (int)n, text);
  if (equals == NULL) return ZK_OK;
  const size_t digits = zk_config_scan_number(equals + 1, true);
  if (digits == 0 || equals[1 + digits] != 0 || !isfinite(zk_config_read_real(equals + 1)))
    return ZK_FAIL(ZK_BAD_INPUT, "task.rewards: \"%.60s\": the weight is not a number", text);
  out->weight = zk_config_read_real(equals + 1);
  return ZK_OK;
}

// Names of metrics: reward/NAME.
static zk_status check_component(const zk_config *cfg, int idx) {
  const char *name = cfg->command.components.text[idx];
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  static const char *const taken[] = {"mean", "std", "zero_std_groups", "penalty"};
  bool bad = name[0] == 0 || strspn(name, letters) != strlen(name) || strlen(name) > 31;
  for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) bad |= strcmp(name, taken[i]) == 0;
  if (bad) return ZK_FAIL(ZK_BAD_INPUT, "command.components: \"%.60s\" is no name: at most 31 letters, digits, . _ -, and not mean, std, zero_std_groups or penalty", name);
  bool twice = false;
  for (int i = 0; i < idx; i++) twice |= strcmp(cfg->command.components.text[i], name) == 0;
  for (int i = 0; i < cfg->task.rewards.num; i++) {
    zk_config_reward reward;
    ZK_TRY(zk_config_reward_parse(cfg->task.rewards.text[i], &reward));
    twice |= strcmp(reward.name, name) == 0;
  }
  return twice ? ZK_FAIL(ZK_BAD_INPUT, "command.components: %s stands twice, here or in task.rewards", name) : ZK_OK;
}

zk_status zk_config_check_rewards(const zk_config *cfg) {
  zk_config_reward seen[ZK_CONFIG_MAX_STOPS];
  for (int i = 0; i < cfg->task.rewards.num; i++) {
    ZK_TRY(zk_config_reward_parse(cfg->task.rewards.text[i], &seen[i]));
    for (int k = 0; k < i; k++)
      if (strcmp(seen[k].name, seen[i].name) == 0) return ZK_FAIL(ZK_BAD_INPUT, "task.rewards: %s stands twice", seen[i].name);
  }
  for (int i = 0; i < cfg->command.components.num; i++) ZK_TRY(check_component(cfg, i));
  return ZK_OK;
}

bool zk_config_uses_grader(const zk_config *cfg, zk_config_grader grader) {
  bool own = cfg->task.rewards.num == 0;
  for (int i = 0; i < cfg->task.rewards.num; i++) {
    zk_config_reward reward;
    zk_status st = zk_config_reward_parse(cfg->task.rewards.text[i], &reward);
    if (st != ZK_OK) continue; // zk_config_check_rewards says so
    own |= reward.kind == ZK_CONFIG_REWARD_TASK;
    if (reward.kind == ZK_CONFIG_REWARD_GRADER && reward.grader == grader) return true;
  }
  return own && cfg->task.name == ZK_CONFIG_TASK_JSONL && cfg->task.grader == grader;
}
