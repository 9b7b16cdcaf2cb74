// Forward and backward passes of whole models against what transformers computes in float32 (tests/fixtures/models).
#include "model_fixture.h"

#include <math.h>

#include "kernels/linear.h"
#include "shared/decoder.h"
#include "shared/safetensors.h"
#include "trainer/gradient.h"

static const char *const folders[] = {"llama-tied", "llama3-rope", "qwen2-bias", "qwen3-qknorm"};

// The reference's sequences; every token but a sequence's first is a target.
typedef struct {
  zk_safetensors *file;
  zk_sequences seqs;
  int64_t num_tokens, num_targets;
} reference;

static int64_t *read_ints(zk_safetensors *file, const char *name, int64_t *n) {
  const zk_safetensor *t = zk_safetensors_find(file, name);
  assert_non_null(t);
  int64_t *out = malloc((size_t)t->num_elements * sizeof *out);
  OK(zk_safetensor_read_i64(t, 0, t->num_elements, out));
  *n = t->num_elements;
  return out;
}

static float *read_floats(zk_safetensors *file, const char *name, int64_t *n) {
  const zk_safetensor *t = zk_safetensors_find(file, name);
  assert_non_null(t);
  float *out = malloc((size_t)t->num_elements * sizeof *out);
  OK(zk_safetensor_read_f32(t, 0, t->num_elements, out));
  *n = t->num_elements;
  return out;
}

static reference open_reference(const char *dir) {
  reference r = {0};
  char path[512];
  snprintf(path, sizeof path, "%s/reference.safetensors", dir);
  OK(zk_safetensors_open(path, &r.file));
  int64_t num_offsets;
  int64_t *tokens = read_ints(r.file, "tokens", &r.num_tokens), *offsets = read_ints(r.file, "offsets", &num_offsets);
  int64_t n = num_offsets - 1, *targets = calloc((size_t)num_offsets, sizeof *targets);
  int32_t *ids = malloc((size_t)r.num_tokens * sizeof *ids), *first = malloc((size_t)n * sizeof *first);
  for (int64_t i = 0; i < r.num_tokens; i++) ids[i] = (int32_t)tokens[i];
  for (int64_t i = 0; i < n; i++) first[i] = 1, targets[i + 1] = targets[i] + offsets[i + 1] - offsets[i] - 1;
  r.num_targets = targets[n];
  r.seqs = (zk_sequences){n, offsets, ids, first, targets, NULL, NULL};
  free(tokens);
  return r;
}

static void close_reference(reference *r) {
  zk_sequences_free(&r->seqs);
  zk_safetensors_close(r->file);
}

static zk_status mean_nll(void *context, int64_t seq, int64_t n, const float *logprob, const float *entropy, float *dlogprob) {
  (void)seq, (void)logprob, (void)entropy;
  for (int64_t i = 0; i < n; i++) dlogprob[i] = -1.0f / (float)*(int64_t *)context;
  return ZK_OK;
}

static void check_logprobs(const reference *r, const float *ours) {
  int64_t n;
  float *theirs = read_floats(r->file, "logprobs", &n);
  for (int64_t i = 0, k = 0; i < r->seqs.num_seqs; i++)
    for (int64_t t = r->seqs.offsets[i] + 1; t < r->seqs.offsets[i + 1]; t++, k++)
      if (!(fabs((double)ours[k] - (double)theirs[t]) <= 1e-5 * fmax(1, fabs((double)theirs[t])))) fail_msg("token %lld: %g, reference %g", (long long)t, (double)ours[k], (double)theirs[t]);
  free(theirs);
}

// Each stored gradient element within 1e-4 of the tensor's root mean square, and the sample's error within 1e-4 of its norm.
static int64_t count_wrong_gradients(const test_model *m, const reference *r, const float *grad, char wrong_name[160]) {
  int64_t wrong = 0;
  for (int p = 0; p < m->policy.params.num_params; p++) {
    const zk_param *param = &m->policy.params.params[p];
    char name[160];
    int64_t n, one;
    snprintf(name, sizeof name, "grad/%s/index", param->name);
    int64_t *index = read_ints(r->file, name, &n);
    snprintf(name, sizeof name, "grad/%s/value", param->name);
    float *value = read_floats(r->file, name, &n);
    snprintf(name, sizeof name, "grad/%s/norm", param->name);
    float *norm = read_floats(r->file, name, &one);
    double error = 0, size = 0, total = 0, rms = (double)norm[0] / sqrt((double)param->num_elements);
    for (int64_t i = 0; i < param->num_elements; i++) total += (double)grad[param->first + i] * (double)grad[param->first + i];
    for (int64_t i = 0; i < n; i++) {
      double d = (double)grad[param->first + index[i]] - (double)value[i];
      error += d * d, size += (double)value[i] * (double)value[i];
      if (!(fabs(d) <= 1e-4 * fmax(fabs((double)value[i]), rms))) wrong++;
    }
    wrong += !(sqrt(error) <= 1e-4 * sqrt(size) + 1e-12);
    wrong += !(fabs(sqrt(total) - (double)norm[0]) <= 1e-4 * (double)norm[0]);
    if (wrong && !*wrong_name) snprintf(wrong_name, 160, "%s", param->name);
    free(index);
    free(value);
    free(norm);
  }
  return wrong;
}

