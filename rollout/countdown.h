// Countdown's rules: an expression that uses every given number exactly once and makes the target.
#ifndef ZK_ROLLOUT_COUNTDOWN_H
#define ZK_ROLLOUT_COUNTDOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

enum { ZK_COUNTDOWN_MAX_NUMBERS = 8 };

typedef struct {
  int64_t target, numbers[ZK_COUNTDOWN_MAX_NUMBERS];
  int num_numbers;
} zk_countdown;

// Reads a label {"target": 98, "numbers": [44, 19, 35]} (integers that are not negative); ZK_BAD_INPUT says what is wrong.
zk_status zk_countdown_parse(const char *label, zk_countdown *out);

// Grades the last <answer>...</answer> of a completion, as TinyZero does (github.com/Jiayi-Pan/TinyZero, countdown.py): *format, there is one;
// *right, it is an expression with each number exactly once whose value is the target, compared exactly. An "=" and what follows is no expression.
void zk_countdown_grade(const zk_countdown *question, const char *completion, size_t num_bytes, bool *right, bool *format);

#endif
