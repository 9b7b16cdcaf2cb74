// What follows when the engine has finished a turn, or a program has answered: a question, a reply and another turn, or a finished sample's record.
#include <stdlib.h>
#include <string.h>

#include "rollout/collect_impl.h"
#include "shared/log.h"

zk_status zk_collect_item(const zk_collection *c, int64_t slot, zk_task_item *item) {
  const zk_collect_request *q = c->request;
  return q->prompt_ids ? zk_task_get_by_id(c->session->task, q->prompt_ids[slot], item) : zk_task_get(c->session->task, q->split, q->first_index + (uint64_t)slot, item);
}

typedef struct {
  int64_t slot;
  int32_t sample;
  zk_dialogue *dialogue;
  const zk_tokens *prompt;
} place;

static place place_of(const zk_collection *c, int64_t slot, int32_t sample) {
  return (place){slot, sample, &c->dialogues[slot * c->request->samples_per_prompt + sample], &c->prompts[slot]};
}

// What the policy said in the last turn, to free.
static zk_status text_of(const zk_collection *c, const zk_dialogue *d, char **text, size_t *bytes) {
  int32_t end = d->turn_start;
  while (end < d->num_tokens && d->mask[end]) end++;
  return zk_tokenizer_decode(c->session->tokenizer, d->tokens + d->turn_start, (size_t)(end - d->turn_start), 1, text, bytes);
}

// The sample's reward: built-in graders look at its last turn; `recorded` are the components that a program gave, NULL: none.
static zk_status reward(zk_collection *c, const place *at, const zk_task_item *item, const float *recorded, zk_record *r) {
  char *text = NULL;
  size_t bytes = 0;
  if (zk_finish_is_error(at->dialogue->finish)) return ZK_OK;
  ZK_TRY(text_of(c, at->dialogue, &text, &bytes));
  zk_reward value = {0};
  zk_task_reward(c->session->task, item, text, bytes, &value);
  free(text);
  if (recorded) zk_task_put_recorded(c->session->task, recorded, &value);
  r->reward = value.total;
  memcpy(r->component, value.component, sizeof r->component);
  return ZK_OK;
}

// The sample is done.
static zk_status finish(zk_collection *c, const place *at, const float *recorded, zk_answer_status detail) {
  zk_dialogue *d = at->dialogue;
  const size_t n = (size_t)d->num_tokens;
  zk_task_item item;
  ZK_TRY(zk_collect_item(c, at->slot, &item));
  zk_record r = {.slot = (int32_t)at->slot, .sample = at->sample, .num_prompt_tokens = at->sample == 0 ? (int32_t)at->prompt->num_tokens : 0,
                 .num_tokens = d->num_tokens, .finish = (int32_t)d->finish, .finish_detail = d->finish_detail, .prompt_id = item.prompt_id,
                 .reward_detail = (int32_t)detail};
  zk_status st = reward(c, at, &item, recorded, &r);
  zk_task_item_free(&item);
  if (st == ZK_OK) st = zk_record_append(&c->records, &r, sizeof r);
  if (st == ZK_OK) st = zk_record_append(&c->records, at->prompt->ids, (size_t)r.num_prompt_tokens * sizeof(int32_t));
  if (st == ZK_OK) st = zk_record_append(&c->records, d->tokens, n * sizeof(int32_t));
  if (st == ZK_OK) st = zk_record_append(&c->records, d->logprob, n * sizeof(float));
  if (st == ZK_OK) st = zk_record_append(&c->records, d->lse, n * sizeof(float));
  if (st == ZK_OK) st = zk_record_append(&c->records, d->mask, n);
  zk_dialogue_free(d);
  c->finished++;
  return st;
}

// A reply's tokens go behind the turn, and the sample goes on: a request of its own, whose prompt is all there is so far. What the turns before left in the
// cache is found there again; its random numbers are named by positions, as they would be without a break.
static zk_status go_on(zk_collection *c, const place *at, const int32_t *tokens, int32_t num_tokens) {
  zk_dialogue *d = at->dialogue;
  ZK_TRY(zk_dialogue_add_reply(d, tokens, num_tokens));
  zk_task_item item;
  ZK_TRY(zk_collect_item(c, at->slot, &item));
  const size_t n = at->prompt->num_tokens;
  int32_t *prompt = malloc((n + (size_t)d->num_tokens) * sizeof *prompt);
  zk_status st = prompt ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a sample of %zu tokens", n + (size_t)d->num_tokens);
  if (st == ZK_OK) {
    memcpy(prompt, at->prompt->ids, n * sizeof *prompt);
    memcpy(prompt + n, d->tokens, (size_t)d->num_tokens * sizeof *prompt);
    const zk_request r = {.tag = (uint64_t)at->slot, .step = c->request->step, .prompt_id = item.prompt_id, .prompt = prompt,
                          .num_prompt = (int32_t)n + d->num_tokens, .first_sample = at->sample, .num_samples = 1,
                          .max_new_tokens = c->session->config.rollout.max_new_tokens - d->num_tokens};
    st = zk_engine_submit(c->engine, &r);
  }
  free(prompt);
  zk_task_item_free(&item);
  return st;
}

