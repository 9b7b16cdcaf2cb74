// Hand out, sample, reward or reply, gather, order.
#include "rollout/collect.h"

#include <stdlib.h>
#include <string.h>

#include "rollout/collect_impl.h"
#include "rollout/deal.h"
#include "rollout/dialogue.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/watch.h"

enum { WAIT_MS = 20 }; // for a program's answers, when there is nothing to sample

typedef struct {
  zk_session *session;
  zk_engine *engine;
  const zk_collect_request *request;
  zk_collect_stats *stats;
  zk_record_buffer records;
  zk_tokens *prompts;     // [num_prompts], this rank's
  zk_dialogue *dialogues; // [num_prompts x samples_per_prompt], this rank's
  int32_t *order;         // [num_prompts] in which they are handed out, two at a time; NULL: as they come, one by one
  bool exhausted;
  int64_t finished;
} collection;

static zk_status item_of(const collection *c, int64_t slot, zk_task_item *item) {
  const zk_collect_request *q = c->request;
  return q->recorded ? zk_task_get_by_id(c->session->task, q->prompt_ids[slot], item) : zk_task_get(c->session->task, q->split, q->first_index + (uint64_t)slot, item);
}

static zk_status submit(collection *c, int64_t slot) {
  zk_session *s = c->session;
  zk_task_item item;
  ZK_TRY(item_of(c, slot, &item));
  zk_tokens *tokens = &c->prompts[slot];
  zk_status st = zk_task_encode_prompt(s->task, s->tokenizer, s->chat, &item, tokens);
  zk_request r = {.tag = (uint64_t)slot, .step = c->request->step, .prompt_id = item.prompt_id, .prompt = tokens->ids,
                  .num_prompt = (int32_t)tokens->num_tokens, .num_samples = c->request->samples_per_prompt};
  if (st == ZK_OK) st = zk_engine_submit(c->engine, &r);
  c->stats->prompt_tokens += tokens->num_tokens;
  zk_task_item_free(&item);
  return st;
}

static uint64_t length_of(const zk_task_item *item) {
  uint64_t bytes = item->text ? strlen(item->text) : 0;
  for (size_t i = 0; i < item->num_messages && !item->text; i++) bytes += strlen(item->messages[i].content);
  return bytes;
}

// Every worker for itself, and all alike: an order where each has room for its share at once, and the share is whole pairs or some of them.
static zk_status deal(collection *c) {
  const zk_collect_request *q = c->request;
  const int64_t n = q->num_prompts, ranks = zk_comm_size(c->session->comm), samples = (n + ranks - 1) / ranks * q->samples_per_prompt;
  if (ranks == 1 || (n % (2 * ranks) && n < 6 * ranks) || samples > c->session->config.rollout.max_batch) return ZK_OK;
  uint64_t *lengths = calloc((size_t)n, sizeof *lengths);
  c->order = malloc((size_t)n * sizeof *c->order);
  zk_status st = lengths && c->order ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the order of %lld prompts", (long long)n);
  for (int64_t i = 0; i < n && st == ZK_OK; i++) {
    zk_task_item item;
    st = item_of(c, i, &item);
    if (st != ZK_OK) break;
    lengths[i] = length_of(&item);
    zk_task_item_free(&item);
  }
  if (st == ZK_OK) st = zk_deal_pairs((int32_t)n, lengths, c->order);
  free(lengths);
  return st;
}

// What the shared counter's next number stands for.
static zk_status take_prompts(collection *c) {
  const int64_t n = c->request->num_prompts;
  int64_t ticket = 0;
  ZK_TRY(zk_comm_counter_next(c->session->comm, &ticket));
  if (!c->order) {
    c->exhausted = ticket >= n;
    return c->exhausted ? ZK_OK : submit(c, ticket);
  }
  c->exhausted = 2 * ticket >= n;
  for (int64_t i = 2 * ticket; i < n && i < 2 * ticket + 2; i++) ZK_TRY(submit(c, c->order[i]));
  return ZK_OK;
}

