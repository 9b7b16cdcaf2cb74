// The engine's life: memory, requests in, completions out.
#include "rollout/engine.h"

#include <stdlib.h>
#include <string.h>

#include "rollout/engine_impl.h"
#include "shared/log.h"

#define USUAL_PROMPT_TOKENS 512

void zk_sequence_free(zk_sequence *seq) {
  if (!seq) return;
  free(seq->tokens);
  free(seq->pages);
  free(seq->drawn);
  free(seq->logprob);
  free(seq->lse);
  free(seq->logits_hash);
  free(seq->text);
  zk_gram_index_free(&seq->grams);
  free(seq);
}

void zk_completion_free(zk_completion *c) {
  free(c->tokens);
  free(c->drawn);
  free(c->logprob);
  free(c->lse);
  free(c->logits_hash);
  *c = (zk_completion){0};
}

static size_t page_bytes(const zk_policy *policy, int32_t page_tokens) {
  zk_attention_desc desc = zk_decoder_attention_desc(policy, page_tokens);
  return 2 * (size_t)policy->config.num_layers * zk_kv_cache_bytes(policy->device, &desc, 1);
}

static size_t pages_of(size_t num_tokens, const zk_engine_options *o) { return (num_tokens + (size_t)o->page_tokens - 1) / (size_t)o->page_tokens; }

// Where steps are recorded, they are padded with rows that need a page.
static size_t padding_pages(const zk_policy *policy) { return zk_device_has_graphs(policy->device) ? 1 : 0; }

// One sequence, its prompt's last page before it is copied, and padding.
static size_t least_bytes(const zk_policy *policy, const zk_engine_options *o) {
  return (pages_of((size_t)o->max_sequence, o) + 1 + padding_pages(policy)) * page_bytes(policy, o->page_tokens);
}

size_t zk_engine_kv_bytes(const zk_policy *policy, const zk_engine_options *o) {
  if (o->kv_bytes) return o->kv_bytes;
  // Sequences of usual length, unless more can be had; when they are longer, preemption makes do.
  size_t usual = (size_t)o->max_new_tokens + USUAL_PROMPT_TOKENS, longest = (size_t)o->max_sequence;
  size_t each = pages_of(o->takes_rest || usual > longest ? longest : usual, o), least = least_bytes(policy, o);
  size_t wanted = ((size_t)o->max_batch * each + 1 + padding_pages(policy)) * page_bytes(policy, o->page_tokens);
  if (wanted > o->kv_room) wanted = o->kv_room;
  return wanted > least ? wanted : least;
}

static zk_status decide_num_pages(const zk_policy *policy, const zk_engine_options *options, int32_t *num_pages) {
  zk_engine_options o = *options;
  size_t page = page_bytes(policy, o.page_tokens), available = zk_device_memory_free(policy->device);
  if (!o.kv_room) o.kv_room = available / 2; // leave room for training
  size_t wanted = zk_engine_kv_bytes(policy, &o), least = least_bytes(policy, &o);
  if (wanted < least)
    return ZK_FAIL(ZK_BAD_INPUT,
                   "rollout.kv_bytes: %zu bytes cannot hold one sequence of %d tokens, which takes %zu bytes in pages of %d tokens; raise it, or "
                   "lower rollout.max_new_tokens",
                   wanted, o.max_sequence, least, o.page_tokens);
  if (wanted > available)
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "the KV cache needs %zu bytes (one sequence of %d tokens needs %zu), %zu are free; lower rollout.max_batch, "
                   "rollout.kv_bytes or rollout.max_new_tokens", wanted, o.max_sequence, least, available);
  *num_pages = (int32_t)(wanted / page < INT32_MAX ? wanted / page : INT32_MAX);
  return ZK_OK;
}

static zk_status allocate_steps(zk_engine *e) {
  zk_device *d = e->policy->device;
  const size_t array_bytes = zk_step_words(e) * sizeof(int32_t), result_bytes = zk_step_result_bytes(e);
  ZK_TRY(zk_device_alloc(d, array_bytes, "step arrays", (void **)&e->arrays_memory));
  ZK_TRY(zk_device_alloc(d, result_bytes, "sampled tokens", (void **)&e->results_memory));
  for (int i = 0; i <= e->options.steps_ahead; i++) {
    zk_step *step = &e->steps[i];
    ZK_TRY(zk_host_alloc(d, array_bytes, "step arrays", (void **)&step->host));
    ZK_TRY(zk_host_alloc(d, result_bytes, "sampled tokens", (void **)&step->results));
    ZK_TRY(zk_mark_open(e->stream, &step->begun));
    ZK_TRY(zk_mark_open(e->stream, &step->done));
    step->samples = calloc((size_t)e->options.max_batch, sizeof *step->samples);
    if (!step->samples) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a step of %d sequences", e->options.max_batch);
  }
  return ZK_OK;
}

