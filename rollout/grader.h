// Graders: a completion's bytes and a label in, exact 0 or 1 components out; decimal digits are compared as text, never as floats.
#ifndef ZK_ROLLOUT_GRADER_H
#define ZK_ROLLOUT_GRADER_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/status.h"

// X(name, spelling in task.grader, first component (the reward), second component or NULL, what it does)
#define ZK_GRADER_LIST(X)                                                                                              \
  X(EXACT, "exact", "exact", NULL, "the completion, less surrounding white space, equals the label")                  \
  X(NUMBER, "number", "number", "exact", "the completion's last number equals the label")                             \
  X(GSM8K, "gsm8k", "strict", "flexible", "the number after the first `#### `; also the last number anywhere")

typedef enum {
#define X(name, spelling, first, second, help) ZK_GRADER_##name,
  ZK_GRADER_LIST(X)
#undef X
      ZK_NUM_GRADERS
} zk_grader;

enum { ZK_REWARD_MAX_COMPONENTS = 2 };

// One completion's reward. `total` is component[0] for every built-in task and grader. Every value is an exact small
// rational rounded once to binary32 (0, 1, or matched / length), so it is the same on every machine.
typedef struct {
  float total;
  float component[ZK_REWARD_MAX_COMPONENTS];
} zk_reward;

// The grader spelled `name`, or ZK_BAD_INPUT with the list of those that exist.
zk_status zk_grader_find(const char *name, zk_grader *out);
const char *zk_grader_name(zk_grader grader);
int zk_grader_num_components(zk_grader grader);                    // 1 or 2
const char *zk_grader_component(zk_grader grader, int component);  // "strict"

// Checks that `label` (NUL-terminated) is something `grader` can compare with: `number` wants one number, `gsm8k` one number
// or a solution that ends in `#### number`. ZK_BAD_INPUT says what is wrong; the caller adds file and line.
zk_status zk_grader_check_label(zk_grader grader, const char *label);

// Grades `num_bytes` of `completion` (any bytes, not NUL-terminated) against a label that zk_grader_check_label accepts.
void zk_grader_grade(zk_grader grader, const char *label, const char *completion, size_t num_bytes, zk_reward *out);

// Canonical decimals: no sign of zero, no leading zeros, no trailing zeros after the point.
typedef struct {
  bool negative;
  const char *whole;     // digits, perhaps with commas between them, from the first that is not 0
  size_t whole_bytes;    // 0 when the integer part is 0
  const char *fraction;  // digits after the point, up to the last that is not 0
  size_t fraction_bytes;
} zk_decimal;

// The last number in `text`: [-+]? $? digits, with commas only as thousands separators, and .digits if digits follow the
// point. A minus sign (ASCII or U+2212) after a letter, a digit or a closing bracket is an operator. False: no number.
bool zk_decimal_find_last(const char *text, size_t num_bytes, zk_decimal *out);
// The number after the first `#### ` that has one: -? then a run of digits, commas and points, as GSM8K's own
// evaluation reads it (commas dropped, one trailing point dropped). False: none, or the run is not a number.
bool zk_decimal_find_gsm8k(const char *text, size_t num_bytes, zk_decimal *out);
// True when all of `text`, less surrounding white space, is one number.
bool zk_decimal_parse(const char *text, size_t num_bytes, zk_decimal *out);
bool zk_decimal_equal(const zk_decimal *a, const zk_decimal *b);

#endif