// Whether a reply may stand behind the turn: another turn is allowed, and this one ended on its own, at a stop text or as the chat template ends turns.
static bool may_go_on(const zk_collection *c, const zk_dialogue *d) {
  const zk_session *s = c->session;
  if (d->turn >= s->config.command.turns || d->num_tokens == 0) return false;
  const char *end = zk_chat_end_of_turn(s->chat);
  return d->finish == ZK_FINISH_STOP || (d->finish == ZK_FINISH_EOS && end && d->tokens[d->num_tokens - 1] == zk_tokenizer_find(s->tokenizer, end));
}

static zk_status ask(zk_collection *c, const place *at, bool last) {
  zk_task_item item;
  char *text = NULL;
  size_t bytes = 0;
  ZK_TRY(zk_collect_item(c, at->slot, &item));
  zk_status st = text_of(c, at->dialogue, &text, &bytes);
  const zk_judge_turn turn = {.tag = (uint64_t)(at->dialogue - c->dialogues), .step = c->request->step, .sample = at->sample, .turn = at->dialogue->turn,
                              .last = last, .text = text, .num_bytes = bytes, .finish = at->dialogue->finish, .history = at->dialogue->history};
  if (st == ZK_OK) st = zk_judge_ask(c->session->judge, &item, &turn);
  free(text);
  zk_task_item_free(&item);
  return st;
}

// Nothing more will be sampled: what is it worth?
static zk_status end(zk_collection *c, const place *at) {
  return zk_task_asks_for_rewards(c->session->task) ? ask(c, at, true) : finish(c, at, NULL, ZK_ANSWER_GIVEN);
}

// With recorded replies: the one that stands behind the turn, if any.
static zk_status replay(zk_collection *c, const place *at) {
  const zk_trajectory *t = c->request->recorded;
  const int64_t i = at->slot * c->request->samples_per_prompt + at->sample, begin = t->sample_offsets[i] + at->dialogue->num_tokens;
  int64_t behind = begin;
  while (behind < t->sample_offsets[i + 1] && !t->loss_mask[behind]) behind++;
  if (behind > begin && behind < t->sample_offsets[i + 1]) return go_on(c, at, t->sample_tokens + begin, (int32_t)(behind - begin));
  static const float nothing[ZK_REWARD_MAX_COMPONENTS];
  return finish(c, at, t->reward_detail[i] ? nothing : t->reward_component + i * t->num_components, (zk_answer_status)t->reward_detail[i]);
}

zk_status zk_collect_turn_ended(zk_collection *c, const zk_completion *done) {
  const place at = place_of(c, (int64_t)done->tag, done->sample);
  ZK_TRY(zk_dialogue_add_turn(at.dialogue, done));
  if (zk_finish_is_error(done->finish)) return finish(c, &at, NULL, ZK_ANSWER_GIVEN);
  if (c->request->recorded) return replay(c, &at);
  return may_go_on(c, at.dialogue) ? ask(c, &at, false) : end(c, &at);
}

// ---- a program has answered -----------------------------------------------------------------------------------------

static zk_status encode_reply(const zk_collection *c, const zk_dialogue *d, const char *reply, zk_tokens *out) {
  const zk_session *s = c->session;
  // Behind a stop text the turn is still open: the reply is text in it.
  return zk_chat_encode_reply(s->tokenizer, d->finish == ZK_FINISH_STOP ? ZK_CHAT_NONE : s->chat, reply, strlen(reply), out);
}

// The reply, if there is room behind it for a token; without room the sample has ended where it did.
static zk_status replied(zk_collection *c, const place *at, const char *reply) {
  zk_dialogue *d = at->dialogue;
  zk_tokens tokens = {0};
  char *text = NULL;
  size_t bytes = 0;
  zk_status st = encode_reply(c, d, reply, &tokens);
  const size_t length = (size_t)d->num_tokens + tokens.num_tokens;
  const bool fits = tokens.num_tokens && length < (size_t)c->session->config.rollout.max_new_tokens &&
                    at->prompt->num_tokens + length < (size_t)c->session->policy.num_positions;
  if (st == ZK_OK && fits) st = text_of(c, d, &text, &bytes);
  if (st == ZK_OK && fits) st = zk_dialogue_remember(d, "assistant", text, bytes);
  if (st == ZK_OK && fits) st = zk_dialogue_remember(d, "environment", reply, strlen(reply));
  if (st == ZK_OK) st = fits ? go_on(c, at, tokens.ids, (int32_t)tokens.num_tokens) : end(c, at);
  free(text);
  zk_tokens_free(&tokens);
  return st;
}

zk_status zk_collect_answered(zk_collection *c, const zk_verdict *v) {
  const zk_config *cfg = &c->session->config;
  const int64_t samples = c->request->samples_per_prompt;
  const place at = place_of(c, (int64_t)v->tag / samples, (int32_t)((int64_t)v->tag % samples));
  if (v->reply) return replied(c, &at, v->reply);
  if (v->status != ZK_ANSWER_GIVEN && cfg->command.on_error == ZK_CONFIG_COMMAND_STOP)
    return ZK_FAIL(ZK_IO, "step %u, prompt %llu of the step, sample %d: no answer of command.run after %d tries: %s. Mend it, raise command.timeout_s, or go on without "
                   "such answers with command.on_error: zero", c->request->step, (unsigned long long)at.slot, at.sample, 1 + cfg->command.retries, v->why);
  return finish(c, &at, v->component, v->status);
}
