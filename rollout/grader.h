// Graders: a completion's bytes and a label in, components that are exactly 0 or 1 out. What each asks: ZK_CONFIG_GRADER_LIST in shared/config.h.
#ifndef ZK_ROLLOUT_GRADER_H
#define ZK_ROLLOUT_GRADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"
#include "rollout/pattern.h"
#include "shared/config.h"

enum { ZK_REWARD_MAX_COMPONENTS = 2 * ZK_CONFIG_MAX_STOPS };

// What one completion earned. total is component[0] for every grader but countdown, which gives 0.1 for the format alone. Components are 0, 1 or a
// quotient of two small integers rounded once to binary32, so they are the same on every machine.
typedef struct zk_reward {
  float total;
  float component[ZK_REWARD_MAX_COMPONENTS];
} zk_reward;

int zk_grader_num_components(zk_config_grader grader);
const char *zk_grader_component(zk_config_grader grader, int component_idx); // "strict"

// False: an item without a label is fine.
bool zk_grader_needs_label(zk_config_grader grader);
// Checks that `label` is something `grader` can compare with: a number for `number`, a number or a solution with `#### number` for `gsm8k`, JSON for
// `json`, a question for `countdown`, not blank for the others. ZK_BAD_INPUT says what is wrong; the caller adds file and line.
zk_status zk_grader_check_label(zk_config_grader grader, const char *label);

// Grades num_bytes of `completion` (any bytes) against a NUL-terminated label that zk_grader_check_label accepts, or NULL where none is needed.
// `pattern` is for regex; others take NULL.
void zk_grader_grade(zk_config_grader grader, const zk_pattern *pattern, const char *label, const char *completion, size_t num_bytes, zk_reward *out);

// True when both texts are equal once ASCII white space around them is dropped.
bool zk_grader_same_text(const char *a, size_t a_bytes, const char *b, size_t b_bytes);

#endif
