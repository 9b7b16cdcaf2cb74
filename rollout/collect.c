// Hand out, sample, take what is finished or answered, gather.
#include "rollout/collect.h"

#include <stdlib.h>
#include <string.h>

#include "rollout/collect_impl.h"
#include "rollout/deal.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/watch.h"

enum { WAIT_MS = 20 }; // for a program's answers, when there is nothing to sample

static zk_status submit(zk_collection *c, int64_t slot) {
  zk_session *s = c->session;
  zk_task_item item;
  ZK_TRY(zk_collect_item(c, slot, &item));
  zk_tokens *tokens = &c->prompts[slot];
  zk_status st = zk_task_encode_prompt(s->task, s->tokenizer, s->chat, &item, tokens);
  zk_request r = {.tag = (uint64_t)slot, .step = c->request->step, .prompt_id = item.prompt_id, .prompt = tokens->ids,
                  .num_prompt = (int32_t)tokens->num_tokens, .num_samples = c->request->samples_per_prompt};
  if (st == ZK_OK) st = zk_engine_submit(c->engine, &r);
  zk_task_item_free(&item);
  return st;
}

static uint64_t length_of(const zk_task_item *item) {
  uint64_t bytes = item->text ? strlen(item->text) : 0;
  for (size_t i = 0; i < item->num_messages && !item->text; i++) bytes += strlen(item->messages[i].content);
  return bytes;
}

// Every worker for itself, and all alike: an order where each has room for its share at once, and the share is whole pairs or some of them.
static zk_status deal(zk_collection *c) {
  const zk_collect_request *q = c->request;
  const int64_t n = q->num_prompts, ranks = zk_comm_size(c->session->comm), samples = (n + ranks - 1) / ranks * q->samples_per_prompt;
  if (ranks == 1 || (n % (2 * ranks) && n < 6 * ranks) || samples > c->session->config.rollout.max_batch) return ZK_OK;
  uint64_t *lengths = calloc((size_t)n, sizeof *lengths);
  c->order = malloc((size_t)n * sizeof *c->order);
  zk_status st = lengths && c->order ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the order of %lld prompts", (long long)n);
  for (int64_t i = 0; i < n && st == ZK_OK; i++) {
    zk_task_item item;
    st = zk_collect_item(c, i, &item);
    if (st != ZK_OK) break;
    lengths[i] = length_of(&item);
    zk_task_item_free(&item);
  }
  if (st == ZK_OK) st = zk_deal_pairs((int32_t)n, lengths, c->order);
  free(lengths);
  return st;
}

// What the shared counter's next number stands for.
static zk_status take_prompts(zk_collection *c) {
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
static zk_status refill(zk_collection *c) {
  const zk_collect_request *q = c->request;
  const int64_t ranks = zk_comm_size(c->session->comm), share = (q->num_prompts + ranks - 1) / ranks * q->samples_per_prompt;
  while (!c->exhausted && zk_engine_num_open(c->engine) < share &&
         (zk_engine_num_waiting(c->engine) < q->samples_per_prompt || zk_engine_has_room(c->engine)))
    ZK_TRY(take_prompts(c));
  return ZK_OK;
}

static zk_status take_finished(zk_collection *c) {
  zk_completion done;
  while (zk_engine_take(c->engine, &done)) {
    double start = zk_clock_s();
    zk_status st = zk_collect_turn_ended(c, &done);
    zk_completion_free(&done);
    c->stats->reward_s += zk_clock_s() - start;
    if (st != ZK_OK) return st;
  }
  return ZK_OK;
}

static zk_status take_answers(zk_collection *c) {
  zk_judge *judge = c->session->judge;
  if (!judge || !zk_judge_num_open(judge)) return ZK_OK;
  const double start = zk_clock_s();
  zk_verdict v;
  ZK_TRY(zk_judge_poll(judge, zk_engine_num_open(c->engine) ? 0 : WAIT_MS));
  for (;;) {
    bool found;
    ZK_TRY(zk_judge_take(judge, &v, &found));
    if (!found) break;
    zk_status st = zk_collect_answered(c, &v);
    free(v.reply);
    if (st != ZK_OK) return st;
  }
  c->stats->reward_s += zk_clock_s() - start;
  return ZK_OK;
}

static bool is_waiting(const zk_collection *c) { return c->session->judge && zk_judge_num_open(c->session->judge); }

static zk_status sample_all(zk_collection *c) {
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

static zk_status open_parts(zk_collection *c) {
  const size_t prompts = (size_t)c->request->num_prompts;
  zk_session *s = c->session;
  c->prompts = calloc(prompts + 1, sizeof *c->prompts);
  c->dialogues = calloc(prompts * (size_t)c->request->samples_per_prompt + 1, sizeof *c->dialogues);
  if (!c->prompts || !c->dialogues) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %zu prompts", prompts);
  const bool asks = zk_task_asks(s->task) && !c->request->recorded;
  if (asks && !s->judge) ZK_TRY(zk_judge_open(&s->config, s->task, &s->judge));
  return deal(c);
}

static void close_parts(zk_collection *c) {
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
  zk_collection c = {.session = session, .engine = engine, .request = request, .stats = stats};
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
