// A thousand completions of one prompt under one name, in every batch, with other traffic coming and going: one completion.
#include "engine_fixture.h"

enum { NUM_SAME = 1000, PROMPT = 4, TRAFFIC_TAG = 1000 };

static uint32_t next_random(uint32_t *state) { return *state = *state * 1664525u + 1013904223u; }

// Request PROMPT again: sample 0 each time, so the same random numbers.
static void submit_same(zk_engine *e) { tiny_submit(e, PROMPT, 0, 1); }

static void submit_traffic(zk_engine *e, uint32_t *random) {
  int32_t prompt[200];
  const int32_t num_prompt = 1 + (int32_t)((next_random(random) >> 8) % 180);
  for (int32_t i = 0; i < num_prompt; i++) prompt[i] = (int32_t)((next_random(random) >> 8) % 39);
  zk_request r = {.tag = TRAFFIC_TAG, .step = 9, .prompt_id = next_random(random) >> 8, .prompt = prompt, .num_prompt = num_prompt,
                  .num_samples = 1 + (int32_t)((next_random(random) >> 8) % 3), .max_new_tokens = 1 + (int32_t)((next_random(random) >> 8) % 40)};
  OK(zk_engine_submit(e, &r));
}

// How many different completions came of NUM_SAME. `with_traffic`: one request in eight is another's. differ: every tenth under another name.
static int num_unique(const test_model *m, const zk_engine_options *o, bool differ) {
  zk_engine *e;
  zk_completion seen[8];
  uint32_t random = 7;
  int submitted = 0, finished = 0, num = 0;
  OK(zk_engine_open(&m->policy, o, &e));
  while (finished < NUM_SAME || zk_engine_num_open(e)) {
    while (submitted < NUM_SAME && zk_engine_num_waiting(e) < o->max_batch) {
      if (differ && submitted % 10 == 0) tiny_submit(e, PROMPT, 1, 1);
      else submit_same(e);
      if (submitted++ % 8 == 0) submit_traffic(e, &random);
    }
    OK(zk_engine_step(e));
    for (zk_completion c; zk_engine_take(e, &c);) {
      int i = 0;
      if (c.tag != TRAFFIC_TAG) {
        finished++;
        while (i < num && !same_completion(&seen[i], &c)) i++;
        if (i == num && num < 8) seen[num++] = c, c = (zk_completion){0};
      }
      zk_completion_free(&c);
    }
  }
  assert_no_page_lost(e);
  free_completions(seen, num);
  zk_engine_close(e);
  return num;
}

static void one_completion_in_every_batch(void **state) {
  (void)state;
  static const int32_t batches[] = {1, 7, 64, 256, 1000};
  for (int bf16 = 0; bf16 < 2; bf16++) {
    test_model m;
    tiny_model_make(&m, bf16 ? ZK_BF16 : ZK_F32, 1, 11);
    for (int greedy = 0; greedy < 2; greedy++)
      for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
        zk_engine_options o = tiny_options();
        o.temperature = greedy ? 0 : 1, o.max_batch = batches[b], o.prefix_cache = b % 2, o.speculate = b == 2 ? 4 : 0, o.steps_ahead = b % 3 == 0;
        o.max_sequence = 240, o.prefill_chunk = 100;
        const int num = num_unique(&m, &o, false);
        if (num != 1) fail_msg("bf16 %d, greedy %d, batch %d: %d different completions", bf16, greedy, batches[b], num);
      }
    zk_engine_options o = tiny_options(); // negative control: another name is another completion
    o.max_sequence = 240;
    assert_int_equal(num_unique(&m, &o, true), 2);
    test_model_close(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_completion_in_every_batch)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
