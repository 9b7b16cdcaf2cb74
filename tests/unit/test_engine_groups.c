// Many groups at once: their prompts are begun together, not a step each; and what comes is what each sample gives by itself.
#include "engine_fixture.h"

enum { GROUPS = 12, GROUP_SAMPLES = 3, GROUP_NEW = 6 };

static void submit(zk_engine *e, int group) {
  int32_t prompt[40];
  const int32_t num = 20 + group;
  for (int32_t i = 0; i < num; i++) prompt[i] = (7 * group + 3 * i) % 39;
  zk_request r = {.tag = (uint64_t)group, .step = 2, .prompt_id = (uint32_t)group, .prompt = prompt, .num_prompt = num, .num_samples = GROUP_SAMPLES,
                  .max_new_tokens = GROUP_NEW};
  OK(zk_engine_submit(e, &r));
}

// All groups of [first, last), into out; the number of steps that it took.
static int run(const test_model *m, const zk_engine_options *o, int first, int last, zk_completion *out) {
  zk_engine *e;
  zk_engine_stats stats;
  OK(zk_engine_open(&m->policy, o, &e));
  for (int group = first; group < last; group++) submit(e, group);
  while (zk_engine_num_open(e)) {
    OK(zk_engine_step(e));
    for (zk_completion c; zk_engine_take(e, &c);) out[(int)c.tag * GROUP_SAMPLES + c.sample] = c;
  }
  assert_no_page_lost(e);
  zk_engine_get_stats(e, &stats);
  zk_engine_close(e);
  return (int)stats.steps;
}

static void prompts_are_begun_together(void **state) {
  (void)state;
  // max_batch, prefill_chunk, the most steps
  static const int32_t variants[][3] = {{64, 512, GROUP_NEW + 4}, {64, 60, GROUP_NEW + 2 + GROUPS}, {7, 512, 0}, {2, 16, 0}};
  test_model m;
  tiny_model_make(&m, ZK_F32, 1, 11);
  for (size_t v = 0; v < sizeof variants / sizeof *variants; v++)
    for (int way = 0; way < 8; way++) {
      zk_completion all[GROUPS * GROUP_SAMPLES], alone[GROUPS * GROUP_SAMPLES];
      zk_engine_options o = tiny_options();
      o.max_batch = variants[v][0], o.prefill_chunk = variants[v][1], o.prefix_cache = way % 2, o.steps_ahead = way / 2 % 2;
      o.page_tokens = 16, o.max_sequence = 48, o.max_new_tokens = GROUP_NEW, o.temperature = 1, o.speculate = 0;
      o.kv_room = 1;
      o.kv_bytes = (way < 4 ? 64 : 2) * zk_engine_kv_bytes(&m.policy, &o); // no want of pages, or room for two sequences: samples give way to each other
      const int steps = run(&m, &o, 0, GROUPS, all);
      if (way < 4 && variants[v][2]) assert_in_range(steps, GROUP_NEW, variants[v][2]);
      for (int group = 0; group < GROUPS; group++) run(&m, &o, group, group + 1, alone);
      for (int i = 0; i < GROUPS * GROUP_SAMPLES; i++) assert_true(same_completion(&all[i], &alone[i]));
      free_completions(all, GROUPS * GROUP_SAMPLES);
      free_completions(alone, GROUPS * GROUP_SAMPLES);
    }
  test_model_close(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(prompts_are_begun_together)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
