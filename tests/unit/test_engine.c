// The engine against the trainer's forward pass: same tokens and bits for every schedule, and proof that it decodes with its cache.
#include "model_fixture.h"

#include "rollout/engine.h"
#include "trainer/gradient.h"

enum { NUM_GROUPS = 5, SAMPLES = 3, MAX_NEW = 40, NUM = NUM_GROUPS * SAMPLES };

// Prompts of 1 to 150 tokens: below a page, across pages and across a tile of keys.
static const int32_t prompt_lengths[NUM_GROUPS] = {1, 17, 64, 150, 90};

static int32_t prompt_token(int group, int i) { return (group * 131 + i * 29 + (i * i) % 7) % 298; }

static zk_engine_options default_options(void) {
  return (zk_engine_options){.seed = 5, .temperature = 1, .top_p = 1, .max_new_tokens = MAX_NEW, .num_eos = 1, .eos_ids = {299}, .want_logits_hash = true,
                             .max_batch = 64, .page_tokens = 64, .prefill_chunk = 512, .max_sequence = 256};
}

// All completions, in (group, sample) order.
static void run(const test_model *m, const zk_engine_options *o, zk_completion out[NUM], zk_engine_stats *stats) {
  zk_engine *e;
  OK(zk_engine_open(&m->policy, o, &e));
  for (int g = 0; g < NUM_GROUPS; g++) {
    int32_t prompt[160];
    for (int i = 0; i < prompt_lengths[g]; i++) prompt[i] = prompt_token(g, i);
    zk_request r = {.tag = (uint64_t)g, .step = 3, .prompt_id = 100 + (uint32_t)g, .prompt = prompt, .num_prompt = prompt_lengths[g], .num_samples = SAMPLES};
    OK(zk_engine_submit(e, &r));
  }
  zk_completion c;
  int taken = 0;
  while (zk_engine_num_open(e)) {
    OK(zk_engine_step(e));
    while (zk_engine_take(e, &c)) {
      out[c.tag * SAMPLES + (uint64_t)c.sample] = c;
      taken++;
    }
  }
  assert_int_equal(taken, NUM);
  zk_engine_get_stats(e, stats);
  // Every layer wrote each row to the cache once and attended once: no whole-sequence forward hides here.
  uint64_t layers = (uint64_t)m->policy.config.num_layers;
  assert_int_equal(zk_stream_calls(zk_engine_stream(e), ZK_OP_KV_WRITE), stats->steps * layers);
  assert_int_equal(zk_stream_calls(zk_engine_stream(e), ZK_OP_ATTENTION), stats->steps * layers);
  assert_true(stats->decode_rows > 0);
  zk_engine_close(e);
}

static void free_all(zk_completion c[NUM]) {
  for (int i = 0; i < NUM; i++) zk_completion_free(&c[i]);
}

static int equal(const zk_completion a[NUM], const zk_completion b[NUM]) {
  for (int i = 0; i < NUM; i++) {
    size_t n = (size_t)a[i].num_tokens;
    if (a[i].num_tokens != b[i].num_tokens || a[i].finish != b[i].finish || memcmp(a[i].tokens, b[i].tokens, 4 * n) ||
        memcmp(a[i].logprob, b[i].logprob, 4 * n) || memcmp(a[i].lse, b[i].lse, 4 * n) ||
        memcmp(a[i].logits_hash, b[i].logits_hash, 8 * n))
      return 0;
  }
  return 1;
}

static zk_status slope_by_logprob(void *context, int64_t seq, int64_t n, const float *logprob, const float *entropy, float *dlogprob) {
  (void)context, (void)seq, (void)entropy;
  for (int64_t i = 0; i < n; i++) dlogprob[i] = logprob[i] / 16;
  return ZK_OK;
}

