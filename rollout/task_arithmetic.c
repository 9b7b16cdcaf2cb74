// arithmetic: "12+34=" asks for 46; sums, differences and products of numbers of at most task.num_digits digits.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rollout/task_kind.h"

static size_t max_bytes(const zk_config *cfg) { return 2 * ZK_TASK_MAX_DIGITS + 4; } // two operands, operation, "=", final NUL

static void draw_question(const zk_config *cfg, zk_draw *draw, zk_question *out) {
  uint64_t bound = 1;
  for (int i = 0; i < cfg->task.num_digits; i++) bound *= 10;
  int64_t a = (int64_t)zk_draw_below(draw, bound), b = (int64_t)zk_draw_below(draw, bound);
  char op = cfg->task.operations[zk_draw_below(draw, strlen(cfg->task.operations))];
  size_t room = max_bytes(cfg);
  snprintf(out->question, room, "%" PRId64 "%c%" PRId64, a, op, b);
  snprintf(out->answer, room, "%" PRId64, op == '+' ? a + b : op == '-' ? a - b : a * b);
  // 3+8 gives 8+3 away, so both are on one side.
  bool swap = op != '-' && a > b;
  snprintf(out->identity, room, "%" PRId64 "%c%" PRId64, swap ? b : a, op, swap ? a : b);
}

static const zk_generator generator = {
    .max_bytes = max_bytes,
    .draw = draw_question,
    .before = "What is ",
    .behind = "? Answer with the number only.",
};

static zk_status open_arithmetic(zk_task *task) {
  ZK_TRY(zk_task_check_numbers(&task->cfg));
  return zk_generated_open(task, &generator);
}

static zk_config_grader grader(const zk_task *task) { return ZK_CONFIG_GRADER_NUMBER; }

const zk_task_kind zk_task_arithmetic = {
    .name = "arithmetic",
    .open = open_arithmetic,
    .close = zk_generated_close,
    .get = zk_generated_get,
    .grader = grader,
};
