// The engine on the emulated GPU: decode steps from recorded graphs, padded, queued before their tokens are known to the host, against the
// same requests on the CPU. The emulated stream works as late as it may, so whoever reads or writes too early is found out.
#include "tests/unit/engine_fixture.h"

enum { GROUPS = 3, SAMPLES = 3, TIMES = 3, NUM = GROUPS * SAMPLES, MAX_NEW = 14, VOCAB = 48, LAST = VOCAB - 1 };

static void make(test_model *m, zk_device_kind kind, zk_numerics numerics) {
  zk_model_config c = zk_model_config_default(ZK_MODEL_QWEN3);
  c.num_layers = 1, c.hidden = 32, c.num_heads = 2, c.num_kv_heads = 1, c.head_dim = 16, c.intermediate = 32, c.vocab = VOCAB;
  c.max_position = 640, c.tie_embeddings = 0;
  test_model_open_on(m, kind, numerics, &c);
  test_model_give(m, test_model_weights(m, 11, 0.2));
}

static zk_engine_options options(void) {
  return (zk_engine_options){.seed = 5, .temperature = 1, .top_p = 1, .max_new_tokens = MAX_NEW, .num_eos = 1, .eos_ids = {LAST}, .want_logits_hash = true,
                             .max_batch = 7, .page_tokens = 16, .prefill_chunk = 32, .max_sequence = 64, .kv_bytes = 1 << 18};
}

static void submit(zk_engine *e) {
  for (int g = 0; g < GROUPS; g++) {
    int32_t prompt[40];
    const int32_t n = 1 + 13 * g;
    for (int i = 0; i < n; i++) prompt[i] = (g * 31 + i * 7) % LAST;
    OK(zk_engine_submit(e, &(zk_request){.tag = (uint64_t)g, .step = 1, .prompt_id = (uint32_t)g, .prompt = prompt, .num_prompt = n, .num_samples = SAMPLES}));
  }
}

// All completions. Sampling for a second time, after the engine was at rest, replays the first time's graphs, which find the cache at its address; a third
// time with other options must not.
static zk_engine_stats run(const test_model *m, const zk_engine_options *o, zk_completion out[TIMES * NUM]) {
  zk_engine *e;
  zk_engine_stats stats;
  OK(zk_engine_open(&m->policy, o, &e));
  for (int time = 0; time < TIMES; time++) {
    submit(e);
    zk_completion c;
    while (zk_engine_num_open(e)) {
      OK(zk_engine_step(e));
      while (zk_engine_take(e, &c)) out[time * NUM + (int)c.tag * SAMPLES + c.sample] = c;
    }
    if (time == 1) zk_engine_set_sampling(e, 0.7, 0, 1);
    OK(zk_engine_rest(e));
    OK(zk_side_wake(m->policy.device, ZK_SIDE_SAMPLER));
  }
  zk_engine_get_stats(e, &stats);
  assert_int_equal(zk_stream_calls(zk_engine_stream(e), ZK_OP_ATTENTION), stats.steps); // replayed operations are counted; one layer
  zk_engine_close(e);
  return stats;
}

static bool equal(const zk_completion *a, const zk_completion *b) {
  for (int i = 0; i < TIMES * NUM; i++)
    if (!same_completion(&a[i], &b[i])) return false;
  return true;
}

static void graphs_and_steps_ahead_change_no_bit(void **state) {
  (void)state;
  for (int numerics = 0; numerics < 2; numerics++) {
    test_model cpu, gpu;
    make(&cpu, ZK_DEVICE_CPU, numerics ? ZK_BF16 : ZK_F32);
    make(&gpu, ZK_DEVICE_CUDA, numerics ? ZK_BF16 : ZK_F32);
    zk_engine_options o = options();
    zk_completion want[TIMES * NUM], got[TIMES * NUM];
    assert_int_equal(run(&cpu, &o, want).graph_steps, 0);
    uint64_t replayed = 0, thrown = 0, preemptions = 0;
    for (int way = 0; way < 4; way++) {
      zk_engine_options x = o;
      x.steps_ahead = way % 2;
      if (way / 2) { // hardly room for one: others are preempted
        x.kv_bytes = 0, x.kv_room = 1;
        x.kv_bytes = zk_engine_kv_bytes(&gpu.policy, &x);
      }
      const zk_engine_stats stats = run(&gpu, &x, got);
      if (!equal(want, got)) fail_msg("numerics %d, way %d differs", numerics, way);
      replayed += stats.graph_steps, thrown += stats.thrown_rows, preemptions += stats.preemptions;
      free_completions(got, TIMES * NUM);
    }
    assert_true(replayed > 0 && thrown > 0 && preemptions > 0);
    o.seed++; // negative control: another seed gives other completions
    (void)run(&gpu, &o, got);
    assert_false(equal(want, got));
    free_completions(got, TIMES * NUM);
    free_completions(want, TIMES * NUM);
    test_model_close(&cpu);
    test_model_close(&gpu);
  }
}