// All but the cache, which takes of what is left.
static zk_status allocate_activations(zk_engine *e) {
  const zk_policy *p = e->policy;
  const size_t row = (size_t)p->config.hidden * zk_numerics_bytes(p->numerics), n = (size_t)e->max_draws;
  ZK_TRY(zk_device_alloc(p->device, zk_layer_activations_bytes(p, e->max_rows, false), "sampler activations", &e->activations_memory));
  zk_layer_activations_place(p, e->max_rows, false, e->activations_memory, &e->activations);
  ZK_TRY(zk_device_alloc(p->device, n * row, "sampler activations", &e->gathered));
  ZK_TRY(zk_device_alloc(p->device, n * row, "sampler activations", &e->normed));
  return allocate_steps(e);
}

static zk_status allocate_cache(zk_engine *e) {
  const zk_policy *p = e->policy;
  const size_t layers = (size_t)p->config.num_layers;
  int32_t num_pages = 0;
  ZK_TRY(decide_num_pages(p, &e->options, &num_pages));
  e->padding_page = padding_pages(p) ? num_pages - 1 : -1;
  ZK_TRY(zk_page_pool_open(num_pages - (int32_t)padding_pages(p), &e->pool));
  e->prefixes.pool = &e->pool, e->weights_version = p->version;
  if (e->options.prefix_cache) ZK_TRY(zk_prefix_cache_open(&e->pool, e->options.page_tokens, &e->prefixes));
  zk_attention_desc desc = zk_decoder_attention_desc(p, e->options.page_tokens);
  const size_t layer_bytes = (zk_kv_cache_bytes(p->device, &desc, num_pages) + 63) & ~(size_t)63;
  ZK_TRY(zk_side_alloc(p->device, ZK_SIDE_SAMPLER, 2 * layers * layer_bytes, "KV cache", &e->cache_memory));
  for (size_t l = 0; l < layers; l++) {
    e->k_cache[l] = (char *)e->cache_memory + 2 * l * layer_bytes;
    e->v_cache[l] = (char *)e->k_cache[l] + layer_bytes;
  }
  e->stats.num_pages = e->pool.num_pages, e->stats.kv_bytes = 2 * layers * layer_bytes;
  if (e->options.one_by_one) return ZK_OK;
  return zk_decoder_resident_open(p, e->stream, e->options.page_tokens, e->max_pages * e->options.page_tokens, e->k_cache, e->v_cache, &e->resident);
}

static zk_status allocate(zk_engine *e) {
  const zk_engine_options *o = &e->options;
  const size_t layers = (size_t)e->policy->config.num_layers;
  e->max_pages = (o->max_sequence + o->page_tokens - 1) / o->page_tokens;
  e->max_draws = o->max_batch * (1 + o->speculate);
  e->max_rows = e->max_draws + o->prefill_chunk;
  e->k_cache = calloc(layers, sizeof *e->k_cache);
  e->v_cache = calloc(layers, sizeof *e->v_cache);
  e->running = calloc((size_t)o->max_batch, sizeof *e->running);
  if (!e->k_cache || !e->v_cache || !e->running) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the engine's tables");
  if (o->speculate) ZK_TRY(zk_draft_memory_open(&e->drafts));
  ZK_TRY(allocate_activations(e));
  return allocate_cache(e);
}

zk_status zk_engine_open(const zk_policy *policy, const zk_engine_options *options, zk_engine **out) {
  if (options->max_sequence > policy->num_positions)
    return ZK_FAIL(ZK_BAD_INPUT, "sequences of %d tokens do not fit the model's %d positions", options->max_sequence, policy->num_positions);
  zk_engine *e = calloc(1, sizeof *e);
  if (!e) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the engine");
  e->policy = policy, e->options = *options;
  if (e->options.speculate) e->options.steps_ahead = 0;
  zk_status st = zk_stream_open(policy->device, ZK_SIDE_SAMPLER, &e->stream);
  if (st == ZK_OK) st = allocate(e);
  if (st != ZK_OK) {
    zk_engine_close(e);
    return st;
  }
  ZK_LOG(DEBUG, "engine", "%d KV pages of %d tokens, %zu bytes", e->pool.num_pages, options->page_tokens, e->stats.kv_bytes);
  *out = e;
  return ZK_OK;
}

static void free_group(zk_engine *e, zk_group *group) {
  for (zk_group **at = &e->groups; *at; at = &(*at)->next)
    if (*at == group) {
      *at = group->next;
      break;
    }
  zk_schedule_drop_prefix(e, group);
  free(group->prompt);
  free(group->forced_tokens);
  free(group);
}

