// reverse: "abcde=" asks for "edcba"; lengths and letters uniform.
#include <string.h>

#include "rollout/task_kind.h"

static size_t max_bytes(const zk_config *cfg) { return (size_t)cfg->task.max_length + 2; } // "=" and the final NUL

static void draw_string(const zk_config *cfg, zk_draw *draw, zk_question *out) {
  uint64_t spread = (uint64_t)(cfg->task.max_length - cfg->task.min_length) + 1;
  size_t length = (size_t)cfg->task.min_length + (size_t)zk_draw_below(draw, spread);
  for (size_t i = 0; i < length; i++) {
    char letter = (char)('a' + (int)zk_draw_below(draw, 26));
    out->question[i] = out->identity[i] = out->answer[length - 1 - i] = letter;
  }
  out->question[length] = out->answer[length] = out->identity[length] = 0;
}

static const zk_generator generator = {
    .max_bytes = max_bytes,
    .draw = draw_string,
    .before = "Write the letters of this word in reverse order: ",
    .behind = "\nAnswer with the reversed word only.",
};

static zk_status open_reverse(zk_task *task) {
  const zk_config *cfg = &task->cfg;
  if (cfg->task.min_length < 1 || cfg->task.max_length < cfg->task.min_length)
    return ZK_FAIL(ZK_BAD_INPUT, "task reverse wants 1 <= task.min_length <= task.max_length, not %d and %d",
                   cfg->task.min_length, cfg->task.max_length);
  return zk_generated_open(task, &generator);
}

static zk_config_grader grader(const zk_task *task) { return ZK_CONFIG_GRADER_EXACT; }

// The part of the places, counted over the longer of the two texts, where completion and answer have the same
// character.
static float partial(const zk_task_item *item, const char *completion, size_t num_bytes) {
  size_t length = strlen(item->label), longer = num_bytes > length ? num_bytes : length, same = 0;
  for (size_t i = 0; i < length && i < num_bytes; i++) same += completion[i] == item->label[i];
  return longer == 0 ? 0.0f : (float)same / (float)longer;
}

const zk_task_kind zk_task_reverse = {
    .name = "reverse",
    .open = open_reverse,
    .close = zk_generated_close,
    .get = zk_generated_get,
    .grader = grader,
    .extra_component = "partial",
    .extra = partial,
};
