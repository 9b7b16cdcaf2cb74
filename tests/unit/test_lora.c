// LoRA: log-probabilities and gradients of every factor against PEFT's in float64 (tests/fixtures/adapters), first values, folders, merging, and what
// bits the factored forward pass has.
#include "model_fixture.h"

#include <math.h>
#include <string.h>

#include "shared/adapter_base_name.h"
#include "shared/adapter_folder.h"
#include "shared/adapter_merge.h"
#include "shared/file_util.h"
#include "shared/safetensors.h"
#include "trainer/gradient.h"

enum { ALL = (1 << ZK_LORA_NUM_TARGETS) - 1, SOME = 1 << ZK_LORA_Q | 1 << ZK_LORA_V | 1 << ZK_LORA_DOWN };
static const struct {
  const char *name;
  zk_lora lora;
} adapters[] = {{"llama-tied", {4, 6, ALL}}, {"qwen2-bias", {3, 1, SOME}}, {"qwen3-qknorm", {8, 8, ALL}}};
enum { NUM_ADAPTERS = sizeof adapters / sizeof *adapters };

static zk_path model_dir(int i) { return zk_path_make(ZK_FIXTURES "/models/%s", adapters[i].name); }
static zk_path adapter_dir(int i) { return zk_path_make(ZK_FIXTURES "/adapters/%s", adapters[i].name); }

// A base with an adapter from `dir`, "": a new one.
static void open_model(test_model *m, zk_numerics numerics, const char *base, const zk_lora *lora, const char *dir) {
  zk_model_config config;
  zk_weight_source source;
  OK(zk_model_load_config(base, &config));
  test_model_open(m, numerics, &config);
  if (lora) OK(zk_policy_add_adapter(&m->policy, lora));
  OK(zk_policy_load_weights(&m->policy, m->stream, base));
  if (!lora) return;
  OK(zk_weight_source_open(dir, &config, &m->policy.adapter.params, 5, &source));
  OK(zk_policy_fill_adapter(&m->policy, m->stream, &source));
  zk_weight_source_close(&source);
}

// The sequences of a reference file; every token but a sequence's first is a target.
static zk_sequences read_sequences(zk_safetensors *file) {
  const zk_safetensor *tokens = zk_safetensors_find(file, "tokens"), *starts = zk_safetensors_find(file, "offsets");
  const int64_t n = starts->num_elements - 1, num = tokens->num_elements;
  int64_t *wide = malloc((size_t)num * sizeof *wide), *offsets = malloc((size_t)(n + 1) * sizeof *offsets), *targets = calloc((size_t)n + 1, sizeof *targets);
  int32_t *ids = malloc((size_t)num * sizeof *ids), *first = malloc((size_t)n * sizeof *first);
  OK(zk_safetensor_read_i64(tokens, 0, num, wide));
  OK(zk_safetensor_read_i64(starts, 0, n + 1, offsets));
  for (int64_t i = 0; i < num; i++) ids[i] = (int32_t)wide[i];
  for (int64_t i = 0; i < n; i++) first[i] = 1, targets[i + 1] = targets[i] + offsets[i + 1] - offsets[i] - 1;
  free(wide);
  return (zk_sequences){n, offsets, ids, first, targets, NULL, NULL};
}

static zk_status mean_nll(void *context, int64_t seq, int64_t n, const float *logprob, const float *entropy, float *dlogprob) {
  (void)seq, (void)logprob, (void)entropy;
  for (int64_t i = 0; i < n; i++) dlogprob[i] = -1.0f / (float)*(int64_t *)context;
  return ZK_OK;
}

// Log-probabilities of all targets, and with `grad` [of what is trained] the gradient of their mean; the caller frees.
static float *run(const test_model *m, const zk_sequences *s, bool recompute, float **grad) {
  int64_t num = s->target_offsets[s->num_seqs];
  float *logprob = malloc((size_t)num * sizeof *logprob);
  const zk_gradient_outputs out = {.logprob = logprob};
  zk_gradient *g;
  OK(zk_gradient_open(&m->policy, &(zk_gradient_options){1, 0, 1, 100, recompute}, &g));
  if (grad) {
    OK(zk_device_alloc(m->device, (size_t)zk_policy_trained(&m->policy).params->num_elements * sizeof **grad, "gradient", (void **)grad));
    OK(zk_gradient_leaf(g, s, 0, s->num_seqs, mean_nll, &num, *grad, &out, NULL));
  } else OK(zk_gradient_forward(g, s, 0, s->num_seqs, &out));
  zk_gradient_close(g);
  return logprob;
}