// Steps may be in flight still, when an error ends a run.
static void close_steps(zk_engine *e) {
  if (e->num_in_flight && zk_stream_wait(e->stream) != ZK_OK) ZK_LOG(DEBUG, "engine", "%s", zk_status_message());
  for (int k = 0; k < 2; k++) {
    zk_step *step = &e->steps[k];
    for (int32_t i = 0; i < step->num_samples; i++)
      if (step->samples[i].seq && step->samples[i].last) zk_sequence_free(step->samples[i].seq);
    zk_host_free(e->policy->device, step->host);
    zk_host_free(e->policy->device, step->results);
    zk_mark_close(step->begun);
    zk_mark_close(step->done);
    free(step->samples);
  }
}

void zk_engine_close(zk_engine *e) {
  if (!e) return;
  ZK_LOG(DEBUG, "engine", "%llu steps, %llu rows, %llu forks, preemptions %llu", (unsigned long long)e->stats.steps,
         (unsigned long long)e->stats.rows, (unsigned long long)e->stats.forks, (unsigned long long)e->stats.preemptions);
  zk_device *d = e->policy->device;
  zk_step_graphs_close(e);
  close_steps(e);
  zk_resident_close(e->resident);
  for (int32_t i = 0; i < e->num_running; i++)
    if (!e->running[i]->is_prefix) zk_sequence_free(e->running[i]); // prefixes go with their groups
  for (zk_sequence *seq; (seq = zk_queue_pop(&e->waiting));) zk_sequence_free(seq);
  for (zk_sequence *seq; (seq = zk_queue_pop(&e->done));) zk_sequence_free(seq);
  while (e->groups) free_group(e, e->groups);
  void *const memory[] = {e->cache_memory, e->activations_memory, e->gathered, e->normed, e->arrays_memory, e->results_memory};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) zk_device_free(d, memory[i]);
  free(e->k_cache);
  free(e->v_cache);
  free(e->running);
  zk_draft_memory_close(&e->drafts);
  zk_prefix_cache_close(&e->prefixes);
  zk_page_pool_close(&e->pool);
  zk_stream_close(e->stream);
  free(e);
}

static zk_status new_sample(zk_engine *e, zk_group *group, int32_t sample, int32_t max_new, const int32_t *forced, zk_sequence **out) {
  zk_sequence *seq = *out = calloc(1, sizeof *seq);
  if (!seq) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a sequence");
  size_t n = (size_t)max_new + 1;
  seq->group = group, seq->sample = sample, seq->max_new = max_new, seq->forced = forced;
  seq->num_tokens = group->num_prompt, seq->draft_most = e->options.speculate;
  seq->tokens = malloc(((size_t)group->num_prompt + n) * sizeof *seq->tokens);
  seq->pages = malloc((size_t)e->max_pages * sizeof *seq->pages);
  seq->drawn = malloc(n * sizeof *seq->drawn);
  seq->logprob = malloc(n * sizeof *seq->logprob);
  seq->lse = malloc(n * sizeof *seq->lse);
  if (e->options.want_logits_hash) seq->logits_hash = malloc(n * sizeof *seq->logits_hash);
  if (!seq->tokens || !seq->pages || !seq->drawn || !seq->logprob || !seq->lse ||
      (e->options.want_logits_hash && !seq->logits_hash))
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a sequence of %d tokens", group->num_prompt + max_new);
  if (group->num_prompt) memcpy(seq->tokens, group->prompt, (size_t)group->num_prompt * sizeof *seq->tokens);
  return ZK_OK;
}

static zk_status copy_forced(zk_group *group, const zk_request *r) {
  size_t total = 0, at = 0;
  for (int32_t i = 0; i < r->num_samples; i++) total += (size_t)r->num_forced[i];
  group->forced_tokens = malloc((total + 1) * sizeof(int32_t));
  if (!group->forced_tokens) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %zu forced tokens", total);
  for (int32_t i = 0; i < r->num_samples; i++) {
    memcpy(group->forced_tokens + at, r->forced[i], (size_t)r->num_forced[i] * sizeof(int32_t));
    at += (size_t)r->num_forced[i];
  }
  return ZK_OK;
}

