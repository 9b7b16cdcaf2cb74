// cost: 10
// The trainer's passes as recorded graphs, on the emulated GPU, whose stream works as late as it may: a leaf's gradient and what is found of its
// targets have the bits of a trainer that queues every operation, and of one on the CPU, whatever came before it, and graphs are what it comes from.
#include "tests/unit/model_fixture.h"

#include "kernels/reduce.h"
#include "trainer/gradient.h"
#include "trainer/recordings.h"

enum { VOCAB = 48, MOST_SEQS = 600, MOST_TOKENS = 600, LEAVES = 2, MOST_KINDS = 7 };

// Sequences as they follow each other: `num` of `length` tokens, predicted from token `first` on.
typedef struct {
  struct {
    int num, length, first;
  } kinds[MOST_KINDS];
} batch;

typedef struct {
  int64_t offsets[MOST_SEQS + 1], targets[MOST_SEQS + 1];
  int32_t first[MOST_SEQS], tokens[MOST_TOKENS];
  float logprob[MOST_TOKENS], lse[MOST_TOKENS], found[MOST_TOKENS], dentropy[MOST_TOKENS];
  zk_known_targets known;
  zk_sequences seqs;
} sequences;

static void fill(sequences *s, const batch *b, int salt) {
  int n = 0;
  memset(s, 0, sizeof *s);
  for (int k = 0; k < MOST_KINDS; k++)
    for (int i = 0; i < b->kinds[k].num; i++, n++) {
      s->first[n] = b->kinds[k].first;
      s->offsets[n + 1] = s->offsets[n] + b->kinds[k].length;
      s->targets[n + 1] = s->targets[n] + b->kinds[k].length - b->kinds[k].first;
    }
  assert_true(n <= MOST_SEQS && s->offsets[n] <= MOST_TOKENS);
  for (int i = 0; i < s->offsets[n]; i++) s->tokens[i] = (i * 31 + salt * 7) % VOCAB;
  for (int i = 0; i < s->targets[n]; i++) s->dentropy[i] = (float)(i % 5) / 8;
  s->known = (zk_known_targets){s->logprob, s->lse, s->found};
  s->seqs = (zk_sequences){n, s->offsets, s->tokens, s->first, s->targets, NULL, NULL};
}

static zk_status slopes(void *context, int64_t seq, int64_t n, const float *logprob, const float *entropy,
                        float *dlogprob) {
  (void)context, (void)entropy;
  for (int64_t i = 0; i < n; i++) dlogprob[i] = (float)(seq % 7 + 1) * logprob[i] / 16;
  return ZK_OK;
}

typedef struct {
  const batch *batch;
  int leaf;                   // where the gradient goes
  bool known, hash, dentropy; // what is told of targets, and wanted
  bool rests;                 // the side's memory is given back and taken again before
} step;

typedef struct {
  test_model *m;
  zk_gradient *gradient;
  float *grad[LEAVES]; // device
} trainer;

static void open_trainer(test_model *m, int64_t microbatch_tokens, bool recompute, bool unrecorded, trainer *t) {
  t->m = m;
  OK(zk_gradient_open(&m->policy, &(zk_gradient_options){1, 0, 1, microbatch_tokens, recompute, unrecorded},
                      &t->gradient));
  for (int i = 0; i < LEAVES; i++)
    OK(zk_device_alloc(m->device, (size_t)m->policy.params.num_elements * 4, "gradient", (void **)&t->grad[i]));
}
static void close_trainer(trainer *t) {
  for (int i = 0; i < LEAVES; i++) zk_device_free(t->m->device, t->grad[i]);
  zk_gradient_close(t->gradient);
}

// A leaf: its gradient, then log-probabilities, entropies and log-sum-exps of its targets, what was found of known ones, and hashes; the caller frees.
static float *run(trainer *t, const step *how, int salt, size_t *num) {
  static sequences s;
  fill(&s, how->batch, salt);
  const size_t n = (size_t)t->m->policy.params.num_elements, targets = (size_t)s.targets[s.seqs.num_seqs];
  *num = n + 6 * targets;
  float *out = calloc(*num, sizeof *out);
  uint64_t *hashes = calloc(targets, sizeof *hashes);
  if (how->known)
    OK(zk_gradient_forward(t->gradient, &s.seqs, 0, s.seqs.num_seqs,
                           &(zk_gradient_outputs){.logprob = s.logprob, .lse = s.lse}));
  s.seqs.known = how->known ? &s.known : NULL, s.seqs.dentropy = how->dentropy ? s.dentropy : NULL;
  const zk_gradient_outputs to = {out + n, out + n + targets, out + n + 2 * targets, how->hash ? hashes : NULL};
  OK(zk_gradient_leaf(t->gradient, &s.seqs, 0, s.seqs.num_seqs, slopes, NULL, t->grad[how->leaf], &to, NULL));
  OK(zk_copy_to_host(t->m->stream, out, t->grad[how->leaf], n * sizeof *out));
  OK(zk_stream_wait(t->m->stream));
  memcpy(out + n + 3 * targets, s.found, targets * sizeof *out);
  memcpy(out + n + 4 * targets, hashes, targets * sizeof *hashes);
  free(hashes);
  return out;
}