static int64_t count_wrong_logprobs(zk_safetensors *file, const zk_sequences *s, const float *ours) {
  const zk_safetensor *t = zk_safetensors_find(file, "logprobs");
  float *theirs = malloc((size_t)t->num_elements * sizeof *theirs);
  int64_t wrong = 0, k = 0;
  OK(zk_safetensor_read_f32(t, 0, t->num_elements, theirs));
  for (int64_t i = 0; i < s->num_seqs; i++)
    for (int64_t at = s->offsets[i] + 1; at < s->offsets[i + 1]; at++, k++)
      wrong += !(fabs((double)ours[k] - (double)theirs[at]) <= 1e-5 * fmax(1, fabs((double)theirs[at])));
  free(theirs);
  return wrong;
}

// Each element within 1e-4 of the factor's root mean square, and a factor's error within 1e-5 of its norm.
static int64_t count_wrong_gradients(zk_safetensors *file, const zk_params *params, const float *grad) {
  int64_t wrong = 0;
  for (int i = 0; i < params->num_params; i++) {
    const zk_param *p = &params->params[i];
    const zk_safetensor *t = zk_safetensors_find(file, zk_path_make("grad/%s", p->name).s);
    assert_non_null(t);
    assert_int_equal(t->num_elements, p->num_elements);
    float *theirs = malloc((size_t)t->num_elements * sizeof *theirs);
    OK(zk_safetensor_read_f32(t, 0, t->num_elements, theirs));
    double error = 0, size = 0;
    for (int64_t k = 0; k < p->num_elements; k++) size += (double)theirs[k] * (double)theirs[k];
    const double rms = sqrt(size / (double)p->num_elements);
    for (int64_t k = 0; k < p->num_elements; k++) {
      const double d = (double)grad[p->first + k] - (double)theirs[k];
      error += d * d, wrong += !(fabs(d) <= 1e-4 * rms);
    }
    wrong += !(sqrt(error) <= 1e-5 * sqrt(size));
    free(theirs);
  }
  return wrong;
}

static void peft_gives_the_same(void **state) {
  for (int i = 0; i < NUM_ADAPTERS; i++)
    for (int recompute = 0; recompute < 2; recompute++) {
      test_model m;
      zk_safetensors *file;
      float *grad;
      OK(zk_adapter_folder_check(adapter_dir(i).s, &adapters[i].lora));
      open_model(&m, ZK_F32, model_dir(i).s, &adapters[i].lora, adapter_dir(i).s);
      OK(zk_safetensors_open(zk_path_make("%s/reference.safetensors", adapter_dir(i).s).s, &file));
      zk_sequences s = read_sequences(file);
      float *logprob = run(&m, &s, recompute, &grad);
      assert_int_equal(count_wrong_logprobs(file, &s, logprob), 0);
      assert_int_equal(count_wrong_gradients(file, &m.policy.adapter.params, grad), 0);
      free(logprob), zk_device_free(m.device, grad);
      m.policy.adapter.scaling *= 1.01f; // negative control
      logprob = run(&m, &s, recompute, &grad);
      assert_int_not_equal(count_wrong_logprobs(file, &s, logprob), 0);
      assert_int_not_equal(count_wrong_gradients(file, &m.policy.adapter.params, grad), 0);
      free(logprob), zk_device_free(m.device, grad);
      zk_sequences_free(&s);
      zk_safetensors_close(file);
      test_model_close(&m);
    }
}

// A new adapter adds s B^T = +0 to every product: no bit of a log-probability changes, in either numerics.
static void a_new_adapter_has_the_bases_bits(void **state) {
  static const zk_numerics numerics[] = {ZK_F32, ZK_BF16};
  for (int n = 0; n < 2; n++)
    for (int i = 0; i < NUM_ADAPTERS; i++) {
      test_model base, adapted;
      zk_safetensors *file;
      open_model(&base, numerics[n], model_dir(i).s, NULL, "");
      open_model(&adapted, numerics[n], model_dir(i).s, &adapters[i].lora, "");
      OK(zk_safetensors_open(zk_path_make("%s/reference.safetensors", adapter_dir(i).s).s, &file));
      zk_sequences s = read_sequences(file);
      const size_t num = (size_t)s.target_offsets[s.num_seqs];
      float *a = run(&base, &s, false, NULL), *b = run(&adapted, &s, false, NULL);
      assert_bits_equal(b, a, num, "%s with a new adapter", adapters[i].name);
      free(b);
      zk_weight_source source;
      OK(zk_weight_source_open(adapter_dir(i).s, &adapted.policy.config, &adapted.policy.adapter.params, 0, &source));
      OK(zk_policy_fill_adapter(&adapted.policy, adapted.stream, &source));
      zk_weight_source_close(&source);
      b = run(&adapted, &s, false, NULL); // negative control: a B that is not zero
      assert_int_not_equal(memcmp(a, b, num * sizeof *a), 0);
      free(a), free(b);
      zk_sequences_free(&s);
      zk_safetensors_close(file);
      test_model_close(&base), test_model_close(&adapted);
    }
}

