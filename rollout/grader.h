// Graders: a completion's bytes and a label in, components that are exactly 0 or 1 out.
#ifndef ZK_ROLLOUT_GRADER_H
#define ZK_ROLLOUT_GRADER_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/status.h"
#include "shared/config.h"

// X(name in zk_config_grader, component that is the reward, second component or NULL)
//   exact: the completion equals the label, both less surrounding white space
//   number: its last number equals the label's number; whole: and there is nothing else
//   strict: the number behind `#### ` equals the label's; flexible: the last number does, wherever it stands
#define ZK_GRADER_LIST(X)                                                                                              \
  X(EXACT, "exact", NULL)                                                                                              \
  X(NUMBER, "number", "whole")                                                                                         \
  X(GSM8K, "strict", "flexible")

enum { ZK_REWARD_MAX_COMPONENTS = 2 };

// What one completion earned. total is component[0] for every built-in task. Values are 0, 1 or a quotient of two small
// integers rounded once to binary32, so they are the same on every machine.
typedef struct zk_reward {
  float total;
  float component[ZK_REWARD_MAX_COMPONENTS];
} zk_reward;

int zk_grader_num_components(zk_config_grader grader);
const char *zk_grader_component(zk_config_grader grader, int component_idx); // "strict"

// Checks that `label` is something `grader` can compare with: a number for `number`, a number or a solution with `####
// number` for `gsm8k`, not blank for `exact`. ZK_BAD_INPUT says what is wrong; the caller adds file and line.
zk_status zk_grader_check_label(zk_config_grader grader, const char *label);

// Grades num_bytes of `completion` (any bytes) against a NUL-terminated label that zk_grader_check_label accepts.
void zk_grader_grade(zk_config_grader grader, const char *label, const char *completion, size_t num_bytes,
                     zk_reward *out);

// True when both texts are equal once ASCII white space around them is dropped.
bool zk_grader_same_text(const char *a, size_t a_bytes, const char *b, size_t b_bytes);

#endif
