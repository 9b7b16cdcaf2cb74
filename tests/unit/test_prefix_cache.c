// Pages that outlive their sequences: found again by what begins alike, given up when room is needed, and gone when the weights change.
#include "engine_fixture.h"

#include "rollout/prefix_cache.h"

enum { NUM_REQUESTS = 12, SAMPLES = 2, NUM = NUM_REQUESTS * SAMPLES };

static void drain(zk_engine *e, zk_completion out[NUM]) {
  for (zk_completion c; zk_engine_num_open(e);) {
    OK(zk_engine_step(e));
    while (zk_engine_take(e, &c)) out[c.tag * SAMPLES + (uint64_t)c.sample] = c;
  }
  assert_no_page_lost(e);
}

static int num_different(const zk_completion *a, const zk_completion *b) {
  int num = 0;
  for (int i = 0; i < NUM; i++) num += !same_completion(&a[i], &b[i]);
  return num;
}

static uint64_t reused(const zk_engine *e) {
  zk_engine_stats s;
  zk_engine_get_stats(e, &s);
  return s.reused_rows;
}

static void sample_all(zk_engine *e, zk_completion out[NUM]) {
  for (int r = 0; r < NUM_REQUESTS; r++) tiny_submit(e, r, 0, SAMPLES);
  drain(e, out);
}

static void found_again_with_the_same_bits(void **state) {
  (void)state;
  for (int bf16 = 0; bf16 < 2; bf16++) {
    test_model m;
    tiny_model_make(&m, bf16 ? ZK_BF16 : ZK_F32, 2, 11);
    zk_completion want[NUM], got[NUM];
    zk_engine_options o = tiny_options();
    run_alone(&m, o, NUM_REQUESTS, SAMPLES, want);
    o.prefix_cache = true, o.steps_ahead = bf16;
    for (int tight = 0; tight < 2; tight++) {
      zk_engine *e;
      if (tight) o.kv_room = 1, o.kv_bytes = zk_engine_kv_bytes(&m.policy, &o); // one sequence: pages are given up all the time
      OK(zk_engine_open(&m.policy, &o, &e));
      for (int round = 0; round < 3; round++) {
        const uint64_t before = reused(e);
        sample_all(e, got);
        assert_int_equal(num_different(want, got), 0);
        free_completions(got, NUM);
        // All full pages of all prompts are there from the second round on, when there is room.
        uint64_t prompts = 0;
        for (int r = 0; r < NUM_REQUESTS; r++) prompts += (uint64_t)((tiny_prompt_make(r).num_prompt - 1) / o.page_tokens * o.page_tokens);
        if (round > 0 && !tight) assert_true(reused(e) - before >= prompts);
        assert_true(tight || reused(e) > before);
      }
      zk_engine_close(e);
    }
    free_completions(want, NUM);
    test_model_close(&m);
  }
}

// New weights of the same model. The policy's version is what tells the engine.
static void run_one(zk_engine *e, const zk_request *r, zk_completion *out) {
  OK(zk_engine_submit(e, r));
  while (!zk_engine_take(e, out)) OK(zk_engine_step(e));
}

// Two turns of a sample with a reply between them: the second finds the full pages of the first, draws what an engine without a cache draws, and has the
// log-probabilities of one forced pass over everything: positions name the random numbers, whatever stands between the turns.
static void a_sample_goes_on_behind_a_reply(void **state) {
  (void)state;
  static const int32_t reply[] = {7, 3, 21, 4, 9};
  enum { REPLY = sizeof reply / sizeof *reply, FIRST = 20, SECOND = 15 };
  test_model m;
  tiny_model_make(&m, ZK_F32, 2, 11);
  zk_engine_options o = tiny_options();
  o.ignore_eos = true;
  tiny_prompt p = tiny_prompt_make(4);
  zk_completion first, second, alone, forced;
  int32_t all[256], n = p.num_prompt;
  zk_engine *e, *plain;
  OK(zk_engine_open(&m.policy, &o, &plain));
  o.prefix_cache = true;
  OK(zk_engine_open(&m.policy, &o, &e));
  zk_request r = {.step = 3, .prompt_id = 9, .prompt = p.prompt, .num_prompt = n, .first_sample = 2, .num_samples = 1, .max_new_tokens = FIRST};
  run_one(e, &r, &first);
  memcpy(all, p.prompt, (size_t)n * sizeof *all);
  memcpy(all + n, first.tokens, FIRST * sizeof *all);
  memcpy(all + n + FIRST, reply, sizeof reply);
  r.prompt = all, r.num_prompt = n + FIRST + REPLY, r.max_new_tokens = SECOND;
  const uint64_t before = reused(e);
  run_one(e, &r, &second);
  assert_int_equal(reused(e) - before, (n + FIRST - 1) / o.page_tokens * o.page_tokens); // the last token drawn is not in the cache yet
  run_one(plain, &r, &alone);
  assert_true(same_completion(&second, &alone));

  memcpy(all + n + FIRST + REPLY, second.tokens, SECOND * sizeof *all);
  const int32_t *const tokens = all + n, num_forced = FIRST + REPLY + SECOND;
  r.num_prompt = n, r.max_new_tokens = 0, r.forced = &tokens, r.num_forced = &num_forced;
  run_one(plain, &r, &forced);
  assert_memory_equal(forced.drawn, first.tokens, FIRST * sizeof *first.tokens);
  assert_memory_equal(forced.drawn + FIRST + REPLY, second.tokens, SECOND * sizeof *second.tokens);
  assert_memory_equal(forced.logprob + FIRST + REPLY, second.logprob, SECOND * sizeof *second.logprob);
  assert_memory_equal(forced.logits_hash + FIRST + REPLY, second.logits_hash, SECOND * sizeof *second.logits_hash);

  // The control: another reply gives another turn.
  all[n + FIRST]++;
  zk_completion other;
  r.forced = NULL, r.num_prompt = n + FIRST + REPLY, r.max_new_tokens = SECOND;
  run_one(e, &r, &other);
  assert_false(same_completion(&second, &other));
  zk_completion done[] = {first, second, alone, forced, other};
  free_completions(done, 5);
  zk_engine_close(e);
  zk_engine_close(plain);
  test_model_close(&m);
}

