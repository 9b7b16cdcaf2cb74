// Turns to JSON, JSON to verdicts. The pool's tag holds the caller's and whether a reply is allowed, so that an answer is checked against its own request.
#include "rollout/judge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rollout/task_kind.h"
#include "shared/json_text.h"

struct zk_judge {
  const zk_task *task;
  zk_program_pool *pool;
};

// ---- answers --------------------------------------------------------------------------------------------------------

static bool number_of(const json_t *value, float *out) {
  *out = (float)json_number_value(value);
  return json_is_number(value) && isfinite(*out);
}

// The rewards that an answer gives, to their places; false: one is missing.
static bool read_rewards(const zk_judge *judge, const json_t *answer, float *component, char *why, size_t room) {
  const zk_reward_set *set = &judge->task->rewards;
  const json_t *more = json_object_get(answer, "components");
  if (!number_of(json_object_get(answer, "reward"), &component[set->command])) {
    snprintf(why, room, "its answer has no finite number \"reward\"");
    return false;
  }
  for (int k = set->num_listed; k < set->num_components; k++) {
    const char *name = zk_reward_set_component(set, k);
    if (number_of(json_object_get(more, name), &component[k])) continue;
    snprintf(why, room, "its answer has no finite number \"%s\" in \"components\"", name);
    return false;
  }
  return true;
}

static bool is_last(uint64_t tag) { return tag & 1; }

static bool check(void *context, uint64_t tag, const json_t *answer, char *why, size_t room) {
  const zk_judge *judge = context;
  float component[ZK_REWARD_MAX_COMPONENTS];
  const json_t *reply = json_object_get(answer, "reply");
  if (reply != NULL && !json_is_null(reply) && !json_is_string(reply)) {
    snprintf(why, room, "its answer's \"reply\" is not a text");
    return false;
  }
  if (json_is_string(reply) && !is_last(tag)) return true;
  return judge->task->rewards.command < 0 || read_rewards(judge, answer, component, why, room);
}

zk_status zk_judge_take(zk_judge *judge, zk_verdict *out, bool *found) {
  zk_program_answer answer;
  char why[160];
  *found = zk_program_pool_take(judge->pool, &answer);
  if (!*found) return ZK_OK;
  zk_status st = ZK_OK;
  memset(out, 0, sizeof *out);
  out->tag = answer.tag >> 1, out->status = answer.status;
  memcpy(out->why, answer.why, sizeof out->why);
  const char *reply = is_last(answer.tag) ? NULL : json_string_value(json_object_get(answer.answer, "reply"));
  if (reply != NULL) {
    out->reply = strdup(reply);
    if (out->reply == NULL) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a reply of %zu bytes", strlen(reply));
  } else if (answer.answer != NULL && judge->task->rewards.command >= 0) {
    (void)read_rewards(judge, answer.answer, out->component, why, sizeof why); // checked before
  }
  json_decref(answer.answer);
  return st;
}

// ---- requests -------------------------------------------------------------------------------------------------------

static json_t *messages_of(const zk_task_item *item) {
  json_t *list = json_array();
  for (size_t i = 0; i < item->num_messages; i++)
    json_array_append_new(list, json_pack("{s:o, s:o}", "role", zk_json_text_string(item->messages[i].role, strlen(item->messages[i].role)), "content",
                                          zk_json_text_string(item->messages[i].content, strlen(item->messages[i].content))));
  return list;
}

static json_t *text_or_null(const char *text) { return text != NULL ? zk_json_text_string(text, strlen(text)) : json_null(); }

// The request without its opening brace, to free; NULL when memory is short.
static char *members_of(const zk_task_item *item, const zk_judge_turn *t) {
  json_t *extra = item->extra != NULL ? json_loads(item->extra, 0, NULL) : NULL;
  json_t *o = json_pack("{s:I, s:I, s:i, s:i, s:b, s:o, s:o, s:o, s:o, s:s, s:O*, s:o*}", "step", (json_int_t)t->step, "prompt_id", (json_int_t)item->prompt_id,
                        "sample", t->sample, "turn", t->turn, "last", t->last, "prompt", text_or_null(item->text), "messages", messages_of(item), "label",
                        text_or_null(item->label), "completion", zk_json_text_string(t->text, t->num_bytes), "finish", zk_finish_reason_text(t->finish),
                        "history", t->history, "extra", extra);
  char *text = o != NULL ? json_dumps(o, 0) : NULL;
  json_decref(o);
  if (text != NULL) memmove(text, text + 1, strlen(text));
  return text;
}

zk_status zk_judge_ask(zk_judge *judge, const zk_task_item *item, const zk_judge_turn *turn) {
  char *members = members_of(item, turn);
  if (members == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a request of %zu bytes of text", turn->num_bytes);
  return zk_program_pool_submit(judge->pool, turn->tag << 1 | turn->last, members);
}

zk_status zk_judge_open(const zk_config *cfg, const zk_task *task, zk_judge **out) {
  zk_judge *judge = *out = calloc(1, sizeof *judge);
  if (judge == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a program's pool");
  judge->task = task;
  const zk_program_options options = {cfg->command.run, cfg->command.processes, cfg->command.timeout_s, cfg->command.memory, cfg->command.retries, check, judge};
  zk_status st = zk_program_pool_open(&options, &judge->pool);
  if (st == ZK_OK) st = zk_program_pool_try(judge->pool);
  if (st == ZK_OK) return ZK_OK;
  zk_judge_close(judge);
  *out = NULL;
  return st;
}

void zk_judge_close(zk_judge *judge) {
  if (judge == NULL) return;
  zk_program_pool_close(judge->pool);
  free(judge);
}

int32_t zk_judge_num_open(const zk_judge *judge) { return zk_program_pool_num_open(judge->pool); }
zk_status zk_judge_poll(zk_judge *judge, int wait_ms) { return zk_program_pool_poll(judge->pool, wait_ms); }
void zk_judge_cancel(zk_judge *judge) { zk_program_pool_cancel(judge->pool); }
