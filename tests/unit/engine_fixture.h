// What tests of the engine share: requests made from a few numbers, a run to the end, completions compared bit by bit.
#ifndef ZK_TESTS_ENGINE_FIXTURE_H
#define ZK_TESTS_ENGINE_FIXTURE_H

#include "model_fixture.h"

#include "rollout/engine.h"

// A model with one or two layers that decodes in microseconds.
static inline void tiny_model_make(test_model *m, zk_numerics numerics, int num_layers, uint64_t seed) {
  zk_model_config c = zk_model_config_default(ZK_MODEL_QWEN3);
  c.num_layers = num_layers, c.hidden = 16, c.num_heads = 2, c.num_kv_heads = 1, c.head_dim = 8, c.intermediate = 24, c.vocab = 40;
  c.max_position = 512, c.tie_embeddings = 1, c.num_eos = 1, c.eos_ids[0] = 39;
  test_model_open(m, numerics, &c);
  zk_device_set_threads(m->device, 1);
  test_model_give(m, test_model_weights(m, seed, 0.4));
}

static inline zk_engine_options tiny_options(void) {
  return (zk_engine_options){.seed = 5, .temperature = 1, .top_p = 1, .max_new_tokens = 64, .num_eos = 1, .eos_ids = {39}, .want_logits_hash = true,
                             .max_batch = 16, .page_tokens = 16, .prefill_chunk = 64, .max_sequence = 256};
}

// A request that is a function of its number: prompts of 1 to 120 tokens, most of which begin like others.
typedef struct {
  int32_t num_prompt, max_new, prompt[128];
} tiny_prompt;
static inline tiny_prompt tiny_prompt_make(int number) {
  static const int lengths[] = {1, 17, 40, 33, 90, 64, 65, 120, 16, 48};
  tiny_prompt p = {.num_prompt = lengths[number % 10], .max_new = 1 + number * 7 % 23};
  const int shared = number % 3 * 32; // tokens that all prompts of this kind begin with
  for (int i = 0; i < p.num_prompt; i++) p.prompt[i] = i < shared ? (i * 5 + i / 7) % 39 : (number * 13 + i * 3 + i * i % 5) % 39;
  return p;
}

static inline void tiny_submit(zk_engine *e, int number, int first_sample, int num_samples) {
  const tiny_prompt p = tiny_prompt_make(number);
  zk_request r = {.tag = (uint64_t)number, .step = 3, .prompt_id = 100 + (uint32_t)number, .prompt = p.prompt, .num_prompt = p.num_prompt,
                  .first_sample = first_sample, .num_samples = num_samples, .max_new_tokens = p.max_new};
  OK(zk_engine_submit(e, &r));
}

static inline int same_completion(const zk_completion *a, const zk_completion *b) {
  const size_t n = (size_t)a->num_tokens;
  return a->num_tokens == b->num_tokens && a->finish == b->finish && !memcmp(a->tokens, b->tokens, n * sizeof *a->tokens) &&
         !memcmp(a->logprob, b->logprob, n * sizeof *a->logprob) && !memcmp(a->logits_hash, b->logits_hash, n * sizeof *a->logits_hash);
}

// Each sample by itself: a fresh engine that runs one sequence a step, one request at a time, with nothing shared, guessed or remembered.
// out[number * num_samples + sample].
static inline void run_alone(const test_model *m, zk_engine_options o, int num_requests, int num_samples, zk_completion *out) {
  o.max_batch = 1, o.page_tokens = 512, o.prefill_chunk = 512, o.kv_bytes = 0, o.speculate = 0, o.prefix_cache = false, o.steps_ahead = 0;
  for (int i = 0; i < num_requests * num_samples; i++) {
    zk_engine *e;
    OK(zk_engine_open(&m->policy, &o, &e));
    tiny_submit(e, i / num_samples, i % num_samples, 1);
    while (!zk_engine_take(e, &out[i])) OK(zk_engine_step(e));
    zk_engine_close(e);
  }
}

static inline void free_completions(zk_completion *c, int num) {
  for (int i = 0; i < num; i++) zk_completion_free(&c[i]);
}

// Every page is free again, but for those the prefix cache keeps without a user.
static inline void assert_no_page_lost(const zk_engine *e) {
  zk_engine_stats s;
  zk_engine_get_stats(e, &s);
  assert_int_equal(zk_engine_num_open(e), 0);
  assert_int_equal(s.num_free_pages + s.num_idle_pages, s.num_pages);
}

#endif