// A gradient is the same when the sampler's log-probabilities and log-sum-exps are given beforehand, and so is what the trainer finds; with a log-sum-exp
// that is not the trainer's it is another, and what the trainer finds is not what was given.
static void compare_gradients(const test_model *m, zk_gradient *g, const zk_sequences *s, const zk_completion c[NUM]) {
  enum { UNKNOWN, KNOWN, WRONG, WAYS };
  const size_t elements = (size_t)m->policy.params.num_elements, targets = (size_t)s->target_offsets[NUM];
  float *grad[WAYS], *entropy[WAYS], *logprob = malloc(targets * 4), *lse = malloc(targets * 4), *found = malloc(targets * 4), *own = malloc(targets * 4);
  for (int i = 0; i < NUM; i++) {
    const zk_completion *x = &c[NUM - 1 - i];
    memcpy(logprob + s->target_offsets[i], x->logprob, (size_t)x->num_tokens * 4);
    memcpy(lse + s->target_offsets[i], x->lse, (size_t)x->num_tokens * 4);
  }
  const zk_known_targets known = {logprob, lse, found};
  for (int way = 0; way < WAYS; way++) {
    zk_sequences given = *s;
    if (way != UNKNOWN) given.known = &known;
    if (way == WRONG) lse[targets / 2] += 0.5f;
    OK(zk_device_alloc(m->device, elements * 4, "gradient", (void **)&grad[way]));
    entropy[way] = malloc(targets * 4);
    memset(found, 0, targets * 4);
    OK(zk_gradient_leaf(g, &given, 0, NUM, slope_by_logprob, NULL, grad[way], &(zk_gradient_outputs){.logprob = own, .entropy = entropy[way]}, NULL));
    assert_memory_equal(own, logprob, targets * 4);
    assert_memory_equal(entropy[way], entropy[UNKNOWN], targets * 4);
    if (way != UNKNOWN) assert_int_equal(memcmp(found, lse, targets * 4) != 0, way == WRONG);
  }
  assert_bits_equal(grad[KNOWN], grad[UNKNOWN], elements, "gradient with known log-probabilities");
  assert_true(memcmp(grad[WRONG], grad[UNKNOWN], elements * 4) != 0);
  for (int way = 0; way < WAYS; way++) {
    zk_device_free(m->device, grad[way]);
    free(entropy[way]);
  }
  free(logprob);
  free(lse);
  free(found);
  free(own);
}

// The trainer's forward pass over the same sequences, packed in reverse order.
static void compare_with_trainer(const test_model *m, const zk_engine_options *o, const zk_completion c[NUM]) {
  int64_t offsets[NUM + 1] = {0}, targets[NUM + 1] = {0}, capacity = NUM * 256;
  int32_t *tokens = malloc((size_t)capacity * 4), first[NUM];
  for (int i = 0; i < NUM; i++) {
    const zk_completion *x = &c[NUM - 1 - i];
    int32_t num_prompt = prompt_lengths[x->tag];
    for (int k = 0; k < num_prompt; k++) tokens[offsets[i] + k] = prompt_token((int)x->tag, k);
    memcpy(tokens + offsets[i] + num_prompt, x->tokens, (size_t)x->num_tokens * 4);
    first[i] = num_prompt;
    offsets[i + 1] = offsets[i] + num_prompt + x->num_tokens, targets[i + 1] = targets[i] + x->num_tokens;
  }
  zk_sequences s = {NUM, offsets, tokens, first, targets, NULL, NULL};
  float *logprob = malloc((size_t)targets[NUM] * 4);
  uint64_t *hash = malloc((size_t)targets[NUM] * 8);
  zk_gradient *g;
  OK(zk_gradient_open(&m->policy, &(zk_gradient_options){o->temperature, o->top_k, o->top_p, 4096, false}, &g));
  OK(zk_gradient_forward(g, &s, 0, NUM, &(zk_gradient_outputs){.logprob = logprob, .logits_hash = hash}));
  assert_int_equal(zk_stream_calls(zk_gradient_stream(g), ZK_OP_ATTENTION), m->policy.config.num_layers);
  for (int i = 0; i < NUM; i++) {
    const zk_completion *x = &c[NUM - 1 - i];
    assert_bits_equal(logprob + targets[i], x->logprob, (size_t)x->num_tokens, "prompt %d sample %d", (int)x->tag, x->sample);
    assert_memory_equal(hash + targets[i], x->logits_hash, (size_t)x->num_tokens * 8);
  }
  compare_gradients(m, g, &s, c);
  zk_gradient_close(g);
  free(tokens);
  free(logprob);
  free(hash);
}

