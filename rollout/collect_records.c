// Putting a step together: records of all ranks, in whatever order they were finished, into (prompt, sample) order.
#include <stdlib.h>
#include <string.h>

#include "rollout/collect_impl.h"
#include "shared/log.h"

zk_status zk_record_append(zk_record_buffer *b, const void *data, size_t bytes) {
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

static size_t record_bytes(const zk_record *r) {
  return sizeof *r + ((size_t)r->num_prompt_tokens + 3 * (size_t)r->num_tokens) * sizeof(int32_t) + (size_t)r->num_tokens;
}

// Sorts pointers to all records by (slot, sample): every pair occurs once, so an index is a position.
static zk_status order_records(const zk_collect_request *q, const char *bytes, size_t total, const char **at) {
  int64_t expected = (int64_t)q->num_prompts * q->samples_per_prompt, seen = 0;
  for (size_t used = 0; used < total; seen++) {
    zk_record r;
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
    zk_record r;
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
    zk_record r;
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
    memcpy(t->loss_mask + first, data + 3 * (size_t)r.num_tokens * sizeof(int32_t), (size_t)r.num_tokens);
    t->sample_offsets[i + 1] = first + r.num_tokens;
    t->prompt_index[i] = r.slot, t->sample_index[i] = r.sample;
    t->reward[i] = r.reward, t->finish_reason[i] = (uint8_t)r.finish, t->finish_detail[i] = r.finish_detail;
    t->reward_detail[i] = (uint8_t)r.reward_detail;
    for (int32_t k = 0; k < t->num_components; k++) t->reward_component[i * t->num_components + k] = r.component[k];
  }
  return ZK_OK;
}

// One line for a person: how many went wrong, and the first of them.
static void warn_of_errors(const zk_session *s, const zk_collect_request *q, const zk_trajectory *t) {
  int64_t num = 0, first = 0;
  for (int64_t i = t->num_samples - 1; i >= 0; i--)
    if (zk_finish_is_error(t->finish_reason[i])) num++, first = i;
  if (!num || zk_comm_rank(s->comm) != 0) return;
  const int32_t p = t->prompt_index[first], layers = s->policy.config.num_layers;
  const long long tokens = (long long)(t->sample_offsets[first + 1] - t->sample_offsets[first]);
  if (t->finish_reason[first] == ZK_FINISH_PROMPT)
    ZK_LOG(WARN, "rollout", "step %u: %lld of %lld samples have a prompt that does not fit; first: prompt %llu, %lld tokens, where the model's context of "
           "%d leaves room for 1 to %d", q->step, (long long)num, (long long)t->num_samples, (unsigned long long)t->prompt_id[p],
           (long long)(t->prompt_offsets[p + 1] - t->prompt_offsets[p]), s->policy.num_positions, s->policy.num_positions - 1);
  else
    ZK_LOG(WARN, "rollout", "step %u: %lld of %lld samples went wrong; first: prompt %llu, sample %d, position %lld: the logits are not finite, first in %s",
           q->step, (long long)num, (long long)t->num_samples, (unsigned long long)t->prompt_id[p], t->sample_index[first], tokens,
           zk_finish_detail_text(t->finish_detail[first], layers).s);
}

// The same of samples that a program gave no answer for.
static void warn_of_missing(const zk_session *s, const zk_collect_request *q, const zk_trajectory *t) {
  int64_t num = 0, first = 0;
  for (int64_t i = t->num_samples - 1; i >= 0; i--)
    if (t->reward_detail[i]) num++, first = i;
  if (num && zk_comm_rank(s->comm) == 0)
    ZK_LOG(WARN, "rollout", "step %u: command.run gave no answer for %lld of %lld samples, %s; first: prompt %llu, sample %d: %s", q->step, (long long)num,
           (long long)t->num_samples, zk_task_asks_for_rewards(s->task) ? "whose rewards by it count as 0" : "which end there, and are graded as they stand",
           (unsigned long long)t->prompt_id[t->prompt_index[first]], t->sample_index[first], zk_reward_detail_text(t->reward_detail[first]));
}

zk_status zk_collect_gather(const zk_session *s, const zk_collect_request *q, const zk_record_buffer *records, zk_trajectory *out) {
  void *all = NULL;
  size_t *offsets = NULL;
  zk_status st = zk_comm_all_gather(s->comm, records->bytes, records->used, &all, &offsets);
  const char **at = calloc((size_t)q->num_prompts * (size_t)q->samples_per_prompt + 1, sizeof *at);
  if (st == ZK_OK && !at) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the step's records");
  if (st == ZK_OK) st = order_records(q, all, offsets[zk_comm_size(s->comm)], at);
  if (st == ZK_OK) st = assemble(s, q, at, out);
  if (st == ZK_OK) warn_of_errors(s, q, out);
  if (st == ZK_OK) warn_of_missing(s, q, out);
  free(at);
  free(all);
  free(offsets);
  return st;
}