static void first_values(void **state) {
  zk_model_config config;
  zk_params small, large;
  OK(zk_model_load_config(model_dir(0).s, &config));
  OK(zk_params_create_adapter(&config, 4, ALL, &large));
  OK(zk_params_create_adapter(&config, 2, SOME, &small));
  float *a = malloc((size_t)large.num_elements * sizeof *a), *b = malloc((size_t)small.num_elements * sizeof *b), *piece = malloc(1000 * sizeof *piece);
  zk_adapter_init_range(&large, 9, 0, large.num_elements, a);
  zk_adapter_init_range(&small, 9, 0, small.num_elements, b);
  zk_adapter_init_range(&large, 9, 777, 1000, piece);
  assert_memory_equal(piece, a + 777, 1000 * sizeof *a); // a part is the whole's
  for (int i = 0; i < large.num_params; i++) {
    const zk_param *p = &large.params[i];
    const double bound = 1 / sqrt((double)p->cols);
    double sum = 0, squares = 0;
    for (int64_t k = 0; k < p->num_elements; k++) {
      const double v = (double)a[p->first + k];
      assert_true(p->kind < ZK_PARAM_LORA_B ? fabs(v) < bound : zk_float_bits(a[p->first + k]) == 0);
      sum += v, squares += v * v;
    }
    if (p->kind >= ZK_PARAM_LORA_B) continue;
    const double n = (double)p->num_elements;
    assert_true(fabs(sum / n) < 4 * bound / sqrt(3 * n));              // four standard deviations of a mean
    assert_true(fabs(squares / n / (bound * bound / 3) - 1) < 4 * sqrt(0.8 / n)); // and of a variance
  }
  for (int i = 0; i < small.num_params; i++) { // neither rank nor other targets are in a value
    const zk_param *p = &small.params[i], *q = &large.params[zk_params_index(&large, p->kind, p->layer)];
    if (p->kind < ZK_PARAM_LORA_B) assert_memory_equal(b + p->first, a + q->first, (size_t)p->num_elements * sizeof *a);
  }
  zk_adapter_init_range(&small, 10, 0, small.num_elements, b);
  assert_int_not_equal(memcmp(b, a, 64), 0); // negative control: another seed
  free(a), free(b), free(piece);
  zk_params_destroy(&small), zk_params_destroy(&large);
}

static char *make_dir(char *buffer) {
  strcpy(buffer, "/tmp/zk_test_lora_XXXXXX");
  assert_non_null(mkdtemp(buffer));
  return buffer;
}