static void log_probabilities_and_gradients_equal_transformers(void **state) {
  (void)state;
  for (size_t f = 0; f < sizeof folders / sizeof *folders; f++)
    for (int recompute = 0; recompute < 2; recompute++) {
      char dir[512];
      snprintf(dir, sizeof dir, ZK_FIXTURES "/models/%s", folders[f]);
      test_model m;
      test_model_load(&m, dir);
      reference r = open_reference(dir);
      zk_gradient *g;
      OK(zk_gradient_open(&m.policy, &(zk_gradient_options){1, 0, 1, 4096, recompute}, &g));
      float *grad, *logprob = malloc((size_t)r.num_targets * sizeof *logprob);
      OK(zk_device_alloc(m.device, (size_t)m.policy.params.num_elements * sizeof *grad, "gradient", (void **)&grad));
      OK(zk_gradient_leaf(g, &r.seqs, 0, r.seqs.num_seqs, mean_nll, &r.num_targets, grad, &(zk_gradient_outputs){.logprob = logprob}, NULL));
      check_logprobs(&r, logprob);
      char wrong[160] = "";
      if (count_wrong_gradients(&m, &r, grad, wrong)) fail_msg("%s: %s", folders[f], wrong);
      const zk_param *norm = &m.policy.params.params[zk_params_index(&m.policy.params, ZK_PARAM_FINAL_NORM, 0)];
      grad[norm->first] *= 1.01f; // negative control: one element, one percent
      assert_int_not_equal(count_wrong_gradients(&m, &r, grad, wrong), 0);
      zk_device_free(m.device, grad);
      free(logprob);
      zk_gradient_close(g);
      close_reference(&r);
      test_model_close(&m);
    }
}

// All logits of one sequence's row through the decoder's own functions.
static void row_logits(const test_model *m, const int32_t *tokens, int32_t num_tokens, float *logits) {
  const zk_policy *p = &m->policy;
  int32_t pages = (num_tokens + 15) / 16, *positions = calloc((size_t)num_tokens, 4), *table = calloc((size_t)pages, 4);
  for (int32_t i = 0; i < num_tokens; i++) positions[i] = i;
  for (int32_t i = 0; i < pages; i++) table[i] = pages - 1 - i;
  int32_t row_start[2] = {0, num_tokens}, first_pos = 0, last = num_tokens - 1;
  zk_attention_desc desc = zk_decoder_attention_desc(p, 16);
  zk_decoder_batch batch = {{num_tokens, 1, pages, row_start, &first_pos, table, NULL}, positions};
  zk_layer_activations acts;
  void *memory, *k, *v, *gathered, *normed;
  OK(zk_device_alloc(m->device, zk_layer_activations_bytes(p, num_tokens, false), "test", &memory));
  zk_layer_activations_place(p, num_tokens, false, memory, &acts);
  OK(zk_device_alloc(m->device, zk_kv_cache_bytes(m->device, &desc, pages), "test", &k));
  OK(zk_device_alloc(m->device, zk_kv_cache_bytes(m->device, &desc, pages), "test", &v));
  OK(zk_device_alloc(m->device, (size_t)p->config.hidden * 4, "test", &gathered));
  OK(zk_device_alloc(m->device, (size_t)p->config.hidden * 4, "test", &normed));
  OK(zk_decoder_embed(p, m->stream, tokens, num_tokens, acts.x));
  for (int l = 0; l < p->config.num_layers; l++) OK(zk_decoder_layer_forward(p, m->stream, l, 16, &batch, &acts, k, v, acts.x));
  OK(zk_decoder_gather_norm(p, m->stream, acts.x, num_tokens, &last, 1, gathered, normed, NULL));
  zk_linear_desc head = {ZK_F32, 1, p->config.hidden, p->config.vocab};
  OK(zk_linear_forward(m->stream, &head, normed, zk_policy_weight(p, ZK_PARAM_LM_HEAD, 0), zk_policy_packed(p, ZK_PARAM_LM_HEAD, 0), NULL, NULL, logits));
  OK(zk_stream_wait(m->stream));
  void *const all[] = {memory, k, v, gathered, normed};
  for (int i = 0; i < 5; i++) zk_device_free(m->device, all[i]);
  free(positions);
  free(table);
}

static void logits_equal_transformers(void **state) {
  (void)state;
  for (size_t f = 0; f < sizeof folders / sizeof *folders; f++) {
    char dir[512];
    snprintf(dir, sizeof dir, ZK_FIXTURES "/models/%s", folders[f]);
    test_model m;
    test_model_load(&m, dir);
    reference r = open_reference(dir);
    int64_t num_positions, n, vocab = m.policy.config.vocab;
    int64_t *positions = read_ints(r.file, "logit_positions", &num_positions);
    float *theirs = read_floats(r.file, "logits", &n), *ours;
    OK(zk_device_alloc(m.device, (size_t)vocab * 4, "test", (void **)&ours));
    assert_int_equal(n, num_positions * vocab);
    for (int64_t p = 0; p < num_positions; p++) {
      int64_t s = 0;
      while (r.seqs.offsets[s + 1] <= positions[p]) s++;
      row_logits(&m, r.seqs.tokens + r.seqs.offsets[s], (int32_t)(positions[p] + 1 - r.seqs.offsets[s]), ours);
      for (int64_t v = 0; v < vocab; v++) {
        double want = (double)theirs[p * vocab + v], got = (double)ours[v];
        if (!(fabs(want - got) <= 1e-4 * fmax(fabs(want), 0.1))) fail_msg("%s position %lld logit %lld: %g, reference %g", folders[f], (long long)positions[p], (long long)v, got, want);
      }
    }
    free(positions);
    free(theirs);
    zk_device_free(m.device, ours);
    close_reference(&r);
    test_model_close(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(logits_equal_transformers),
                                     cmocka_unit_test(log_probabilities_and_gradients_equal_transformers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