// Takes prompts from the shared counter while the engine has few waiting, or room for more: enough to keep its batch full, not more, so that what is
// left goes to whoever is free; and while it has less open than its even share, which an engine with room for all would take from the others.
static zk_status refill(collection *c) {
  const zk_collect_request *q = c->request;
  const int64_t ranks = zk_comm_size(c->session->comm), share = (q->num_prompts + ranks - 1) / ranks * q->samples_per_prompt;
  while (!c->exhausted && zk_engine_num_open(c->engine) < share &&
         (zk_engine_num_waiting(c->engine) < q->samples_per_prompt || zk_engine_has_room(c->engine)))
    ZK_TRY(take_prompts(c));
  return ZK_OK;
}

// ---- a turn has ended -----------------------------------------------------------------------------------------------

typedef struct {
  int64_t slot;
  int32_t sample;
  zk_dialogue *dialogue;
  const zk_tokens *prompt;
} place;

static place place_of(const collection *c, int64_t slot, int32_t sample) {
  return (place){slot, sample, &c->dialogues[slot * c->request->samples_per_prompt + sample], &c->prompts[slot]};
}

// What the policy said in the last turn, to free.
static zk_status text_of(const collection *c, const zk_dialogue *d, char **text, size_t *bytes) {
  int32_t end = d->turn_start;
  while (end < d->num_tokens && d->mask[end]) end++;
  return zk_tokenizer_decode(c->session->tokenizer, d->tokens + d->turn_start, (size_t)(end - d->turn_start), 1, text, bytes);
}

