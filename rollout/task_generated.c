// Made-up questions in two disjoint splits: a hash of the question's identity, never the draw, decides which split it
// is in.
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "rollout/task_kind.h"
#include "shared/log.h"

enum {
  HELDOUT_PART = 10,     // one question in ten is held out
  MAX_ATTEMPTS = 1000,   // draws for one training item: 10^-1000 likely to run out unless the space has (almost) none
  DRAWS_PER_HELDOUT = 64 // held-out candidates drawn for each one wanted, before the space counts as exhausted
};

typedef struct {
  const zk_generator *generator;
  size_t max_bytes;
  uint32_t *heldout; // the candidate's number of each held-out item
} generated;

// Memory for one question, four texts; free out->question.
static zk_status question_alloc(const generated *state, zk_question *out) {
  out->question = calloc(4, state->max_bytes);
  if (out->question == NULL)
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a question of %zu bytes", state->max_bytes);
  out->answer = out->question + state->max_bytes;
  out->identity = out->answer + state->max_bytes;
  out->demonstration = out->identity + state->max_bytes;
  return ZK_OK;
}

// Draws into `q` and returns the identity's hash. XXH64 with seed 0 is a published, stable function of the bytes.
static uint64_t draw_question(const zk_task *task, zk_draw_purpose purpose, uint32_t attempt, uint32_t number,
                              zk_question *q) {
  const generated *state = task->state;
  zk_draw draw;
  zk_draw_begin(&draw, task->cfg.seed, purpose, attempt, number);
  q->demonstration[0] = 0;
  state->generator->draw(&task->cfg, &draw, q);
  return XXH64(q->identity, strlen(q->identity), 0);
}

static bool is_heldout(uint64_t hash) { return hash % HELDOUT_PART == 0; }

static zk_status draw_train(const zk_task *task, uint32_t number, zk_question *q, uint64_t *hash) {
  for (uint32_t attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    *hash = draw_question(task, ZK_DRAW_TRAIN, attempt, number, q);
    if (!is_heldout(*hash)) return ZK_OK;
  }
  return ZK_FAIL(ZK_BAD_INPUT, "task %s: every question that this config can ask is held out; allow longer ones",
                 task->kind->name);
}

// A set of hashes by open addressing; 0 marks a free place, and the hash 0 is never asked for (0 % 10 would be held
// out, so callers add 1 to every hash). True when `hash` was not in the set yet.
static bool insert(uint64_t *set, uint64_t num_places, uint64_t hash) {
  uint64_t at = (hash / HELDOUT_PART) % num_places;
  for (; set[at] != 0; at = (at + 1) % num_places) {
    if (set[at] == hash) return false;
  }
  set[at] = hash;
  return true;
}

// Finds the first task.heldout distinct held-out questions among the candidates, or as many as there are.
static zk_status find_heldout(zk_task *task, zk_question *q) {
  generated *state = task->state;
  uint32_t want = (uint32_t)task->cfg.task.heldout;
  uint64_t num_places = 2 * (uint64_t)want + 1, num_candidates = (uint64_t)HELDOUT_PART * DRAWS_PER_HELDOUT * want;
  if (num_candidates > UINT32_MAX) return ZK_FAIL(ZK_BAD_INPUT, "task.heldout = %u is too many", want);
  uint64_t *seen = calloc(num_places, sizeof *seen);
  state->heldout = calloc((size_t)want + 1, sizeof *state->heldout);
  if (seen == NULL || state->heldout == NULL) {
    free(seen);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %u held-out items", want);
  }
  for (uint32_t number = 0; number < num_candidates && task->num_heldout < want; number++) {
    uint64_t hash = draw_question(task, ZK_DRAW_HELDOUT, 0, number, q);
    if (is_heldout(hash) && insert(seen, num_places, hash + 1)) state->heldout[task->num_heldout++] = number;
  }
  free(seen);
  if (task->num_heldout < want)
    ZK_LOG(WARN, "task", "task %s has only %u distinct held-out questions, fewer than task.heldout = %u",
           task->kind->name, task->num_heldout, want);
  return ZK_OK;
}

zk_status zk_generated_open(zk_task *task, const zk_generator *generator) {
  zk_status st = ZK_OK;
  zk_question q = {0};
  uint64_t hash;
  generated *state = calloc(1, sizeof *state);
  if (state == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a task");
  task->state = state;
  task->num_pool = (uint32_t)task->cfg.task.num_prompts;
  state->generator = generator;
  state->max_bytes = generator->max_bytes(&task->cfg);
  ZK_TRY(question_alloc(state, &q));
  ZK_TRY_GOTO(st, done,
              draw_train(task, 0, &q, &hash)); // a space without training items is an error now, not at step 1
  ZK_TRY_GOTO(st, done, find_heldout(task, &q));
done:
  free(q.question);
  return st;
}

void zk_generated_close(zk_task *task) {
  generated *state = task->state;
  if (state != NULL) free(state->heldout);
  free(state);
}

// The question as a user's message: before + question + behind. The caller frees *out.
static zk_status instruction(const zk_generator *generator, const char *text, char **out) {
  size_t before = strlen(generator->before), middle = strlen(text), behind = strlen(generator->behind);
  *out = malloc(before + middle + behind + 1);
  if (*out == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a prompt");
  memcpy(*out, generator->before, before);
  memcpy(*out + before, text, middle);
  memcpy(*out + before + middle, generator->behind, behind + 1);
  return ZK_OK;
}

zk_status zk_generated_get(const zk_task *task, zk_split split, uint32_t number, zk_task_item *out) {
  const generated *state = task->state;
  zk_status st = ZK_OK;
  zk_question q = {0};
  char *content = NULL;
  uint64_t hash = 0;
  ZK_TRY(question_alloc(state, &q));
  if (split == ZK_SPLIT_HELDOUT) hash = draw_question(task, ZK_DRAW_HELDOUT, 0, state->heldout[number], &q);
  else ZK_TRY_GOTO(st, done, draw_train(task, number, &q, &hash));
  ZK_TRY_GOTO(st, done, instruction(state->generator, q.question, &content));
  // Without a template the prompt is the bare question, e.g. "12+34=". The question's text has room for one character
  // more.
  memcpy(q.question + strlen(q.question), "=", 2);
  const char *system = task->cfg.task.system[0] != 0 ? task->cfg.task.system : NULL;
  const zk_chat_message message = {.role = "user", .content = content};
  ZK_TRY_GOTO(st, done, zk_task_item_make(hash, system, q.question, &message, 1, q.answer, q.demonstration[0] != 0 ? q.demonstration : q.answer,
                                        NULL, out));
done:
  free(content);
  free(q.question);
  return st;
}

zk_status zk_task_check_numbers(const zk_config *cfg) {
  size_t num_operations = strlen(cfg->task.operations);
  if (cfg->task.num_digits < 1 || cfg->task.num_digits > ZK_TASK_MAX_DIGITS)
    return ZK_FAIL(ZK_BAD_INPUT, "task.num_digits = %d is not in 1..%d", cfg->task.num_digits, ZK_TASK_MAX_DIGITS);
  if (num_operations == 0 || strspn(cfg->task.operations, "+-*") != num_operations)
    return ZK_FAIL(ZK_BAD_INPUT, "task.operations = \"%s\" is not some of + - *", cfg->task.operations);
  return ZK_OK;
}