// Read from PEFT's folder, written by us: the same tensors under the same names, and a config that is accepted again.
static void folders_are_pefts(void **state) {
  for (int i = 0; i < NUM_ADAPTERS; i++) {
    char dir[64];
    zk_model_config config;
    zk_params params;
    zk_weight_source source;
    zk_model_writer *writer;
    zk_safetensors *ours, *theirs;
    make_dir(dir);
    OK(zk_model_load_config(model_dir(i).s, &config));
    OK(zk_lora_params(&adapters[i].lora, &config, &params));
    float *flat = malloc((size_t)params.num_elements * sizeof *flat);
    OK(zk_weight_source_open(adapter_dir(i).s, &config, &params, 0, &source));
    OK(zk_weight_source_read(&source, 0, params.num_elements, flat));
    OK(zk_adapter_folder_write(dir, &adapters[i].lora, adapters[i].name, ZK_F32, 42));
    OK(zk_model_writer_open(dir, NULL, &params, ZK_DTYPE_F32, 64, NULL, &writer)); // a model would be in many files
    OK(zk_model_writer_append(writer, flat, params.num_elements));
    OK(zk_model_writer_close(writer));
    OK(zk_adapter_folder_check(dir, &adapters[i].lora));
    OK(zk_adapter_folder_check_base(dir, ZK_F32, 42));
    OK(zk_adapter_folder_check_base(dir, ZK_BF16, 43)); // of other numerics: nothing to compare
    assert_int_equal(zk_adapter_folder_check_base(dir, ZK_F32, 43), ZK_BAD_INPUT);
    OK(zk_safetensors_open(zk_path_make("%s/adapter_model.safetensors", dir).s, &ours));
    OK(zk_safetensors_open(zk_path_make("%s/adapter_model.safetensors", adapter_dir(i).s).s, &theirs));
    assert_int_equal(zk_safetensors_count(ours), zk_safetensors_count(theirs));
    for (int k = 0; k < zk_safetensors_count(ours); k++) {
      const zk_safetensor *a = zk_safetensors_at(ours, k), *b = zk_safetensors_at(theirs, k);
      assert_string_equal(a->name, b->name);
      assert_int_equal(a->num_dims, b->num_dims);
      assert_memory_equal(a->shape, b->shape, 2 * sizeof *a->shape);
      assert_memory_equal(a->data, b->data, (size_t)a->num_elements * sizeof(float));
    }
    zk_safetensors_close(ours), zk_safetensors_close(theirs);
    zk_weight_source_close(&source);
    zk_params_destroy(&params);
    free(flat);
    OK(zk_file_remove_tree(dir));
  }
}

// What is asked for is not what the folder holds.
static void other_adapters_are_refused(void **state) {
  static const struct {
    zk_lora lora;
    const char *text;
  } cases[] = {{{5, 6, ALL}, "lora.rank is 5"}, {{4, 7, ALL}, "lora.alpha is 7"}, {{4, 6, SOME}, "target_modules"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(zk_adapter_folder_check(adapter_dir(0).s, &cases[i].lora), ZK_BAD_INPUT);
    assert_non_null(strstr(zk_status_message(), cases[i].text));
  }
  zk_model_config config; // another base
  zk_params params;
  zk_weight_source source;
  OK(zk_model_load_config(model_dir(2).s, &config));
  OK(zk_lora_params(&adapters[0].lora, &config, &params));
  assert_int_equal(zk_weight_source_open(adapter_dir(0).s, &config, &params, 0, &source), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "fits another base"));
  zk_params_destroy(&params);
}

// A config that is PEFT's but for one key, which is named; all that PEFT writes beside it is accepted.
static void other_configs_are_refused(void **state) {
  static const struct {
    const char *text, *named; // named NULL: accepted
  } cases[] = {{"\"lora_dropout\": 0.1", NULL}, {"\"init_lora_weights\": \"gaussian\"", NULL}, {"\"init_lora_weights\": true", NULL},
               {"\"rank_pattern\": {}", NULL},
               {"\"use_dora\": true", "use_dora"},
               {"\"use_rslora\": true", "use_rslora"},
               {"\"bias\": \"all\"", "bias"},
               {"\"rank_pattern\": {\"q_proj\": 2}", "rank_pattern"},
               {"\"modules_to_save\": [\"lm_head\"]", "modules_to_save"},
               {"\"alora_invocation_tokens\": [3]", "alora_invocation_tokens"},
               {"\"arrow_config\": {\"top_k\": 3}", "arrow_config"},
               {"\"kasa_config\": {\"beta\": 0.1}", "kasa_config"},
               {"\"init_lora_weights\": \"pissa_niter_4\"", "pissa_niter_4"},
               {"\"init_lora_weights\": \"olora\"", "olora"},
               {"\"init_lora_weights\": \"OLoRA\"", "OLoRA"},
               {"\"init_lora_weights\": \"corda\"", "corda"},
               {"\"init_lora_weights\": \"loftq\"", "loftq"},
               {"\"init_lora_weights\": \"lora_ga\"", "lora_ga"}};
  static const char *const whole[] = {"{\"peft_type\": \"LOHA\", \"r\": 4, \"lora_alpha\": 6}", "{\"peft_type\": \"LORA\", \"r\": \"4\", \"lora_alpha\": 6}",
                                      "{\"peft_type\": \"LORA\", \"r\": 4}", "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 6, \"target_modules\": [\"lm_head\"]}",
                                      "[]", "{"};
  char text[256];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    snprintf(text, sizeof text, "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 6, \"target_modules\": \"all-linear\", %s}", cases[i].text);
    const zk_status st = zk_adapter_config_check("adapter_config.json", text, strlen(text), &adapters[0].lora);
    if (cases[i].named == NULL) OK(st);
    else {
      assert_int_equal(st, ZK_UNSUPPORTED);
      assert_non_null(strstr(zk_status_message(), cases[i].named));
    }
  }
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
    assert_int_not_equal(zk_adapter_config_check("adapter_config.json", whole[i], strlen(whole[i]), &adapters[0].lora), ZK_OK);
    assert_non_null(strstr(zk_status_message(), "adapter_config.json"));
  }
}

