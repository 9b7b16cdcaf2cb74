// Bad input, one sequence at a time: a prompt that does not fit, logits that are not finite, a stop text that never comes. Each ends with its
// reason; the sequences beside it have the bits they have alone.
#include "model_fixture.h"

#include "rollout/engine.h"

enum { POISON = 7, FEATURE = 5, BAD_LAYER = 1, NUM_GROUPS = 6, SAMPLES = 3, NUM = NUM_GROUPS * SAMPLES, MAX_NEW = 12 };

static float *weights_of(test_model *m, float *flat, zk_param_kind kind, int layer) {
  return flat + m->policy.params.params[zk_params_index(&m->policy.params, kind, layer)].first;
}

// A model in which token POISON, and nothing else, has one feature of the residual stream, and in which layer BAD_LAYER makes infinity of that
// feature: whatever has that token among its keys is lost from that layer on.
static void make_poisoned(test_model *m, zk_numerics numerics) {
  zk_model_config c = zk_model_config_default(ZK_MODEL_QWEN3);
  c.num_layers = 3, c.hidden = 48, c.num_heads = 4, c.num_kv_heads = 2, c.head_dim = 16, c.intermediate = 80, c.vocab = 300;
  c.max_position = 128, c.tie_embeddings = 0, c.num_eos = 1, c.eos_ids[0] = 299;
  test_model_open(m, numerics, &c);
  float *flat = test_model_weights(m, 11, 0.2);
  float *embed = weights_of(m, flat, ZK_PARAM_EMBED, 0);
  for (int id = 0; id < c.vocab; id++) embed[id * c.hidden + FEATURE] = id == POISON ? 100.0f : 0.0f;
  for (int l = 0; l < BAD_LAYER; l++) { // nothing before it writes the feature
    memset(weights_of(m, flat, ZK_PARAM_O_W, l) + FEATURE * c.num_heads * c.head_dim, 0, (size_t)(c.num_heads * c.head_dim) * sizeof *flat);
    memset(weights_of(m, flat, ZK_PARAM_DOWN, l) + FEATURE * c.intermediate, 0, (size_t)c.intermediate * sizeof *flat);
  }
  float *v = weights_of(m, flat, ZK_PARAM_V_W, BAD_LAYER);
  for (int n = 0; n < c.num_kv_heads * c.head_dim; n++) v[n * c.hidden + FEATURE] = 3e38f;
  test_model_give(m, flat);
}

static zk_engine_options options(void) {
  return (zk_engine_options){.seed = 5, .temperature = 1, .top_p = 1, .max_new_tokens = MAX_NEW, .num_eos = 1, .eos_ids = {299}, .max_batch = 64,
                             .page_tokens = 16, .prefill_chunk = 40, .max_sequence = 128};
}

// Group 2's prompt holds the poisoned token; group 4's is as long as the context, and group 5's is empty.
static void submit(zk_engine *e, int g) {
  static const int32_t lengths[NUM_GROUPS] = {20, 33, 50, 17, 128, 0};
  int32_t prompt[128];
  for (int i = 0; i < lengths[g]; i++) prompt[i] = 20 + (g * 31 + i * 17) % 200;
  if (g == 2) prompt[40] = POISON;
  zk_request r = {.tag = (uint64_t)g, .step = 3, .prompt_id = 100 + (uint32_t)g, .prompt = prompt, .num_prompt = lengths[g], .num_samples = SAMPLES};
  OK(zk_engine_submit(e, &r));
}

static void drain(zk_engine *e, zk_completion out[NUM]) {
  for (zk_completion c; zk_engine_num_open(e);) {
    OK(zk_engine_step(e));
    while (zk_engine_take(e, &c)) out[c.tag * SAMPLES + (uint64_t)c.sample] = c;
  }
}

