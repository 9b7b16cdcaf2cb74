// The engine on the emulated GPU: decode steps from recorded graphs, padded, queued before their tokens are known to the host, against the
// same requests on the CPU. The emulated stream works as late as it may, so whoever reads or writes too early is found out.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rollout/engine.h"
#include "shared/model.h"

#define OK(call)                                                                                                       \
  do {                                                                                                                 \
    if ((call) != ZK_OK) fail_msg("%s: %s", #call, zk_status_message());                                               \
  } while (0)

enum { GROUPS = 3, SAMPLES = 3, NUM = GROUPS * SAMPLES, MAX_NEW = 14, VOCAB = 48, LAST = VOCAB - 1 };

typedef struct {
  zk_device *device;
  zk_stream *stream;
  zk_policy policy;
} model;

static void make(model *m, zk_device_kind kind, zk_numerics numerics) {
  zk_model_config c = zk_model_config_default(ZK_MODEL_QWEN3);
  c.num_layers = 1, c.hidden = 32, c.num_heads = 2, c.num_kv_heads = 1, c.head_dim = 16, c.intermediate = 32, c.vocab = VOCAB;
  c.max_position = 640, c.tie_embeddings = 0;
  OK(zk_device_open(kind, 0, &m->device));
  OK(zk_stream_open(m->device, ZK_SIDE_NONE, &m->stream));
  OK(zk_policy_open(m->device, numerics, &c, c.max_position, &m->policy));
  float *flat = malloc((size_t)m->policy.params.num_elements * sizeof *flat);
  zk_model_init(&c, &m->policy.params, 11, 0.2, flat);
  OK(zk_policy_set_weights(&m->policy, m->stream, flat));
  free(flat);
}

static void close_model(model *m) {
  zk_policy_close(&m->policy);
  zk_stream_close(m->stream);
  zk_device_close(m->device);
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

// All completions; sampling for a second time with other options must not replay the first time's graphs.
static zk_engine_stats run(const model *m, const zk_engine_options *o, zk_completion out[2 * NUM]) {
  zk_engine *e;
  zk_engine_stats stats;
  OK(zk_engine_open(&m->policy, o, &e));
  for (int time = 0; time < 2; time++) {
    submit(e);
    zk_completion c;
    while (zk_engine_num_open(e)) {
      OK(zk_engine_step(e));
      while (zk_engine_take(e, &c)) out[time * NUM + (int)c.tag * SAMPLES + c.sample] = c;
    }
    zk_engine_set_sampling(e, 0.7, 0, 1);
  }
  zk_engine_get_stats(e, &stats);
  assert_int_equal(zk_stream_calls(zk_engine_stream(e), ZK_OP_ATTENTION), stats.steps); // replayed operations are counted; one layer
  zk_engine_close(e);
  return stats;
}

static int equal(const zk_completion *a, const zk_completion *b) {
  for (int i = 0; i < 2 * NUM; i++) {
    const size_t n = (size_t)a[i].num_tokens;
    if (a[i].num_tokens != b[i].num_tokens || a[i].finish != b[i].finish || memcmp(a[i].tokens, b[i].tokens, 4 * n) ||
        memcmp(a[i].logprob, b[i].logprob, 4 * n) || memcmp(a[i].logits_hash, b[i].logits_hash, 8 * n))
      return 0;
  }
  return 1;
}

static void free_all(zk_completion *c) {
  for (int i = 0; i < 2 * NUM; i++) zk_completion_free(&c[i]);
}

static void graphs_and_steps_ahead_change_no_bit(void **state) {
  (void)state;
  for (int numerics = 0; numerics < 2; numerics++) {
    model cpu, gpu;
    make(&cpu, ZK_DEVICE_CPU, numerics ? ZK_BF16 : ZK_F32);
    make(&gpu, ZK_DEVICE_CUDA, numerics ? ZK_BF16 : ZK_F32);
    zk_engine_options o = options();
    zk_completion want[2 * NUM], got[2 * NUM];
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
      free_all(got);
    }
    assert_true(replayed > 0 && thrown > 0 && preemptions > 0);
    o.seed++; // negative control: another seed gives other completions
    (void)run(&gpu, &o, got);
    assert_false(equal(want, got));
    free_all(got);
    free_all(want);
    close_model(&cpu);
    close_model(&gpu);
  }
}

// A completion that grows past what the page tables of few rows hold at first: its steps go on in another graph, whose arrays lie elsewhere.
static void a_sequence_grows_out_of_its_graph(void **state) {
  (void)state;
  enum { PROMPT = 505 };
  model m[2];
  zk_completion done[5];
  int32_t prompt[PROMPT];
  for (int i = 0; i < PROMPT; i++) prompt[i] = i * i % 5;
  make(&m[0], ZK_DEVICE_CPU, ZK_BF16);
  make(&m[1], ZK_DEVICE_CUDA, ZK_BF16);
  for (int way = 0; way < 5; way++) { // the CPU; queued ahead or not, with guesses; another prompt: a negative control
    zk_engine_options o = options();
    zk_engine *e;
    zk_engine_stats stats;
    o.max_sequence = 640, o.prefill_chunk = 512, o.ignore_eos = true, o.kv_bytes = 1 << 20, o.steps_ahead = way == 2, o.speculate = way == 3 ? 2 : 0;
    if (way == 4) prompt[1]++;
    OK(zk_engine_open(&m[way > 0].policy, &o, &e));
    OK(zk_engine_submit(e, &(zk_request){.step = 1, .prompt = prompt, .num_prompt = PROMPT, .num_samples = 1}));
    while (!zk_engine_take(e, &done[way])) OK(zk_engine_step(e));
    zk_engine_get_stats(e, &stats);
    if (way == 1 || way == 2) assert_in_range(stats.graph_steps, 6, 11); // of 14 steps, the prompt's and the first of either graph are not
    zk_engine_close(e);
    assert_int_equal(done[way].num_tokens, MAX_NEW);
    const bool equal = !memcmp(done[way].tokens, done[0].tokens, 4 * MAX_NEW) && !memcmp(done[way].logits_hash, done[0].logits_hash, 8 * MAX_NEW);
    assert_int_equal(equal, way < 4);
  }
  for (int way = 0; way < 5; way++) zk_completion_free(&done[way]);
  close_model(&m[0]);
  close_model(&m[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(graphs_and_steps_ahead_change_no_bit), cmocka_unit_test(a_sequence_grows_out_of_its_graph)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