static void a_base_is_known_by_its_name(void **state) {
  static const struct {
    const char *name, *dir;
    bool same;
  } cases[] = {{"Qwen/Qwen3-8B", "/models/Qwen3-8B", true},
               {"Qwen3-8B", "Qwen3-8B/", true},
               {"/a/Qwen3-8B//", "/b/Qwen3-8B", true},
               {"Qwen/Qwen3-8B", "/hub/models--Qwen--Qwen3-8B/snapshots/0a1b", true},
               {"Qwen/Qwen3-8B", "/models/Qwen3-8B-Base", false},
               {"Qwen/Qwen3-8B-Base", "/models/Qwen3-8B", false},
               {"Qwen3-8B", "/models/MyQwen3-8B", false},
               {"Qwen3-8B", "--Qwen3-8B", false},
               {"Qwen3-8B", "", false},
               {"", "/models", false},
               {"///", "///", false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (zk_adapter_base_is_named(cases[i].name, cases[i].dir) != cases[i].same) fail_msg("%s in %s", cases[i].name, cases[i].dir);
  for (int i = 0; i < NUM_ADAPTERS; i++) {
    const zk_path name = zk_adapter_base_name(adapter_dir(i).s);
    assert_string_equal(name.s, adapters[i].name);
    assert_true(zk_adapter_base_is_named(name.s, model_dir(i).s));
  }
  assert_string_equal(zk_adapter_base_name(model_dir(0).s).s, "");
}

// Merged weights are the adapter for everyone else: log-probabilities within 1e-4, and not the factored pass's bits, so that a sampler of merged
// weights would be found out.
static void merged_is_near_and_not_the_same(void **state) {
  for (int i = 0; i < NUM_ADAPTERS; i++) {
    char dir[64];
    test_model factored, merged;
    zk_safetensors *file;
    zk_weight_source base, factors;
    open_model(&factored, ZK_F32, model_dir(i).s, &adapters[i].lora, adapter_dir(i).s);
    const zk_policy *p = &factored.policy;
    OK(zk_weight_source_open(model_dir(i).s, &p->config, &p->params, 0, &base));
    OK(zk_weight_source_open(adapter_dir(i).s, &p->config, &p->adapter.params, 0, &factors));
    zk_adapter_merge merge = {&base, &factors, adapters[i].lora, ZK_F32, p->frozen_hash ^ 1, adapter_dir(i).s, NULL, ZK_DTYPE_F32};
    make_dir(dir);
    assert_int_equal(zk_adapter_merge_to(&merge, dir), ZK_BAD_INPUT); // another base, by its hash
    merge.base_hash ^= 1;
    OK(zk_adapter_merge_to(&merge, dir));
    open_model(&merged, ZK_F32, dir, NULL, "");
    OK(zk_safetensors_open(zk_path_make("%s/reference.safetensors", adapter_dir(i).s).s, &file));
    zk_sequences s = read_sequences(file);
    float *a = run(&factored, &s, false, NULL), *b = run(&merged, &s, false, NULL);
    int64_t differing = 0;
    for (int64_t k = 0; k < s.target_offsets[s.num_seqs]; k++) {
      assert_true(fabsf(a[k] - b[k]) <= 1e-4f);
      differing += zk_float_bits(a[k]) != zk_float_bits(b[k]);
    }
    assert_true(differing > 0);
    free(a), free(b);
    zk_sequences_free(&s);
    zk_safetensors_close(file);
    zk_weight_source_close(&base), zk_weight_source_close(&factors);
    test_model_close(&factored), test_model_close(&merged);
    OK(zk_file_remove_tree(dir));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(peft_gives_the_same),       cmocka_unit_test(a_new_adapter_has_the_bases_bits), cmocka_unit_test(first_values),
      cmocka_unit_test(folders_are_pefts),         cmocka_unit_test(other_adapters_are_refused),       cmocka_unit_test(merged_is_near_and_not_the_same),
      cmocka_unit_test(other_configs_are_refused),
      cmocka_unit_test(a_base_is_known_by_its_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
