// Completions of 32,000 tokens with scaled RoPE in a cache that holds one and a half of them: preempted half way, computed again, and the same
// to the last bit as the trainer's forward pass over the whole sequence.
// label: slow; cost: 15
#include "model_fixture.h"

#include "rollout/engine.h"
#include "trainer/gradient.h"

enum { NUM = 2, PROMPT = 700, MAX_NEW = 32000, CONTEXT = PROMPT + MAX_NEW };

static void make_model(test_model *m) {
  zk_model_config c = zk_model_config_default(ZK_MODEL_LLAMA);
  c.num_layers = 1, c.hidden = 16, c.num_heads = 1, c.num_kv_heads = 1, c.head_dim = 16, c.intermediate = 16, c.vocab = 64;
  c.max_position = CONTEXT, c.tie_embeddings = 1;
  c.rope = (zk_rope_params){.theta = 500000, .scaling = ZK_ROPE_LLAMA3, .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .original_max_position = 4096};
  test_model_open(m, ZK_F32, &c);
  test_model_give(m, test_model_weights(m, 11, 0.4));
}

static int32_t prompt_token(int i, int k) { return (i * 31 + k * 7 + k * k % 11) % 64; }

static void sample(const test_model *m, zk_completion out[NUM], zk_engine_stats *stats) {
  zk_engine_options o = {.seed = 5, .temperature = 1, .top_p = 1, .max_new_tokens = MAX_NEW, .ignore_eos = true, .max_batch = 4, .page_tokens = 128,
                         .prefill_chunk = 1024, .speculate = 8, .prefix_cache = true, .max_sequence = CONTEXT, .kv_room = 1};
  o.kv_bytes = zk_engine_kv_bytes(&m->policy, &o) * 3 / 2;
  zk_engine *e;
  OK(zk_engine_open(&m->policy, &o, &e));
  for (int i = 0; i < NUM; i++) {
    int32_t prompt[PROMPT];
    for (int k = 0; k < PROMPT; k++) prompt[k] = prompt_token(i, k);
    OK(zk_engine_submit(e, &(zk_request){.tag = (uint64_t)i, .step = 1, .prompt_id = (uint32_t)i, .prompt = prompt, .num_prompt = PROMPT, .num_samples = 1}));
  }
  for (zk_completion c; zk_engine_num_open(e);) {
    OK(zk_engine_step(e));
    while (zk_engine_take(e, &c)) out[c.tag] = c;
  }
  zk_engine_get_stats(e, stats);
  zk_engine_close(e);
}

// The trainer's log-probabilities of the drawn tokens, one sequence at a time.
static void compare_with_trainer(const test_model *m, const zk_completion *c) {
  int32_t *tokens = malloc(CONTEXT * sizeof *tokens), first = PROMPT;
  float *logprob = malloc(MAX_NEW * sizeof *logprob);
  for (int k = 0; k < PROMPT; k++) tokens[k] = prompt_token((int)c->tag, k);
  memcpy(tokens + PROMPT, c->tokens, MAX_NEW * sizeof *tokens);
  int64_t offsets[2] = {0, CONTEXT}, targets[2] = {0, MAX_NEW};
  zk_gradient *g;
  OK(zk_gradient_open(&m->policy, &(zk_gradient_options){1, 0, 1, 4096, false}, &g));
  OK(zk_gradient_forward(g, &(zk_sequences){1, offsets, tokens, &first, targets, NULL, NULL}, 0, 1, &(zk_gradient_outputs){.logprob = logprob}));
  assert_bits_equal(logprob, c->logprob, MAX_NEW, "sequence %d", (int)c->tag);
  zk_gradient_close(g);
  free(tokens);
  free(logprob);
}

static void preempted_and_the_same(void **state) {
  (void)state;
  test_model m;
  make_model(&m);
  zk_completion c[NUM];
  zk_engine_stats stats;
  sample(&m, c, &stats);
  print_message("%d steps, %d rows, %d of them prefilled, %d preemptions\n", (int)stats.steps, (int)stats.rows, (int)stats.prefill_rows,
                (int)stats.preemptions);
  assert_true(stats.preemptions > 0);
  for (int i = 0; i < NUM; i++) {
    assert_int_equal(c[i].num_tokens, MAX_NEW);
    assert_int_equal(c[i].finish, ZK_FINISH_LENGTH);
    compare_with_trainer(&m, &c[i]);
    zk_completion_free(&c[i]);
  }
  test_model_close(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(preempted_and_the_same)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
