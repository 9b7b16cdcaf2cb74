// An adapter on the emulated GPU: completions from recorded graphs and queued ahead, log-probabilities and the gradients of all factors have the CPU's bits.
#include "tests/unit/engine_fixture.h"

#include "trainer/gradient.h"

enum { SAMPLES = 3, PROMPT = 5, MAX_NEW = 6, VOCAB = 48, SEQS = 2, LENGTH = 40, TARGETS = SEQS * (LENGTH - 1) };

static void make(test_model *m, zk_device_kind kind, zk_numerics numerics) {
  const zk_lora lora = {3, 7, (1u << ZK_LORA_NUM_TARGETS) - 1}; // a rank that no tile and no aligned load divides
  zk_model_config c = zk_model_config_default(ZK_MODEL_QWEN3);
  c.num_layers = 2, c.hidden = 32, c.num_heads = 2, c.num_kv_heads = 1, c.head_dim = 16, c.intermediate = 48, c.vocab = VOCAB;
  c.max_position = 128, c.tie_embeddings = 1;
  test_model_open_on(m, kind, numerics, &c);
  OK(zk_policy_add_adapter(&m->policy, &lora));
  const size_t base = (size_t)m->policy.params.num_elements, n = (size_t)m->policy.adapter.params.num_elements;
  float *flat = test_model_weights(m, 11, 0.2), *factors = malloc(n * sizeof *factors);
  void *rounded = malloc(n * sizeof *factors);
  for (size_t i = 0; i < n; i++) factors[i] = flat[(7 * i) % (base / 2)]; // B too
  test_model_give(m, flat);
  zk_weights_round(numerics, factors, (int64_t)n, rounded);
  OK(zk_copy_to_device(m->stream, m->policy.adapter.weights, rounded, n * zk_numerics_bytes(numerics)));
  OK(zk_policy_changed(&m->policy, m->stream));
  free(factors), free(rounded);
}

static void sample(const test_model *m, bool ahead, zk_completion out[SAMPLES]) {
  const zk_engine_options o = {.seed = 5, .temperature = 1, .top_p = 1, .max_new_tokens = MAX_NEW, .ignore_eos = true, .want_logits_hash = true, .max_batch = 7,
                               .page_tokens = 16, .prefill_chunk = 32, .max_sequence = 64, .kv_bytes = 1 << 18, .steps_ahead = ahead};
  const int32_t prompt[PROMPT] = {3, 1, 4, 1, 5};
  zk_engine *e;
  zk_completion c;
  OK(zk_engine_open(&m->policy, &o, &e));
  OK(zk_engine_submit(e, &(zk_request){.step = 1, .prompt = prompt, .num_prompt = PROMPT, .num_samples = SAMPLES}));
  while (zk_engine_num_open(e)) {
    OK(zk_engine_step(e));
    while (zk_engine_take(e, &c)) {
      assert_int_equal(c.num_tokens, MAX_NEW);
      out[c.sample] = c;
    }
  }
  zk_engine_close(e);
}

static zk_status slopes(void *context, int64_t seq, int64_t n, const float *logprob, const float *entropy, float *dlogprob) {
  (void)context, (void)logprob, (void)entropy;
  for (int64_t i = 0; i < n; i++) dlogprob[i] = (float)(seq + 1) / (float)(i + 1);
  return ZK_OK;
}

// Log-probabilities of two fixed sequences, and the factors' gradient behind them; the caller frees.
static float *train(const test_model *m) {
  static int64_t offsets[] = {0, LENGTH, 2 * LENGTH}, targets[] = {0, LENGTH - 1, TARGETS};
  static int32_t first[] = {1, 1}, tokens[SEQS * LENGTH];
  for (int i = 0; i < SEQS * LENGTH; i++) tokens[i] = i * 31 % VOCAB;
  const zk_sequences s = {SEQS, offsets, tokens, first, targets, NULL, NULL};
  const size_t n = (size_t)m->policy.adapter.params.num_elements;
  float *out = malloc((TARGETS + n) * sizeof *out), *grad;
  zk_gradient *g;
  OK(zk_gradient_open(&m->policy, &(zk_gradient_options){1, 0, 1, 4096, false}, &g));
  OK(zk_device_alloc(m->device, n * sizeof *grad, "gradient", (void **)&grad));
  OK(zk_gradient_leaf(g, &s, 0, SEQS, slopes, NULL, grad, &(zk_gradient_outputs){.logprob = out}, NULL));
  OK(zk_copy_to_host(m->stream, out + TARGETS, grad, n * sizeof *grad));
  OK(zk_stream_wait(m->stream));
  zk_device_free(m->device, grad);
  zk_gradient_close(g);
  return out;
}

static bool same_completions(const zk_completion *a, const zk_completion *b) {
  bool same = true;
  for (int i = 0; i < SAMPLES; i++) same &= same_completion(&a[i], &b[i]);
  return same;
}

static void an_adapter_has_the_cpus_bits(void **state) {
  (void)state;
  for (int numerics = 0; numerics < 2; numerics++) {
    test_model cpu, gpu;
    make(&cpu, ZK_DEVICE_CPU, numerics ? ZK_BF16 : ZK_F32);
    make(&gpu, ZK_DEVICE_CUDA, numerics ? ZK_BF16 : ZK_F32);
    zk_completion want[SAMPLES], got[SAMPLES];
    sample(&cpu, false, want);
    for (int ahead = 0; ahead < 2; ahead++) {
      sample(&gpu, ahead, got);
      assert_true(same_completions(got, want));
      free_completions(got, SAMPLES);
    }
    const size_t bytes = (TARGETS + (size_t)cpu.policy.adapter.params.num_elements) * sizeof(float);
    float *a = train(&cpu), *b = train(&gpu);
    assert_memory_equal(a, b, bytes);
    gpu.policy.adapter.scaling *= 1.5f; // negative control
    sample(&gpu, true, got);
    assert_false(same_completions(got, want));
    free(b);
    b = train(&gpu);
    assert_int_not_equal(memcmp(a, b, TARGETS * sizeof *a), 0);
    free(a), free(b);
    free_completions(got, SAMPLES), free_completions(want, SAMPLES);
    test_model_close(&cpu), test_model_close(&gpu);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(an_adapter_has_the_cpus_bits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
