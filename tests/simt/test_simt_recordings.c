// The trainer's passes as recorded graphs, on the emulated GPU, whose stream works as late as it may: a leaf's gradient and what is found of its
// targets have the bits of a trainer that queues every operation, and of one on the CPU, whatever came before it, and graphs are what it comes from.
#include "tests/unit/model_fixture.h"

#include "kernels/reduce.h"
#include "trainer/gradient.h"
#include "trainer/recordings.h"

enum { VOCAB = 48, MOST_SEQS = 4, MOST_TOKENS = 150, LEAVES = 2 };

typedef struct {
  int num;
  int32_t lengths[MOST_SEQS];
} batch;
// A and B differ in what is in memory alone; the last does not fit where the others do.
static const batch A = {3, {20, 9, 17}}, B = {3, {9, 20, 17}}, C = {2, {20, 9}}, D = {4, {30, 40, 9, 17}};

typedef struct {
  int64_t offsets[MOST_SEQS + 1], targets[MOST_SEQS + 1];
  int32_t first[MOST_SEQS], tokens[MOST_TOKENS];
  float logprob[MOST_TOKENS], lse[MOST_TOKENS], found[MOST_TOKENS];
  zk_known_targets known;
  zk_sequences seqs;
} sequences;

static void fill(sequences *s, const batch *b, int salt) {
  memset(s, 0, sizeof *s);
  for (int i = 0; i < b->num; i++) {
    s->first[i] = 1 + (i + salt) % 3; // as many targets in all, of one salt and another
    s->offsets[i + 1] = s->offsets[i] + b->lengths[i];
    s->targets[i + 1] = s->targets[i] + b->lengths[i] - s->first[i];
  }
  for (int i = 0; i < s->offsets[b->num]; i++) s->tokens[i] = (i * 31 + salt * 7) % VOCAB;
  s->known = (zk_known_targets){s->logprob, s->lse, s->found};
  s->seqs = (zk_sequences){b->num, s->offsets, s->tokens, s->first, s->targets, NULL, NULL};
}

static zk_status slopes(void *context, int64_t seq, int64_t n, const float *logprob, const float *entropy, float *dlogprob) {
  (void)context, (void)entropy;
  for (int64_t i = 0; i < n; i++) dlogprob[i] = (float)(seq + 1) * logprob[i] / 16;
  return ZK_OK;
}

typedef struct {
  zk_gradient *gradient;
  float *grad[LEAVES]; // device
} trainer;

static void open_trainer(const test_model *m, bool recompute, bool unrecorded, trainer *t) {
  OK(zk_gradient_open(&m->policy, &(zk_gradient_options){1, 0, 1, 32, recompute, unrecorded}, &t->gradient));
  for (int i = 0; i < LEAVES; i++) OK(zk_device_alloc(m->device, (size_t)m->policy.params.num_elements * 4, "gradient", (void **)&t->grad[i]));
}
static void close_trainer(const test_model *m, trainer *t) {
  for (int i = 0; i < LEAVES; i++) zk_device_free(m->device, t->grad[i]);
  zk_gradient_close(t->gradient);
}

// A leaf: its gradient, then log-probabilities, entropies and log-sum-exps of its targets; the caller frees.
static float *run(const test_model *m, trainer *t, sequences *s, int leaf, bool known, size_t *num) {
  const size_t n = (size_t)m->policy.params.num_elements, targets = (size_t)s->targets[s->seqs.num_seqs];
  float *out = calloc(n + 3 * targets, sizeof *out);
  *num = n + 3 * targets;
  if (known) OK(zk_gradient_forward(t->gradient, &s->seqs, 0, s->seqs.num_seqs, &(zk_gradient_outputs){.logprob = s->logprob, .lse = s->lse}));
  s->seqs.known = known ? &s->known : NULL;
  OK(zk_gradient_leaf(t->gradient, &s->seqs, 0, s->seqs.num_seqs, slopes, NULL, t->grad[leaf],
                      &(zk_gradient_outputs){.logprob = out + n, .entropy = out + n + targets, .lse = out + n + 2 * targets}, NULL));
  OK(zk_copy_to_host(m->stream, out, t->grad[leaf], n * sizeof *out));
  OK(zk_stream_wait(m->stream));
  return out;
}