// Each step with a trainer that records, one that does not, and one on the CPU. How many parts came from graphs.
static uint64_t compare(zk_numerics numerics, const zk_model_config *c, int64_t microbatch_tokens, bool recompute,
                        const step *steps, size_t num_steps) {
  test_model m, of_cpu;
  test_model_open_on(&m, ZK_DEVICE_CUDA, numerics, c);
  test_model_open(&of_cpu, numerics, c);
  test_model_give(&m, test_model_weights(&m, 11, 0.2));
  test_model_give(&of_cpu, test_model_weights(&m, 11, 0.2));
  trainer queued, recorded, on_cpu;
  open_trainer(&of_cpu, microbatch_tokens, recompute, true, &on_cpu);
  open_trainer(&m, microbatch_tokens, recompute, true, &queued);
  open_trainer(&m, microbatch_tokens, recompute, false, &recorded);
  for (size_t i = 0; i < num_steps; i++) {
    size_t num;
    if (steps[i].rests) {
      OK(zk_side_rest(m.device, ZK_SIDE_TRAINER));
      OK(zk_side_wake(m.device, ZK_SIDE_TRAINER));
    }
    float *want = run(&queued, &steps[i], (int)i, &num), *got = run(&recorded, &steps[i], (int)i, &num),
          *cpus = run(&on_cpu, &steps[i], (int)i, &num);
    if (memcmp(want, got, num * sizeof *got)) fail_msg("%s, step %zu differs", zk_numerics_name(numerics), i);
    if (memcmp(want, cpus, num * sizeof *cpus))
      fail_msg("%s, step %zu differs from the CPU", zk_numerics_name(numerics), i);
    free(want), free(got), free(cpus);
  }
  for (int op = 0; op < ZK_NUM_OPS; op++)
    assert_int_equal(zk_stream_calls(zk_gradient_stream(queued.gradient), op),
                     zk_stream_calls(zk_gradient_stream(recorded.gradient), op));
  assert_int_equal(zk_gradient_replays(queued.gradient), 0);
  const uint64_t replays = zk_gradient_replays(recorded.gradient);
  close_trainer(&queued), close_trainer(&recorded), close_trainer(&on_cpu);
  test_model_close(&m), test_model_close(&of_cpu);
  return replays;
}

static zk_model_config model(int layers, int hidden, bool is_tied) {
  zk_model_config c = zk_model_config_default(ZK_MODEL_QWEN3);
  c.num_layers = layers, c.hidden = hidden, c.num_heads = 2, c.num_kv_heads = 1, c.head_dim = 8, c.intermediate = 24,
  c.vocab = VOCAB;
  c.max_position = 128, c.tie_embeddings = is_tied;
  return c;
}

// Steps that differ from a recorded one in one thing: were it left out of a pass's key, the recorded pass would run in place of theirs, and differ.
static void replayed_passes_have_the_bits_of_queued_ones(void **state) {
  (void)state;
  // A, B and `two` have as many rows and targets, A and B in all that a key says. `many` wants more room for sequences than `large`, but no scratch.
  static const batch A = {{{1, 10, 1}, {1, 5, 2}, {1, 8, 3}}}, B = {{{1, 5, 3}, {1, 10, 2}, {1, 8, 1}}},
                     two = {{{1, 15, 2}, {1, 8, 4}}}, large = {{{1, 20, 1}, {1, 9, 2}, {1, 4, 1}}},
                     many = {{{6, 2, 1}}};
  static const step steps[] = {{.batch = &A},
                               {.batch = &two},
                               {.batch = &two},
                               {.batch = &A},
                               {.batch = &B},
                               {.batch = &A, .leaf = 1},
                               {.batch = &A, .dentropy = true},
                               {.batch = &A, .rests = true},
                               {.batch = &A, .known = true},
                               {.batch = &A, .known = true},
                               {.batch = &B, .known = true, .rests = true},
                               {.batch = &A, .known = true, .hash = true},
                               {.batch = &large},
                               {.batch = &large},
                               {.batch = &many},
                               {.batch = &large},
                               {.batch = &A}};
  enum { NUM = sizeof steps / sizeof *steps };
  const zk_model_config even = model(2, 16, false), odd = model(2, 17, true); // in bf16 its rows begin at half a word
  assert_int_equal(compare(ZK_F32, &even, 32, false, steps, NUM), 29);
  assert_int_equal(compare(ZK_BF16, &odd, 32, true, steps, NUM), 29);
}

// Several microbatches a leaf, and several chunks a microbatch: 256 sequences are a chunk.
static void the_same_of_several_microbatches_and_chunks(void **state) {
  (void)state;
  static const batch one = {{{250, 1, 1}, {6, 2, 1}}}, twice = {{{250, 1, 1}, {6, 2, 1}, {250, 1, 1}, {6, 2, 1}}};
  // Two chunks; a sequence without targets, or which of two has targets, is in the one or the other.
  static const batch chunks = {{{252, 1, 1}, {2, 2, 1}, {2, 2, 2}, {2, 2, 1}, {1, 2, 2}, {1, 1, 1}}},
                     rows = {{{253, 1, 1}, {2, 2, 1}, {1, 2, 2}, {2, 2, 1}, {2, 2, 2}}},
                     targets = {{{252, 1, 1}, {1, 2, 1}, {3, 2, 2}, {3, 2, 1}, {1, 1, 1}}};
  static const step steps[] = {{.batch = &one},    {.batch = &one},    {.batch = &twice}, {.batch = &twice},
                               {.batch = &chunks}, {.batch = &chunks}, {.batch = &rows},  {.batch = &targets}};
  const zk_model_config c = model(1, 8, true);
  assert_int_equal(compare(ZK_F32, &c, 300, false, steps, sizeof steps / sizeof *steps), 14);
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
  for (int i = 0; i < 3; i++, s.factor = 3)
    OK(zk_recordings_run(r, (int64_t[]){1, 2}, 2, scale, &s)); // 2, then 3 recorded, then 3 again
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(replayed_passes_have_the_bits_of_queued_ones),
                                     cmocka_unit_test(the_same_of_several_microbatches_and_chunks),
                                     cmocka_unit_test(a_key_says_all_that_differs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