static void every_schedule_gives_the_same_bits(void **state) {
  (void)state;
  static const int shapes[3][4] = {{ZK_MODEL_LLAMA, 9, 3, 16}, {ZK_MODEL_QWEN2, 4, 1, 24}, {ZK_MODEL_QWEN3, 2, 2, 32}};
  for (int a = 0; a < 3; a++) {
    test_model m;
    test_model_make(&m, (zk_model_architecture)shapes[a][0], shapes[a][1], shapes[a][2], shapes[a][3]);
    zk_engine_options base = default_options();
    zk_completion want[NUM], got[NUM];
    zk_engine_stats stats;
    run(&m, &base, want, &stats);
    compare_with_trainer(&m, &base, want);
    uint64_t preemptions = 0, thrown = 0;
    // max_batch, page_tokens, prefill_chunk, speculate, prefix_cache
    static const int32_t variants[][5] = {{1, 16, 512, 0, 1}, {3, 32, 7, 3, 0}, {64, 64, 33, 0, 0}, {5, 48, 1, 8, 1}, {2, 16, 100, 1, 1}};
    for (size_t v = 0; v < sizeof variants / sizeof *variants; v++)
      for (int way = 0; way < 4; way++) {
        const int tight = way % 2;
        zk_engine_options o = base;
        o.max_batch = variants[v][0], o.page_tokens = variants[v][1], o.prefill_chunk = variants[v][2], o.speculate = variants[v][3], o.prefix_cache = variants[v][4];
        o.steps_ahead = way / 2;
        if (tight) { // just enough pages for one sequence: everything else is preempted and recomputed
          o.kv_room = 1;
          o.kv_bytes = zk_engine_kv_bytes(&m.policy, &o);
        }
        run(&m, &o, got, &stats);
        if (!equal(want, got)) fail_msg("architecture %d, variant %zu, tight %d, %d steps ahead differs", a, v, tight, o.steps_ahead);
        preemptions += stats.preemptions, thrown += stats.thrown_rows;
        assert_true(o.steps_ahead || !stats.thrown_rows);
        assert_true(v != 2 || tight || stats.forks >= SAMPLES);
        free_all(got);
      }
    assert_true(preemptions > 0 && thrown > 0); // samples ended while a step ahead had a row of theirs
    base.seed = 6; // negative control: another seed gives other completions
    run(&m, &base, got, &stats);
    assert_false(equal(want, got));
    free_all(got);
    free_all(want);
    test_model_close(&m);
  }
}

static void filters_and_temperatures_agree_with_the_trainer(void **state) {
  (void)state;
  static const double settings[][3] = {{0, 0, 1}, {0.7, 0, 1}, {1, 20, 1}, {1.3, 0, 0.8}, {0.9, 50, 0.9}}; // temperature, top_k, top_p
  test_model m;
  test_model_make(&m, ZK_MODEL_QWEN3, 6, 2, 16);
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
    zk_engine_options o = default_options();
    o.temperature = settings[i][0], o.top_k = (int32_t)settings[i][1], o.top_p = settings[i][2];
    zk_completion c[NUM];
    zk_engine_stats stats;
    run(&m, &o, c, &stats);
    compare_with_trainer(&m, &o, c);
    free_all(c);
  }
  test_model_close(&m);
}