static void replayed_passes_have_the_bits_of_queued_ones(void **state) {
  (void)state;
  static const struct {
    const batch *batch;
    int salt, leaf;
    bool known, rests;
  } steps[] = {{&A, 0, 0, false, false}, {&A, 1, 0, false, false}, {&B, 2, 0, false, false}, {&A, 0, 1, true, true},  {&A, 1, 1, true, false},
               {&B, 2, 1, true, false},  {&C, 0, 0, true, false},  {&D, 0, 0, false, false}, {&A, 2, 0, false, true}};
  for (int way = 0; way < 2; way++) {
    test_model m, of_cpu;
    zk_model_config c = zk_model_config_default(ZK_MODEL_QWEN3);
    c.num_layers = 2, c.num_heads = 2, c.num_kv_heads = 1, c.head_dim = 8, c.intermediate = 24, c.vocab = VOCAB;
    c.hidden = way ? 17 : 16; // in bf16 rows begin at half a word
    c.max_position = 128, c.tie_embeddings = way;
    test_model_open_on(&m, ZK_DEVICE_CUDA, way ? ZK_BF16 : ZK_F32, &c);
    test_model_open(&of_cpu, way ? ZK_BF16 : ZK_F32, &c);
    test_model_give(&m, test_model_weights(&m, 11, 0.2));
    test_model_give(&of_cpu, test_model_weights(&m, 11, 0.2));
    trainer queued, recorded, on_cpu;
    open_trainer(&of_cpu, way, true, &on_cpu);
    open_trainer(&m, way, true, &queued);
    open_trainer(&m, way, false, &recorded);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
      sequences a, b, other;
      size_t num;
      fill(&a, steps[i].batch, steps[i].salt);
      fill(&b, steps[i].batch, steps[i].salt);
      fill(&other, steps[i].batch, steps[i].salt);
      if (steps[i].rests) {
        OK(zk_side_rest(m.device, ZK_SIDE_TRAINER));
        OK(zk_side_wake(m.device, ZK_SIDE_TRAINER));
      }
      float *want = run(&m, &queued, &a, steps[i].leaf, steps[i].known, &num), *got = run(&m, &recorded, &b, steps[i].leaf, steps[i].known, &num);
      float *cpus = run(&of_cpu, &on_cpu, &other, steps[i].leaf, steps[i].known, &num);
      if (memcmp(want, got, num * sizeof *got)) fail_msg("way %d, step %zu differs", way, i);
      if (memcmp(want, cpus, num * sizeof *cpus)) fail_msg("way %d, step %zu differs from the CPU", way, i);
      assert_memory_equal(a.found, b.found, sizeof a.found);
      free(want), free(got), free(cpus);
    }
    for (int op = 0; op < ZK_NUM_OPS; op++)
      assert_int_equal(zk_stream_calls(zk_gradient_stream(queued.gradient), op), zk_stream_calls(zk_gradient_stream(recorded.gradient), op));
    assert_int_equal(zk_gradient_replays(queued.gradient), 0);
    assert_int_equal(zk_gradient_replays(recorded.gradient), 17); // of 31 parts
    close_trainer(&m, &queued), close_trainer(&m, &recorded), close_trainer(&of_cpu, &on_cpu);
    test_model_close(&m), test_model_close(&of_cpu);
  }
}

typedef struct {
  zk_stream *stream;
  float *x, factor;
} scaling;
static zk_status scale(const void *context) {
  const scaling *s = context;
  return zk_scale(s->stream, ZK_F32, 1, s->x, s->factor, s->x);
}

// Negative control: what a key does not say stays what it was when it was recorded. More keys than are remembered, each a few times, are each right.
static void a_key_says_all_that_differs(void **state) {
  (void)state;
  zk_device *device;
  zk_stream *stream;
  zk_recordings *r;
  scaling s = {.factor = 2};
  float x = 1;
  OK(zk_device_open(ZK_DEVICE_CUDA, 0, &device));
  OK(zk_stream_open(device, ZK_SIDE_TRAINER, &stream));
  OK(zk_recordings_open(stream, &r));
  OK(zk_device_alloc(device, sizeof x, "a number", (void **)&s.x));
  s.stream = stream;
  OK(zk_copy_to_device(stream, s.x, &x, sizeof x));
  for (int i = 0; i < 3; i++, s.factor = 3) OK(zk_recordings_run(r, (int64_t[]){1, 2}, 2, scale, &s)); // 2, then 3 recorded, then 3 again
  s.factor = 5;
  OK(zk_recordings_run(r, (int64_t[]){1, 2}, 2, scale, &s)); // 3 still
  OK(zk_recordings_run(r, (int64_t[]){1, 3}, 2, scale, &s)); // 5
  OK(zk_recordings_run(r, (int64_t[]){1}, 1, scale, &s));    // 5
  OK(zk_copy_to_host(stream, &x, s.x, sizeof x));
  OK(zk_stream_wait(stream));
  assert_true(x == 2.0f * 3 * 3 * 3 * 5 * 5);
  assert_int_equal(zk_recordings_replays(r), 3);
  for (int key = 0; key < 100; key++) {
    x = 1;
    OK(zk_copy_to_device(stream, s.x, &x, sizeof x));
    s.factor = (float)(key + 2);
    for (int i = 0; i < 3; i++) OK(zk_recordings_run(r, (int64_t[]){key, -1}, 2, scale, &s));
    OK(zk_copy_to_host(stream, &x, s.x, sizeof x));
    OK(zk_stream_wait(stream));
    assert_true(x == s.factor * s.factor * s.factor);
  }
  assert_int_equal(zk_recordings_replays(r), 203);
  zk_recordings_close(r);
  zk_device_free(device, s.x);
  zk_stream_close(stream);
  zk_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(replayed_passes_have_the_bits_of_queued_ones), cmocka_unit_test(a_key_says_all_that_differs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