enum { PROMPT = 505, WIDE = 9 }; // rows of a step, from which on all page tables hold the longest sequence

// Samples of one long prompt, all at once, `times` times under the same names; the last time's are out[num_samples].
static zk_engine_stats grow(const test_model *m, zk_engine_options o, int32_t second_token, int32_t num_samples, int times, zk_completion *out) {
  int32_t prompt[PROMPT];
  for (int i = 0; i < PROMPT; i++) prompt[i] = i * i % 5;
  prompt[1] = second_token;
  zk_engine *e;
  zk_engine_stats stats;
  o.max_sequence = 640, o.prefill_chunk = 512, o.ignore_eos = true, o.kv_bytes = 1 << 20;
  OK(zk_engine_open(&m->policy, &o, &e));
  for (int time = 0; time < times; time++) {
    OK(zk_engine_submit(e, &(zk_request){.step = 1, .prompt = prompt, .num_prompt = PROMPT, .num_samples = num_samples}));
    zk_completion c;
    while (zk_engine_num_open(e)) {
      OK(zk_engine_step(e));
      while (zk_engine_take(e, &c)) {
        assert_int_equal(c.num_tokens, MAX_NEW);
        if (time + 1 == times) out[c.sample] = c;
        else zk_completion_free(&c);
      }
    }
  }
  zk_engine_get_stats(e, &stats);
  zk_engine_close(e);
  return stats;
}

// Completions that grow past what the page tables of few rows hold at first: their steps go on in another graph, whose arrays lie elsewhere.
// They are what the CPU draws with tables of one width.
static void sequences_grow_out_of_their_graph(void **state) {
  (void)state;
  static const struct {
    int32_t num_samples, steps_ahead, speculate, second_token;
    int times;
  } ways[] = {{1, 0, 0, 1, 1}, {1, 1, 0, 1, 1}, {5, 0, 0, 1, 1}, {5, 1, 0, 1, 1}, // padded
              {1, 0, 2, 1, 2}, {2, 0, 2, 1, 2},                                   // guesses, which the first time gives
              {1, 0, 0, 2, 1}};                                                   // another prompt: a negative control
  const int num_ways = sizeof ways / sizeof *ways;
  test_model cpu, gpu;
  zk_completion want[WIDE], got[WIDE];
  make(&cpu, ZK_DEVICE_CPU, ZK_BF16);
  make(&gpu, ZK_DEVICE_CUDA, ZK_BF16);
  zk_engine_options o = options();
  o.max_batch = WIDE;
  grow(&cpu, o, 1, WIDE, 1, want);
  o.max_batch = 7;
  for (int way = 0; way < num_ways; way++) {
    o.steps_ahead = ways[way].steps_ahead, o.speculate = ways[way].speculate;
    const zk_engine_stats stats = grow(&gpu, o, ways[way].second_token, ways[way].num_samples, ways[way].times, got);
    if (o.speculate) assert_true(stats.accepted > 0);
    else assert_int_equal(stats.graph_steps, stats.steps - 3); // all but the prompt's and the first of either graph
    for (int32_t i = 0; i < ways[way].num_samples; i++) {
      const bool equal = !memcmp(got[i].tokens, want[i].tokens, 4 * MAX_NEW) && !memcmp(got[i].logprob, want[i].logprob, 4 * MAX_NEW) &&
                         !memcmp(got[i].logits_hash, want[i].logits_hash, 8 * MAX_NEW);
      if (equal != (way + 1 < num_ways)) fail_msg("way %d, sample %d: %s", way, i, equal ? "equal" : "differs");
      zk_completion_free(&got[i]);
    }
  }
  free_completions(want, WIDE);
  test_model_close(&cpu);
  test_model_close(&gpu);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(graphs_and_steps_ahead_change_no_bit), cmocka_unit_test(sequences_grow_out_of_their_graph)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