static void assert_same(const zk_completion *a, const zk_completion *b) {
  assert_int_equal(a->num_tokens, b->num_tokens);
  assert_int_equal(a->finish, b->finish);
  assert_int_equal(a->finish_detail, b->finish_detail);
  assert_memory_equal(a->tokens, b->tokens, (size_t)a->num_tokens * sizeof *a->tokens);
  assert_memory_equal(a->logprob, b->logprob, (size_t)a->num_tokens * sizeof *a->logprob);
}

static void each_ends_with_its_own_reason(void **state) {
  (void)state;
  for (int bf16 = 0; bf16 < 2; bf16++)
    for (int way = 0; way < 3; way++) { // plain; with guesses; a step ahead
      test_model m;
      make_poisoned(&m, bf16 ? ZK_BF16 : ZK_F32);
      zk_engine_options o = options();
      o.speculate = way == 1 ? 4 : 0, o.steps_ahead = way == 2;
      zk_engine *e;
      zk_completion together[NUM], alone[NUM];
      OK(zk_engine_open(&m.policy, &o, &e));
      for (int g = 0; g < NUM_GROUPS; g++) submit(e, g);
      drain(e, together);
      for (int g = 0; g < NUM_GROUPS; g++) { // one group at a time, in an engine that has seen the others
        submit(e, g);
        drain(e, alone);
      }
      int num_whole = 0;
      for (int i = 0; i < NUM; i++) {
        const zk_completion *c = &together[i];
        assert_same(c, &alone[i]);
        if (i / SAMPLES >= 4) {
          assert_int_equal(c->finish, ZK_FINISH_PROMPT);
          assert_int_equal(c->num_tokens, 0);
        } else if (i / SAMPLES == 2) {
          assert_int_equal(c->finish, ZK_FINISH_NOT_FINITE);
          assert_int_equal(c->num_tokens, 0);
        } else {
          int poisoned = 0; // it may have drawn the token itself
          for (int k = 0; k < c->num_tokens; k++) poisoned |= c->tokens[k] == POISON;
          if (!poisoned) assert_true(c->finish == ZK_FINISH_LENGTH || c->finish == ZK_FINISH_EOS);
          num_whole += !poisoned;
        }
        if (c->finish == ZK_FINISH_NOT_FINITE) assert_int_equal(c->finish_detail, ZK_FINISH_DETAIL_LAYER + BAD_LAYER);
        else assert_int_equal(c->finish_detail, 0);
      }
      assert_true(num_whole > 0);
      assert_string_equal(zk_finish_detail_text(ZK_FINISH_DETAIL_LAYER + BAD_LAYER, 3).s, "layer 1");
      for (int i = 0; i < NUM; i++) zk_completion_free(&together[i]), zk_completion_free(&alone[i]);
      zk_engine_close(e);
      test_model_close(&m);
    }
}

// Weights that are bad for everybody: the embedding, and the head behind the last layer.
static void the_ends_of_the_model_are_named(void **state) {
  (void)state;
  for (int head = 0; head < 2; head++) {
    test_model m;
    make_poisoned(&m, ZK_F32);
    float *w = (float *)zk_policy_weight(&m.policy, head ? ZK_PARAM_FINAL_NORM : ZK_PARAM_EMBED, 0); // on a CPU, device memory is memory
    if (head) w[3] = NAN;
    else w[25 * 48 + 3] = INFINITY;
    OK(zk_policy_changed(&m.policy, m.stream));
    zk_engine_options o = options();
    zk_engine *e;
    OK(zk_engine_open(&m.policy, &o, &e));
    const int32_t prompt[3] = {24, 26, 25};
    OK(zk_engine_submit(e, &(zk_request){.prompt = prompt, .num_prompt = 3, .num_samples = 1}));
    zk_completion c;
    while (!zk_engine_take(e, &c)) OK(zk_engine_step(e));
    assert_int_equal(c.finish, ZK_FINISH_NOT_FINITE);
    assert_string_equal(zk_finish_detail_text(c.finish_detail, 3).s, head ? "the LM head" : "the embedding");
    zk_completion_free(&c);
    zk_engine_close(e);
    test_model_close(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(each_ends_with_its_own_reason), cmocka_unit_test(the_ends_of_the_model_are_named)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
