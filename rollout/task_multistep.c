// multistep: "(12+5)*3-4=" asks for a worked answer, a line for each step and the result behind ####.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rollout/task_kind.h"

enum { MAX_STEPS = 8 }; // factors have one digit, so that 10^ZK_TASK_MAX_DIGITS x 9^8 is the most: it fits 64 bits

static size_t max_bytes(const zk_config *cfg) { return 64 * (MAX_STEPS + 2); }

// One more step of `value`: an operation, a number, and what comes out.
static int64_t draw_step(const zk_config *cfg, zk_draw *draw, uint64_t bound, int64_t value, char *op, int64_t *number) {
  *op = cfg->task.operations[zk_draw_below(draw, strlen(cfg->task.operations))];
  *number = *op == '*' ? 2 + (int64_t)zk_draw_below(draw, 8) : (int64_t)zk_draw_below(draw, bound);
  return *op == '+' ? value + *number : *op == '-' ? value - *number : value * *number;
}

// Puts the expression so far into parentheses when a product of a sum follows.
static void put_step(char *text, size_t room, bool is_sum, char op, int64_t number) {
  size_t n = strlen(text);
  if (is_sum && op == '*') {
    memmove(text + 1, text, n + 1);
    text[0] = '(', text[n + 1] = ')', text[n + 2] = 0;
    n += 2;
  }
  snprintf(text + n, room - n, "%c%" PRId64, op, number);
}

static void draw_question(const zk_config *cfg, zk_draw *draw, zk_question *out) {
  uint64_t bound = 1;
  const size_t room = max_bytes(cfg);
  for (int i = 0; i < cfg->task.num_digits; i++) bound *= 10;
  const int num_steps = cfg->task.min_steps + (int)zk_draw_below(draw, (uint64_t)(cfg->task.max_steps - cfg->task.min_steps) + 1);
  int64_t value = (int64_t)zk_draw_below(draw, bound), first = value, second = 0;
  char first_op = 0;
  bool is_sum = false;
  size_t n = 0;
  snprintf(out->question, room, "%" PRId64, value);
  for (int step = 0; step < num_steps; step++) {
    char op;
    int64_t number, next = draw_step(cfg, draw, bound, value, &op, &number);
    if (step == 0) first_op = op, second = number;
    put_step(out->question, room, is_sum, op, number);
    n += (size_t)snprintf(out->demonstration + n, room - n, "%" PRId64 "%c%" PRId64 "=%" PRId64 "\n", value, op, number, next);
    is_sum = op != '*', value = next;
  }
  snprintf(out->demonstration + n, room - n, "#### %" PRId64, value);
  snprintf(out->answer, room, "%" PRId64, value);
  // 3+8 and 8+3 are the same first step: what follows is on one side for both.
  const bool swap = first_op != '-' && first > second;
  const char *rest = out->question + strspn(out->question, "(");
  char head[64];
  rest += (size_t)snprintf(head, sizeof head, "%" PRId64 "%c%" PRId64, first, first_op, second);
  snprintf(out->identity, room, "%" PRId64 "%c%" PRId64 "%s", swap ? second : first, first_op, swap ? first : second, rest);
}

static const zk_generator generator = {
    .max_bytes = max_bytes,
    .draw = draw_question,
    .before = "Compute ",
    .behind = " step by step, one step a line. End with a line that holds #### and the result.",
};

static zk_status open_multistep(zk_task *task) {
  const zk_config *cfg = &task->cfg;
  ZK_TRY(zk_task_check_numbers(cfg));
  if (cfg->task.min_steps < 1 || cfg->task.max_steps > MAX_STEPS || cfg->task.min_steps > cfg->task.max_steps)
    return ZK_FAIL(ZK_BAD_INPUT, "task multistep wants 1 <= task.min_steps <= task.max_steps <= %d, not %d and %d", MAX_STEPS, cfg->task.min_steps,
                   cfg->task.max_steps);
  return zk_generated_open(task, &generator);
}

static zk_config_grader grader(const zk_task *task) { return ZK_CONFIG_GRADER_GSM8K; }

const zk_task_kind zk_task_multistep = {
    .name = "multistep",
    .open = open_multistep,
    .close = zk_generated_close,
    .get = zk_generated_get,
    .grader = grader,
};