static void change_weights(test_model *m, uint64_t seed) {
  float *flat = malloc((size_t)m->policy.params.num_elements * sizeof *flat);
  zk_model_init(&m->policy.config, &m->policy.params, seed, 0.4, flat);
  OK(zk_policy_set_weights(&m->policy, m->stream, flat));
  free(flat);
}

static void dropped_when_the_weights_change(void **state) {
  (void)state;
  test_model m;
  tiny_model_make(&m, ZK_F32, 2, 11);
  zk_engine_options o = tiny_options();
  o.prefix_cache = true;
  for (int stale = 0; stale < 2; stale++) {
    zk_completion first[NUM], want[NUM], got[NUM];
    zk_engine *e;
    change_weights(&m, 11);
    OK(zk_engine_open(&m.policy, &o, &e));
    sample_all(e, first);
    const uint64_t version = m.policy.version;
    change_weights(&m, 12);
    assert_true(m.policy.version > version);
    run_alone(&m, o, NUM_REQUESTS, SAMPLES, want);
    assert_int_not_equal(num_different(first, want), 0);
    if (stale) m.policy.version = version; // negative control: a cache that is not told keeps the old keys and values, and it shows
    const uint64_t before = reused(e);
    tiny_submit(e, 4, 0, SAMPLES); // a prompt of 90 tokens
    for (zk_completion c; zk_engine_num_open(e);) {
      OK(zk_engine_step(e));
      while (zk_engine_take(e, &c)) got[c.sample] = c;
    }
    const int same = same_completion(&got[0], &want[4 * SAMPLES]) && same_completion(&got[1], &want[4 * SAMPLES + 1]);
    assert_int_equal(same, !stale);
    if (stale) assert_true(reused(e) > before);
    else assert_int_equal(reused(e), before);
    free_completions(got, SAMPLES);
    free_completions(want, NUM);
    free_completions(first, NUM);
    zk_engine_close(e);
  }
  test_model_close(&m);
}

static void not_while_sequences_are_open(void **state) {
  (void)state;
  test_model m;
  tiny_model_make(&m, ZK_F32, 1, 11);
  zk_engine_options o = tiny_options();
  zk_engine *e;
  OK(zk_engine_open(&m.policy, &o, &e));
  tiny_submit(e, 4, 0, 1);
  OK(zk_engine_step(e));
  OK(zk_policy_changed(&m.policy, m.stream));
  assert_int_equal(zk_engine_step(e), ZK_INTERNAL);
  assert_non_null(strstr(zk_status_message(), "the weights changed while 1 sequences were being sampled"));
  zk_engine_close(e);
  test_model_close(&m);
}

// The table alone: pages with equal tokens behind different pages are different, what was given up is not found, and neither is what came
// behind it, even when its page is back with other tokens.
static void entries_by_what_came_before(void **state) {
  (void)state;
  zk_page_pool pool;
  zk_prefix_cache c;
  OK(zk_page_pool_open(4, &pool));
  OK(zk_prefix_cache_open(&pool, 2, &c));
  const int32_t a[2] = {1, 2}, b[2] = {3, 4};
  const int32_t p = zk_prefix_cache_take(&c), q = zk_prefix_cache_take(&c);
  uint64_t id = 0;
  zk_prefix_cache_add(&c, p, a, &id);
  const uint64_t id_a = id;
  zk_prefix_cache_add(&c, q, a, &id);
  const uint64_t id_aa = id;
  id = 0;
  assert_int_equal(zk_prefix_cache_find(&c, a, &id), p);
  assert_int_equal(zk_prefix_cache_find(&c, b, &id), -1);
  assert_int_equal(id, id_a);
  assert_int_equal(zk_prefix_cache_find(&c, a, &id), q);
  assert_int_equal(id, id_aa);
  zk_page_pool_drop(&pool, q); // idle for longer than p
  zk_page_pool_drop(&pool, p);
  assert_int_equal(pool.num_free, 2);
  assert_int_equal(pool.num_idle, 2);
  zk_page_pool_share(&pool, q); // used again: p is now the longest idle one
  int32_t taken[3];
  for (int i = 0; i < 3; i++) taken[i] = zk_prefix_cache_take(&c);
  assert_int_equal(taken[2], p);
  assert_int_equal(zk_prefix_cache_take(&c), -1);
  id = 0;
  assert_int_equal(zk_prefix_cache_find(&c, a, &id), -1);
  zk_prefix_cache_add(&c, p, a, &id); // the same tokens again, under another number: q is not behind it
  assert_int_equal(zk_prefix_cache_find(&c, a, &id), -1);
  zk_prefix_cache_drop_all(&c);
  id = 0;
  assert_int_equal(zk_prefix_cache_find(&c, a, &id), -1);
  for (int i = 0; i < 3; i++) zk_page_pool_drop(&pool, taken[i]);
  zk_page_pool_drop(&pool, q);
  assert_int_equal(pool.num_free, 4);
  zk_prefix_cache_close(&c);
  zk_page_pool_close(&pool);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(entries_by_what_came_before), cmocka_unit_test(found_again_with_the_same_bits),
                                     cmocka_unit_test(a_sample_goes_on_behind_a_reply),
                                     cmocka_unit_test(dropped_when_the_weights_change), cmocka_unit_test(not_while_sequences_are_open)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
