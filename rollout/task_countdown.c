// countdown: "44,19,35:98=" asks for an expression that uses each number once and makes 98, in <answer> tags. Questions are made from a
// solution, so that each has one; rules and instruction follow TinyZero (github.com/Jiayi-Pan/TinyZero).
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rollout/countdown.h"
#include "rollout/task_kind.h"

enum { MAX_ATTEMPTS = 256, EXPRESSION_BYTES = 160 };

static size_t max_bytes(const zk_config *cfg) { return 2 * EXPRESSION_BYTES; }

// A part of the solution: its value and how it is written.
typedef struct {
  int64_t value;
  char text[EXPRESSION_BYTES];
  bool is_number;
} part;

static bool apply(char op, int64_t a, int64_t b, int64_t *out) {
  if (op == '/' && (b == 0 || a % b != 0)) return false;
  *out = op == '+' ? a + b : op == '-' ? a - b : op == '*' ? a * b : a / b;
  return *out >= 0 && *out <= 1000000;
}

// parts[i] becomes parts[i] OP parts[j] with the first operation, from a drawn one on, that keeps to whole numbers; + always does.
static void join(zk_draw *draw, part *a, const part *b) {
  const int first = (int)zk_draw_below(draw, 4);
  for (int k = 0;; k++) {
    const char op = "+-*/"[(first + k) % 4];
    part made = {.is_number = false};
    if (!apply(op, a->value, b->value, &made.value) && op != '+') continue;
    snprintf(made.text, sizeof made.text, "%s%.70s%s%c%s%.70s%s", a->is_number ? "" : "(", a->text, a->is_number ? "" : ")", op, b->is_number ? "" : "(",
             b->text, b->is_number ? "" : ")");
    *a = made;
    return;
  }
}

// Numbers, and an expression of them whose value is the target; false: it is not in 1..task.max_number.
static bool draw_solution(const zk_config *cfg, zk_draw *draw, zk_countdown *q, part *solution) {
  part parts[ZK_COUNTDOWN_MAX_NUMBERS];
  q->num_numbers = cfg->task.min_numbers + (int)zk_draw_below(draw, (uint64_t)(cfg->task.max_numbers - cfg->task.min_numbers) + 1);
  for (int i = 0; i < q->num_numbers; i++) {
    q->numbers[i] = 1 + (int64_t)zk_draw_below(draw, (uint64_t)cfg->task.max_number);
    parts[i] = (part){.value = q->numbers[i], .is_number = true};
    snprintf(parts[i].text, sizeof parts[i].text, "%" PRId64, q->numbers[i]);
  }
  for (int left = q->num_numbers; left > 1; left--) {
    const int i = (int)zk_draw_below(draw, (uint64_t)left);
    int j = (int)zk_draw_below(draw, (uint64_t)left - 1);
    if (j >= i) j++;
    join(draw, &parts[i], &parts[j]);
    parts[j] = parts[left - 1]; // the last one fills the gap, be it the one just made
  }
  q->target = parts[0].value;
  *solution = parts[0];
  return q->target >= 1 && q->target <= cfg->task.max_number;
}

static size_t put_numbers(char *text, size_t room, const zk_countdown *q, const char *separator) {
  size_t n = 0;
  for (int i = 0; i < q->num_numbers; i++) n += (size_t)snprintf(text + n, room - n, "%s%" PRId64, i > 0 ? separator : "", q->numbers[i]);
  return n;
}

static void sort(zk_countdown *q) {
  for (int i = 1; i < q->num_numbers; i++)
    for (int j = i; j > 0 && q->numbers[j - 1] > q->numbers[j]; j--) {
      int64_t number = q->numbers[j];
      q->numbers[j] = q->numbers[j - 1], q->numbers[j - 1] = number;
    }
}

static void draw_question(const zk_config *cfg, zk_draw *draw, zk_question *out) {
  const size_t room = max_bytes(cfg);
  zk_countdown q;
  part solution;
  int attempt = 0;
  while (!draw_solution(cfg, draw, &q, &solution) && ++attempt < MAX_ATTEMPTS) continue;
  if (attempt == MAX_ATTEMPTS) { // a question all the same, for numbers that hardly ever meet a target
    for (int i = 0; i < q.num_numbers; i++) q.numbers[i] = 1;
    q.target = 1;
    put_numbers(solution.text, sizeof solution.text, &q, "*");
  }
  size_t n = put_numbers(out->question, room, &q, ",");
  snprintf(out->question + n, room - n, ":%" PRId64, q.target);
  n = (size_t)snprintf(out->answer, room, "{\"target\": %" PRId64 ", \"numbers\": [", q.target);
  n += put_numbers(out->answer + n, room - n, &q, ", ");
  snprintf(out->answer + n, room - n, "]}");
  snprintf(out->demonstration, room, "<answer>%s</answer>", solution.text);
  sort(&q); // the order of the numbers does not matter
  n = put_numbers(out->identity, room, &q, ",");
  snprintf(out->identity + n, room - n, ":%" PRId64, q.target);
}

static const zk_generator generator = {
    .max_bytes = max_bytes,
    .draw = draw_question,
    .before = "Before the colon are numbers, behind it is a target: ",
    .behind = ". Create an expression that equals the target. You can use basic arithmetic operations (+, -, *, /) and parentheses, and each number must be used "
              "exactly once. Show your work, then give the final expression in <answer> </answer> tags, for example <answer>(1 + 2) / 3</answer>.",
};

static zk_status open_countdown(zk_task *task) {
  const zk_config *cfg = &task->cfg;
  if (cfg->task.min_numbers < 2 || cfg->task.max_numbers > ZK_COUNTDOWN_MAX_NUMBERS || cfg->task.min_numbers > cfg->task.max_numbers)
    return ZK_FAIL(ZK_BAD_INPUT, "task countdown wants 2 <= task.min_numbers <= task.max_numbers <= %d, not %d and %d", ZK_COUNTDOWN_MAX_NUMBERS,
                   cfg->task.min_numbers, cfg->task.max_numbers);
  if (cfg->task.max_number < 1 || cfg->task.max_number > 9999)
    return ZK_FAIL(ZK_BAD_INPUT, "task.max_number = %d is not in 1..9999", cfg->task.max_number);
  return zk_generated_open(task, &generator);
}

static zk_config_grader grader(const zk_task *task) { return ZK_CONFIG_GRADER_COUNTDOWN; }

const zk_task_kind zk_task_countdown = {
    .name = "countdown",
    .open = open_countdown,
    .close = zk_generated_close,
    .get = zk_generated_get,
    .grader = grader,
};