static void forced_tokens_replay_a_completion(void **state) {
  (void)state;
  test_model m;
  test_model_make(&m, ZK_MODEL_LLAMA, 4, 2, 16);
  zk_engine_options o = default_options();
  zk_completion c[NUM];
  zk_engine_stats stats;
  run(&m, &o, c, &stats);
  zk_engine *e;
  o.page_tokens = 16, o.prefill_chunk = 9, o.max_batch = 2, o.steps_ahead = 1;
  OK(zk_engine_open(&m.policy, &o, &e));
  int32_t prompt[160], changed[MAX_NEW];
  for (int i = 0; i < prompt_lengths[3]; i++) prompt[i] = prompt_token(3, i);
  const zk_completion *original = &c[3 * SAMPLES + 1];
  memcpy(changed, original->tokens, (size_t)original->num_tokens * 4);
  for (int round = 0; round < 2; round++) {
    if (round) changed[2] = (changed[2] + 1) % 298; // a tampered token: the draw says what it should have been
    const int32_t *forced[1] = {changed};
    OK(zk_engine_submit(e, &(zk_request){.tag = 3, .step = 3, .prompt_id = 103, .prompt = prompt, .num_prompt = prompt_lengths[3], .first_sample = 1,
                                         .num_samples = 1, .forced = forced, .num_forced = &original->num_tokens}));
    zk_completion replay;
    while (!zk_engine_take(e, &replay)) OK(zk_engine_step(e));
    assert_int_equal(replay.num_tokens, original->num_tokens);
    assert_memory_equal(replay.drawn, original->tokens, 3 * 4);
    int same = !memcmp(replay.drawn, original->tokens, (size_t)original->num_tokens * 4) &&
               !memcmp(replay.logprob, original->logprob, (size_t)original->num_tokens * 4);
    assert_int_equal(same, round == 0);
    zk_completion_free(&replay);
  }
  zk_engine_close(e);
  free_all(c);
  test_model_close(&m);
}

static void refuses_what_cannot_fit(void **state) {
  (void)state;
  test_model m;
  test_model_make(&m, ZK_MODEL_LLAMA, 4, 2, 16);
  zk_engine_options o = default_options();
  zk_engine *e;
  o.kv_bytes = 1000;
  assert_int_equal(zk_engine_open(&m.policy, &o, &e), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "rollout.kv_bytes"));
  o = default_options();
  OK(zk_engine_open(&m.policy, &o, &e));
  const int32_t prompt[250] = {0}, num_forced = 7, *forced[1] = {prompt};
  assert_int_equal(zk_engine_submit(e, &(zk_request){.prompt = prompt, .num_prompt = 250, .num_samples = 1, .forced = forced, .num_forced = &num_forced}),
                   ZK_BAD_INPUT);
  zk_engine_close(e);
  test_model_close(&m);
}

static void a_fault_on_either_side_is_seen(void **state) {
  (void)state;
  static const char *const ops[] = {"embedding", "linear", "rmsnorm", "rope", "kv_write", "attention", "swiglu"};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
    for (int side = 0; side < 2; side++) {
      char fault[64];
      snprintf(fault, sizeof fault, "%s:%s", side ? "trainer" : "sampler", ops[i]);
      setenv("ZK_FAULT", fault, 1);
      test_model m;
      test_model_make(&m, ZK_MODEL_QWEN3, 4, 2, 16);
      zk_engine_options o = default_options();
      zk_engine *e;
      OK(zk_engine_open(&m.policy, &o, &e));
      int32_t prompt[40], sequence[40 + MAX_NEW];
      for (int k = 0; k < 40; k++) sequence[k] = prompt[k] = prompt_token(1, k);
      OK(zk_engine_submit(e, &(zk_request){.prompt = prompt, .num_prompt = 40, .num_samples = 1}));
      zk_completion c;
      while (!zk_engine_take(e, &c)) OK(zk_engine_step(e));
      memcpy(sequence + 40, c.tokens, (size_t)c.num_tokens * 4);
      int64_t offsets[2] = {0, 40 + c.num_tokens}, targets[2] = {0, c.num_tokens};
      int32_t first = 40;
      zk_gradient *g;
      float logprob[MAX_NEW];
      OK(zk_gradient_open(&m.policy, &(zk_gradient_options){1, 0, 1, 4096, false}, &g));
      OK(zk_gradient_forward(g, &(zk_sequences){1, offsets, sequence, &first, targets, NULL, NULL}, 0, 1, &(zk_gradient_outputs){.logprob = logprob}));
      if (!memcmp(logprob, c.logprob, (size_t)c.num_tokens * 4)) fail_msg("fault %s changed nothing", fault);
      zk_completion_free(&c);
      zk_gradient_close(g);
      zk_engine_close(e);
      test_model_close(&m);
    }
  unsetenv("ZK_FAULT");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_schedule_gives_the_same_bits), cmocka_unit_test(filters_and_temperatures_agree_with_the_trainer),
      cmocka_unit_test(forced_tokens_replay_a_completion), cmocka_unit_test(refuses_what_cannot_fit),
      cmocka_unit_test(a_fault_on_either_side_is_seen)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
