// What a step tells attention about pages that neighbours share: true in every step, and in a step that decodes all there is to tell.
#include "engine_fixture.h"

#include "rollout/engine_impl.h"

enum { PAGE = 16, GROUPS = 3, SAMPLES = 4 };
static const int32_t lengths[GROUPS] = {3 * PAGE + 5, PAGE, 2 * PAGE + 1}; // of prompts; all but the last token are shared

static void submit(zk_engine *e) {
  for (int g = 0; g < GROUPS; g++) {
    int32_t prompt[64];
    for (int i = 0; i < lengths[g]; i++) prompt[i] = (g * 11 + i * 7) % 39;
    OK(zk_engine_submit(e, &(zk_request){.tag = (uint64_t)g, .step = 1, .prompt_id = (uint32_t)g, .prompt = prompt, .num_prompt = lengths[g], .num_samples = SAMPLES}));
  }
}

// Whether each sequence of the step begins with the pages that it says it shares with the one before it.
static bool is_true(const zk_step *step, const zk_step_arrays *a) {
  for (int32_t s = 0; s < step->num_seqs; s++) {
    const int32_t shared = a->seq_shared_pages[s], *pages = a->page_table + (size_t)s * (size_t)step->max_pages;
    if (shared < 0 || (s == 0 && shared > 0)) return false;
    if (shared > 0 && memcmp(pages, pages - step->max_pages, (size_t)shared * sizeof *pages) != 0) return false;
  }
  return true;
}

static void steps_say_what_neighbours_share(void **state) {
  (void)state;
  test_model m;
  tiny_model_make(&m, ZK_BF16, 1, 7);
  zk_engine_options o = tiny_options();
  o.max_new_tokens = 6, o.num_eos = 0;
  zk_engine *e;
  OK(zk_engine_open(&m.policy, &o, &e));
  submit(e);
  int whole = 0; // steps that decode everything
  for (zk_completion c; zk_engine_num_open(e);) {
    OK(zk_engine_step(e));
    const zk_step *step = &e->steps[0];
    const zk_step_arrays a = zk_step_layout(e, step, step->host);
    assert_true(is_true(step, &a));
    if (step->is_decode && step->num_seqs == GROUPS * SAMPLES) {
      whole++;
      for (int32_t s = 0; s < step->num_seqs; s++)
        assert_int_equal(a.seq_shared_pages[s], s % SAMPLES == 0 ? 0 : (lengths[s / SAMPLES] - 1) / PAGE);
      a.page_table[(size_t)(SAMPLES - 1) * (size_t)step->max_pages]++; // negative control: another first page
      assert_false(is_true(step, &a));
    }
    while (zk_engine_take(e, &c)) zk_completion_free(&c);
  }
  assert_true(whole > 0);
  zk_engine_close(e);
  test_model_close(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(steps_say_what_neighbours_share)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
