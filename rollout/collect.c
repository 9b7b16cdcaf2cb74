// Hand out, sample, reward, gather, order.
#include "rollout/collect.h"

#include <stdlib.h>
#include <string.h>

#include "rollout/deal.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/watch.h"

// What one rank has to tell of one finished sample; bytes follow: prompt tokens (of sample 0 only), tokens, logprobs, log-sum-exps.
typedef struct {
  int32_t slot, sample, num_prompt_tokens, num_tokens, finish, finish_detail;
  uint32_t prompt_id;
  float reward, component[ZK_REWARD_MAX_COMPONENTS];
} record;

typedef struct {
  char *bytes;
  size_t used, capacity;
} record_buffer;

static zk_status append(record_buffer *b, const void *data, size_t bytes) {
  if (b->used + bytes > b->capacity) {
    size_t capacity = 2 * (b->used + bytes) + 4096;
    char *grown = realloc(b->bytes, capacity);
    if (!grown) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %zu bytes of completions", capacity);
    b->bytes = grown, b->capacity = capacity;
  }
  if (bytes) memcpy(b->bytes + b->used, data, bytes);
  b->used += bytes;
  return ZK_OK;
}

typedef struct {
  zk_session *session;
  zk_engine *engine;
  const zk_collect_request *request;
  zk_collect_stats *stats;
  record_buffer records;
  zk_tokens *prompts; // [num_prompts], this rank's
  int32_t *order;     // [num_prompts] in which they are handed out, two at a time; NULL: as they come, one by one
  bool exhausted;
  int64_t finished;
} collection;