zk_status zk_engine_submit(zk_engine *e, const zk_request *r) {
  zk_group *group = calloc(1, sizeof *group);
  if (!group) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a group");
  group->name = zk_draft_prompt(r->prompt, r->num_prompt);
  group->tag = r->tag, group->step = r->step, group->prompt_id = r->prompt_id, group->num_prompt = r->num_prompt;
  group->next = e->groups;
  e->groups = group;
  group->prompt = malloc(((size_t)r->num_prompt + 1) * sizeof(int32_t));
  if (!group->prompt) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a prompt of %d tokens", r->num_prompt);
  if (r->num_prompt) memcpy(group->prompt, r->prompt, (size_t)r->num_prompt * sizeof(int32_t));
  if (r->forced) ZK_TRY(copy_forced(group, r));
  const bool fits = r->num_prompt > 0 && r->num_prompt < e->options.max_sequence;
  int32_t room = e->options.max_sequence - r->num_prompt;
  if (room > e->options.max_new_tokens) room = e->options.max_new_tokens;
  if (r->max_new_tokens > 0 && room > r->max_new_tokens) room = r->max_new_tokens;
  size_t at = 0;
  for (int32_t i = 0; i < r->num_samples; i++) {
    int32_t max_new = !fits ? 0 : r->forced ? r->num_forced[i] : room;
    if (fits && (max_new < 1 || max_new > e->options.max_sequence - r->num_prompt))
      return ZK_FAIL(ZK_BAD_INPUT, "prompt %u, sample %d: a completion of %d tokens does not fit", r->prompt_id, r->first_sample + i, max_new);
    zk_sequence *seq = NULL;
    zk_status st = new_sample(e, group, r->first_sample + i, max_new, r->forced ? group->forced_tokens + at : NULL, &seq);
    if (st != ZK_OK) {
      zk_sequence_free(seq);
      return st;
    }
    at += (size_t)max_new;
    group->num_open++, e->num_open++;
    if (fits) {
      zk_queue_push(&e->waiting, seq);
      group->num_waiting++, e->num_waiting++;
    } else {
      seq->finish = ZK_FINISH_PROMPT;
      zk_queue_push(&e->done, seq);
    }
  }
  return ZK_OK;
}

void zk_engine_set_sampling(zk_engine *e, double temperature, int32_t top_k, double top_p) {
  e->options.temperature = temperature, e->options.top_k = top_k, e->options.top_p = top_p;
  zk_step_graphs_close(e); // they keep the old ones
}

int32_t zk_engine_num_open(const zk_engine *e) { return e->num_open; }
int32_t zk_engine_num_waiting(const zk_engine *e) { return e->num_waiting; }
bool zk_engine_has_room(const zk_engine *e) {
  int64_t rows = 0;
  for (const zk_group *g = e->groups; g; g = g->next) rows += g->num_waiting ? g->num_prompt : 0;
  return e->num_running + e->num_waiting < e->options.max_batch && rows < e->options.prefill_chunk;
}
zk_stream *zk_engine_stream(zk_engine *e) { return e->stream; }
void zk_engine_get_stats(const zk_engine *e, zk_engine_stats *out) {
  *out = e->stats;
  out->num_free_pages = e->pool.num_free, out->num_idle_pages = e->pool.num_idle;
}

// Steps in flight are of samples that have ended. Pages that the prefix cache knows lose what they hold.
zk_status zk_engine_rest(zk_engine *e) {
  while (e->num_in_flight) ZK_TRY(zk_engine_take_step(e));
  zk_prefix_cache_drop_all(&e->prefixes);
  return zk_side_rest(e->policy->device, ZK_SIDE_SAMPLER);
}

zk_status zk_engine_step(zk_engine *e) {
  bool must_take;
  ZK_TRY(zk_schedule_plan(e, &must_take));
  if (must_take) {
    while (e->num_in_flight) ZK_TRY(zk_engine_take_step(e));
    ZK_TRY(zk_schedule_plan(e, &must_take));
  }
  const int32_t before = e->num_in_flight;
  ZK_TRY(zk_engine_queue_step(e));
  const int32_t stay = e->num_in_flight > before ? e->options.steps_ahead : 0;
  while (e->num_in_flight > stay) ZK_TRY(zk_engine_take_step(e));
  return ZK_OK;
}

bool zk_engine_take(zk_engine *e, zk_completion *out) {
  zk_sequence *seq = zk_queue_pop(&e->done);
  if (!seq) return false;
  zk_group *group = seq->group;
  int32_t n = seq->num_tokens - group->num_prompt;
  memmove(seq->tokens, seq->tokens + group->num_prompt, (size_t)n * sizeof *seq->tokens);
  *out = (zk_completion){group->tag, seq->sample, n, seq->tokens, seq->drawn, seq->logprob, seq->lse, seq->logits_hash, seq->finish,
                         seq->finish_detail};
  seq->tokens = seq->drawn = NULL, seq->logprob = seq->lse = NULL, seq->logits_hash = NULL; // the caller's now
  zk_sequence_free(seq);
  e->num_open--;
  if (--group->num_open == 0) free_group(e, group);
  return true;
}