// The sample's reward: built-in graders look at its last turn; `recorded` are the components that a program gave, NULL: none.
static zk_status reward(collection *c, const place *at, const zk_task_item *item, const float *recorded, zk_record *r) {
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
static zk_status finish(collection *c, const place *at, const float *recorded, zk_answer_status detail) {
  zk_dialogue *d = at->dialogue;
  const size_t n = (size_t)d->num_tokens;
  zk_task_item item;
  ZK_TRY(item_of(c, at->slot, &item));
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
static zk_status go_on(collection *c, const place *at, const int32_t *tokens, int32_t num_tokens) {
  zk_dialogue *d = at->dialogue;
  ZK_TRY(zk_dialogue_add_reply(d, tokens, num_tokens));
  zk_task_item item;
  ZK_TRY(item_of(c, at->slot, &item));
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
static bool may_go_on(const collection *c, const zk_dialogue *d) {
  const zk_session *s = c->session;
  if (d->turn >= s->config.command.turns || d->num_tokens == 0) return false;
  const char *end = zk_chat_end_of_turn(s->chat);
  return d->finish == ZK_FINISH_STOP || (d->finish == ZK_FINISH_EOS && end && d->tokens[d->num_tokens - 1] == zk_tokenizer_find(s->tokenizer, end));
}

static zk_status ask(collection *c, const place *at, bool last) {
  zk_task_item item;
  char *text = NULL;
  size_t bytes = 0;
  ZK_TRY(item_of(c, at->slot, &item));
  zk_status st = text_of(c, at->dialogue, &text, &bytes);
  const zk_judge_turn turn = {.tag = (uint64_t)(at->dialogue - c->dialogues), .step = c->request->step, .sample = at->sample, .turn = at->dialogue->turn,
                              .last = last, .text = text, .num_bytes = bytes, .finish = at->dialogue->finish, .history = at->dialogue->history};
  if (st == ZK_OK) st = zk_judge_ask(c->session->judge, &item, &turn);
  free(text);
  zk_task_item_free(&item);
  return st;
}

// Nothing more will be sampled: what is it worth?
static zk_status end(collection *c, const place *at) {
  return zk_task_asks_for_rewards(c->session->task) ? ask(c, at, true) : finish(c, at, NULL, ZK_ANSWER_GIVEN);
}

// With recorded replies: the one that stands behind the turn, if any.
static zk_status replay(collection *c, const place *at) {
  const zk_trajectory *t = c->request->recorded;
  const int64_t i = at->slot * c->request->samples_per_prompt + at->sample, begin = t->sample_offsets[i] + at->dialogue->num_tokens;
  int64_t behind = begin;
  while (behind < t->sample_offsets[i + 1] && !t->loss_mask[behind]) behind++;
  if (behind > begin && behind < t->sample_offsets[i + 1]) return go_on(c, at, t->sample_tokens + begin, (int32_t)(behind - begin));
  return finish(c, at, t->reward_component + i * t->num_components, (zk_answer_status)t->reward_detail[i]);
}

static zk_status turn_ended(collection *c, const zk_completion *done) {
  const place at = place_of(c, (int64_t)done->tag, done->sample);
  ZK_TRY(zk_dialogue_add_turn(at.dialogue, done));
  if (zk_finish_is_error(done->finish)) return finish(c, &at, NULL, ZK_ANSWER_GIVEN);
  if (c->request->recorded) return replay(c, &at);
  return may_go_on(c, at.dialogue) ? ask(c, &at, false) : end(c, &at);
}

static zk_status take_finished(collection *c) {
  zk_completion done;
  while (zk_engine_take(c->engine, &done)) {
    double start = zk_clock_s();
    c->stats->generated_tokens += (uint64_t)done.num_tokens;
    zk_status st = turn_ended(c, &done);
    zk_completion_free(&done);
    c->stats->reward_s += zk_clock_s() - start;
    if (st != ZK_OK) return st;
  }
  return ZK_OK;
}

// ---- a program has answered -----------------------------------------------------------------------------------------

static zk_status encode_reply(const collection *c, const zk_dialogue *d, const char *reply, zk_tokens *out) {
  const zk_session *s = c->session;
  // Behind a stop text the turn is still open: the reply is text in it.
  return zk_chat_encode_reply(s->tokenizer, d->finish == ZK_FINISH_STOP ? ZK_CHAT_NONE : s->chat, reply, strlen(reply), out);
}

// The reply, if there is room behind it for a token; without room the sample has ended where it did.
static zk_status replied(collection *c, const place *at, const char *reply) {
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

static zk_status answered(collection *c, const zk_verdict *v) {
  const zk_config *cfg = &c->session->config;
  const int64_t samples = c->request->samples_per_prompt;
  const place at = place_of(c, (int64_t)v->tag / samples, (int32_t)((int64_t)v->tag % samples));
  if (v->reply) return replied(c, &at, v->reply);
  if (v->status != ZK_ANSWER_GIVEN && cfg->command.on_error == ZK_CONFIG_COMMAND_STOP)
    return ZK_FAIL(ZK_IO, "step %u, prompt %llu of the step, sample %d: no answer of command.run after %d tries: %s. Mend it, raise command.timeout_s, or go on without "
                   "such answers with command.on_error: zero", c->request->step, (unsigned long long)at.slot, at.sample, 1 + cfg->command.retries, v->why);
  return finish(c, &at, v->component, v->status);
}

static zk_status take_answers(collection *c) {
  zk_judge *judge = c->session->judge;
  if (!judge || !zk_judge_num_open(judge)) return ZK_OK;
  const double start = zk_clock_s();
  zk_verdict v;
  ZK_TRY(zk_judge_poll(judge, zk_engine_num_open(c->engine) ? 0 : WAIT_MS));
  while (zk_judge_take(judge, &v)) {
    zk_status st = answered(c, &v);
    free(v.reply);
    if (st != ZK_OK) return st;
  }
  c->stats->reward_s += zk_clock_s() - start;
  return ZK_OK;
}

static bool is_waiting(const collection *c) { return c->session->judge && zk_judge_num_open(c->session->judge); }

static zk_status sample_all(collection *c) {
  int rank;
  while (!c->exhausted || zk_engine_num_open(c->engine) || is_waiting(c)) {
    if (c->request->may_stop && zk_watch_stop(&rank)) return ZK_FAIL(ZK_INTERRUPTED, "step %u was dropped while sampling", c->request->step);
    ZK_TRY(refill(c));
    ZK_TRY(zk_engine_step(c->engine));
    zk_comm_counter_progress(c->session->comm);
    ZK_TRY(take_finished(c));
    ZK_TRY(take_answers(c));
    if (zk_comm_size(c->session->comm) == 1)
      zk_progress_update(c->request->what, (long)c->finished, (long)c->request->num_prompts * c->request->samples_per_prompt, "samples");
    else zk_progress_update(c->request->what, (long)c->finished, 0, "samples on rank 0");
  }
  return ZK_OK;
}

static zk_status open_parts(collection *c) {
  const size_t prompts = (size_t)c->request->num_prompts;
  zk_session *s = c->session;
  c->prompts = calloc(prompts + 1, sizeof *c->prompts);
  c->dialogues = calloc(prompts * (size_t)c->request->samples_per_prompt + 1, sizeof *c->dialogues);
  if (!c->prompts || !c->dialogues) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %zu prompts", prompts);
  const bool asks = zk_task_asks(s->task) && !c->request->recorded;
  if (asks && !s->judge) ZK_TRY(zk_judge_open(&s->config, s->task, &s->judge));
  return deal(c);
}

static void close_parts(collection *c) {
  const int64_t prompts = c->request->num_prompts, samples = prompts * c->request->samples_per_prompt;
  if (c->session->judge) zk_judge_cancel(c->session->judge); // of a step that was dropped
  for (int64_t i = 0; c->dialogues && i < samples; i++) zk_dialogue_free(&c->dialogues[i]);
  for (int64_t i = 0; c->prompts && i < prompts; i++) zk_tokens_free(&c->prompts[i]);
  free(c->dialogues);
  free(c->prompts);
  free(c->order);
  free(c->records.bytes);
}

zk_status zk_collect(zk_session *session, zk_engine *engine, const zk_collect_request *request, zk_trajectory *out, zk_collect_stats *stats) {
  memset(out, 0, sizeof *out);
  memset(stats, 0, sizeof *stats);
  double start = zk_clock_s();
  zk_engine_stats before, after;
  zk_engine_get_stats(engine, &before);
  collection c = {.session = session, .engine = engine, .request = request, .stats = stats};
  ZK_TRY(zk_comm_counter_reset(session->comm));
  zk_status st = zk_comm_agree(session->comm, open_parts(&c));
  if (st == ZK_OK) st = sample_all(&c);
  zk_progress_end();
  const double sampled_s = zk_clock_s() - start;
  st = zk_comm_agree(session->comm, st);
  if (st == ZK_OK) st = zk_comm_balance(session->comm, sampled_s, &stats->balance);
  if (st == ZK_OK) st = zk_collect_gather(session, request, &c.records, out);
  zk_engine_get_stats(engine, &after);
  uint64_t speculation[] = {after.drafted - before.drafted, after.accepted - before.accepted};
  if (st == ZK_OK && session->config.rollout.speculate) st = zk_comm_sum_u64(session->comm, speculation, 2);
  stats->drafted = speculation[0], stats->accepted = speculation[1];
  stats->rollout_s = zk_clock_s() - start - stats->reward_s;
  close_parts(&c);
  return st;
}

void zk_collect_put_speculation(const zk_config *config, const zk_collect_stats *stats, zk_metrics_line *line) {
  if (!config->rollout.speculate) return;
  zk_metrics_put_int(line, "speculation/drafted", (int64_t)stats->drafted);
  zk_metrics_put_int(line, "speculation/accepted", (int64_t)stats->accepted);
}