static zk_status submit(collection *c, int64_t slot) {
  zk_session *s = c->session;
  zk_task_item item;
  ZK_TRY(zk_task_get(s->task, c->request->split, c->request->first_index + (uint64_t)slot, &item));
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
    st = zk_task_get(c->session->task, q->split, q->first_index + (uint64_t)i, &item);
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

// Takes prompts from the shared counter while the engine has few waiting: enough to keep its batch full, not more, so that what is
// left goes to whoever is free; and while it has less open than its even share, which an engine with room for all would take from the others.
static zk_status refill(collection *c) {
  const zk_collect_request *q = c->request;
  const int64_t ranks = zk_comm_size(c->session->comm), share = (q->num_prompts + ranks - 1) / ranks * q->samples_per_prompt;
  while (!c->exhausted && zk_engine_num_waiting(c->engine) < q->samples_per_prompt && zk_engine_num_open(c->engine) < share)
    ZK_TRY(take_prompts(c));
  return ZK_OK;
}

static zk_status reward(collection *c, const zk_completion *done, record *r) {
  zk_session *s = c->session;
  zk_task_item item;
  ZK_TRY(zk_task_get(s->task, c->request->split, c->request->first_index + done->tag, &item));
  r->prompt_id = item.prompt_id;
  if (zk_finish_is_error(done->finish)) {
    zk_task_item_free(&item);
    return ZK_OK;
  }
  char *text = NULL;
  size_t bytes = 0;
  zk_status st = zk_tokenizer_decode(s->tokenizer, done->tokens, (size_t)done->num_tokens, 1, &text, &bytes);
  zk_reward value = {0};
  if (st == ZK_OK) zk_task_reward(s->task, &item, text, bytes, &value);
  r->reward = value.total;
  memcpy(r->component, value.component, sizeof r->component);
  free(text);
  zk_task_item_free(&item);
  return st;
}

static zk_status take_finished(collection *c) {
  zk_completion done;
  while (zk_engine_take(c->engine, &done)) {
    double start = zk_clock_s();
    const zk_tokens *prompt = &c->prompts[done.tag];
    record r = {.slot = (int32_t)done.tag, .sample = done.sample, .num_prompt_tokens = done.sample == 0 ? (int32_t)prompt->num_tokens : 0,
                .num_tokens = done.num_tokens, .finish = (int32_t)done.finish, .finish_detail = done.finish_detail};
    zk_status st = reward(c, &done, &r);
    if (st == ZK_OK) st = append(&c->records, &r, sizeof r);
    if (st == ZK_OK) st = append(&c->records, prompt->ids, (size_t)r.num_prompt_tokens * sizeof(int32_t));
    if (st == ZK_OK) st = append(&c->records, done.tokens, (size_t)done.num_tokens * sizeof(int32_t));
    if (st == ZK_OK) st = append(&c->records, done.logprob, (size_t)done.num_tokens * sizeof(float));
    if (st == ZK_OK) st = append(&c->records, done.lse, (size_t)done.num_tokens * sizeof(float));
    c->stats->generated_tokens += (uint64_t)done.num_tokens;
    zk_completion_free(&done);
    c->stats->reward_s += zk_clock_s() - start;
    c->finished++;
    if (st != ZK_OK) return st;
  }
  return ZK_OK;
}

static zk_status sample_all(collection *c) {
  int rank;
  while (!c->exhausted || zk_engine_num_open(c->engine)) {
    if (c->request->may_stop && zk_watch_stop(&rank)) return ZK_FAIL(ZK_INTERRUPTED, "step %u was dropped while sampling", c->request->step);
    ZK_TRY(refill(c));
    ZK_TRY(zk_engine_step(c->engine));
    zk_comm_counter_progress(c->session->comm);
    ZK_TRY(take_finished(c));
    if (zk_comm_size(c->session->comm) == 1)
      zk_progress_update(c->request->what, (long)c->finished, (long)c->request->num_prompts * c->request->samples_per_prompt, "samples");
    else zk_progress_update(c->request->what, (long)c->finished, 0, "samples on rank 0");
  }
  return ZK_OK;
}

// ---- putting a step together -------------------------------------------------------------------------------------------------

static size_t record_bytes(const record *r) {
  return sizeof *r + ((size_t)r->num_prompt_tokens + 3 * (size_t)r->num_tokens) * sizeof(int32_t);
}

// Sorts pointers to all records by (slot, sample): every pair occurs once, so an index is a position.
static zk_status order_records(const zk_collect_request *q, const char *bytes, size_t total, const char **at) {
  int64_t expected = (int64_t)q->num_prompts * q->samples_per_prompt, seen = 0;
  for (size_t used = 0; used < total; seen++) {
    record r;
    memcpy(&r, bytes + used, sizeof r);
    int64_t i = (int64_t)r.slot * q->samples_per_prompt + r.sample;
    if (i < 0 || i >= expected || at[i]) return ZK_FAIL(ZK_INTERNAL, "prompt slot %d, sample %d was sampled twice", r.slot, r.sample);
    at[i] = bytes + used;
    used += record_bytes(&r);
  }
  return seen == expected ? ZK_OK : ZK_FAIL(ZK_INTERNAL, "%lld of %lld samples came back", (long long)seen, (long long)expected);
}

static zk_status allocate_step(const zk_session *s, const zk_collect_request *q, const char **at, zk_trajectory *t) {
  int64_t num_samples = (int64_t)q->num_prompts * q->samples_per_prompt, prompt_tokens = 0, tokens = 0;
  for (int64_t i = 0; i < num_samples; i++) {
    record r;
    memcpy(&r, at[i], sizeof r);
    prompt_tokens += r.num_prompt_tokens, tokens += r.num_tokens;
  }
  int components = zk_task_num_components(s->task);
  ZK_TRY(zk_trajectory_alloc(t, q->num_prompts, prompt_tokens, num_samples, tokens, components));
  t->sampler_lse = calloc((size_t)tokens + 1, sizeof *t->sampler_lse);
  if (!t->sampler_lse) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %lld tokens", (long long)tokens);
  for (int i = 0; i < components; i++)
    if (!(t->component_names[i] = strdup(zk_task_component(s->task, i)))) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a name");
  return ZK_OK;
}

static zk_status assemble(const zk_session *s, const zk_collect_request *q, const char **at, zk_trajectory *t) {
  ZK_TRY(allocate_step(s, q, at, t));
  for (int64_t i = 0; i < t->num_samples; i++) {
    record r;
    memcpy(&r, at[i], sizeof r);
    const char *data = at[i] + sizeof r;
    if (r.sample == 0) {
      int64_t first = t->prompt_offsets[r.slot];
      t->prompt_id[r.slot] = r.prompt_id;
      memcpy(t->prompt_tokens + first, data, (size_t)r.num_prompt_tokens * sizeof(int32_t));
      t->prompt_offsets[r.slot + 1] = first + r.num_prompt_tokens;
    }
    data += (size_t)r.num_prompt_tokens * sizeof(int32_t);
    int64_t first = t->sample_offsets[i];
    memcpy(t->sample_tokens + first, data, (size_t)r.num_tokens * sizeof(int32_t));
    memcpy(t->sampler_logprob + first, data + (size_t)r.num_tokens * sizeof(int32_t), (size_t)r.num_tokens * sizeof(float));
    memcpy(t->sampler_lse + first, data + 2 * (size_t)r.num_tokens * sizeof(int32_t), (size_t)r.num_tokens * sizeof(float));
    t->sample_offsets[i + 1] = first + r.num_tokens;
    t->prompt_index[i] = r.slot, t->sample_index[i] = r.sample;
    t->reward[i] = r.reward, t->finish_reason[i] = (uint8_t)r.finish, t->finish_detail[i] = r.finish_detail;
    for (int32_t k = 0; k < t->num_components; k++) t->reward_component[i * t->num_components + k] = r.component[k];
  }
  return ZK_OK;
}

// One line for a person: how many went wrong, and the first of them.
static void warn_of_errors(const collection *c, const zk_trajectory *t) {
  int64_t num = 0, first = 0;
  for (int64_t i = t->num_samples - 1; i >= 0; i--)
    if (zk_finish_is_error(t->finish_reason[i])) num++, first = i;
  if (!num || zk_comm_rank(c->session->comm) != 0) return;
  const int32_t p = t->prompt_index[first], layers = c->session->policy.config.num_layers;
  const long long tokens = (long long)(t->sample_offsets[first + 1] - t->sample_offsets[first]);
  if (t->finish_reason[first] == ZK_FINISH_PROMPT)
    ZK_LOG(WARN, "rollout", "step %u: %lld of %lld samples have a prompt that does not fit; first: prompt %llu, %lld tokens, where the model's context of "
           "%d leaves room for 1 to %d", c->request->step, (long long)num, (long long)t->num_samples, (unsigned long long)t->prompt_id[p],
           (long long)(t->prompt_offsets[p + 1] - t->prompt_offsets[p]), c->session->policy.num_positions, c->session->policy.num_positions - 1);
  else
    ZK_LOG(WARN, "rollout", "step %u: %lld of %lld samples went wrong; first: prompt %llu, sample %d, position %lld: the logits are not finite, first in %s",
           c->request->step, (long long)num, (long long)t->num_samples, (unsigned long long)t->prompt_id[p], t->sample_index[first], tokens,
           zk_finish_detail_text(t->finish_detail[first], layers).s);
}

static zk_status gather(collection *c, zk_trajectory *out) {
  const zk_collect_request *q = c->request;
  void *all = NULL;
  size_t *offsets = NULL;
  zk_status st = zk_comm_all_gather(c->session->comm, c->records.bytes, c->records.used, &all, &offsets);
  const char **at = calloc((size_t)q->num_prompts * (size_t)q->samples_per_prompt + 1, sizeof *at);
  if (st == ZK_OK && !at) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the step's records");
  if (st == ZK_OK) st = order_records(q, all, offsets[zk_comm_size(c->session->comm)], at);
  if (st == ZK_OK) st = assemble(c->session, q, at, out);
  if (st == ZK_OK) warn_of_errors(c, out);
  free(at);
  free(all);
  free(offsets);
  return st;
}

zk_status zk_collect(zk_session *session, zk_engine *engine, const zk_collect_request *request, zk_trajectory *out, zk_collect_stats *stats) {
  memset(out, 0, sizeof *out);
  memset(stats, 0, sizeof *stats);
  double start = zk_clock_s();
  zk_engine_stats before, after;
  zk_engine_get_stats(engine, &before);
  collection c = {.session = session, .engine = engine, .request = request, .stats = stats};
  ZK_TRY(zk_comm_counter_reset(session->comm));
  c.prompts = calloc((size_t)request->num_prompts, sizeof *c.prompts);
  zk_status st = zk_comm_agree(session->comm, c.prompts ? deal(&c) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %d prompts", request->num_prompts));
  if (st == ZK_OK) st = sample_all(&c);
  zk_progress_end();
  const double sampled_s = zk_clock_s() - start;
  st = zk_comm_agree(session->comm, st);
  if (st == ZK_OK) st = zk_comm_balance(session->comm, sampled_s, &stats->balance);
  if (st == ZK_OK) st = gather(&c, out);
  zk_engine_get_stats(engine, &after);
  uint64_t speculation[] = {after.drafted - before.drafted, after.accepted - before.accepted};
  if (st == ZK_OK && session->config.rollout.speculate) st = zk_comm_sum_u64(session->comm, speculation, 2);
  stats->drafted = speculation[0], stats->accepted = speculation[1];
  stats->rollout_s = zk_clock_s() - start - stats->reward_s;
  for (int32_t i = 0; c.prompts && i < request->num_prompts; i++) zk_tokens_free(&c.prompts[i]);
  free(c.prompts);
  free(c.order);
  free(c.records.bytes);
  return st;
}

void zk_collect_put_speculation(const zk_config *config, const zk_collect_stats *stats, zk_metrics_line *line) {
  if (!config->rollout.speculate) return;
  zk_metrics_put_int(line, "speculation/drafted", (int64_t)stats->drafted);
  zk_metrics_put_int(line, "speculation/accepted", (int64_t)stats->accepted);
}
