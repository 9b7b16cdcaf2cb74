// Every algorithm's advantages, loss and dLoss/dlogprob against float64 references (tests/fixtures/make_algorithms.py), presets, and on-policy ratios.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shared/config_keys.h"
#include "trainer/advantage.h"
#include "trainer/kl.h"
#include "trainer/policy_loss.h"

#define TOLERANCE 1e-5 // relative, against float64: inputs are f32, advantages and slopes are rounded to f32

static json_t *fixture;

static int load(void **state) {
  json_error_t error;
  fixture = json_load_file(ZK_FIXTURES "/algorithms/cases.json", 0, &error);
  return fixture ? 0 : -1;
}
static int unload(void **state) {
  json_decref(fixture);
  return 0;
}

static double number(const json_t *array, size_t i) { return json_number_value(json_array_get(array, i)); }

static void fill(const json_t *from, float *to) {
  for (size_t i = 0; i < json_array_size(from); i++) to[i] = (float)number(from, i);
}

static zk_config config_of(const json_t *c) {
  char *keys[16];
  const json_t *given = json_object_get(c, "keys");
  for (size_t i = 0; i < json_array_size(given); i++) keys[i] = (char *)json_string_value(json_array_get(given, i));
  zk_config config;
  if (zk_config_load(NULL, (int)json_array_size(given), keys, &config) != ZK_OK) fail_msg("%s", zk_status_message());
  return config;
}

static const json_t *batch_of(const json_t *c) {
  return json_array_get(json_object_get(fixture, "batches"), (size_t)json_integer_value(json_object_get(c, "batch")));
}

// The batch of a case as a step, with trainer_logprob from before the update; *logprob: of the policy at hand, to free.
static zk_trajectory step_of(const json_t *c, float **logprob) {
  const json_t *b = batch_of(c);
  const json_t *lengths = json_object_get(b, "lengths"), *old = json_object_get(b, "sampler_logprob");
  const int64_t n = (int64_t)json_array_size(lengths), group = json_integer_value(json_object_get(b, "group")), tokens = (int64_t)json_array_size(old);
  zk_trajectory t;
  assert_int_equal(zk_trajectory_alloc(&t, n / group, 0, n, tokens, 0), ZK_OK);
  for (int64_t i = 0; i < n; i++) {
    t.prompt_index[i] = (int32_t)(i / group), t.sample_index[i] = (int32_t)(i % group);
    t.sample_offsets[i + 1] = t.sample_offsets[i] + (int64_t)number(lengths, (size_t)i);
    t.finish_reason[i] = number(json_object_get(b, "cut"), (size_t)i) ? ZK_FINISH_LENGTH : ZK_FINISH_EOS;
  }
  fill(json_object_get(b, "rewards"), t.reward);
  fill(old, t.sampler_logprob);
  fill(json_object_get(b, "before"), t.trainer_logprob);
  fill(json_object_get(b, "reference"), t.reference_logprob);
  *logprob = malloc((size_t)tokens * sizeof **logprob);
  fill(json_object_get(b, "logprob"), *logprob);
  return t;
}

static bool near(double got, double want, double scale) { return fabs(got - want) <= TOLERANCE * fabs(scale); }

// The largest magnitude of a fixture's array: what an element that ought to vanish is measured by.
static double largest(const json_t *array) {
  double most = 0;
  for (size_t i = 0; i < json_array_size(array); i++) most = fmax(most, fabs(number(array, i)));
  return most;
}

// Whether advantages, loss and every slope of a case are the reference's.
static bool agrees(const json_t *c, const zk_config *config) {
  const json_t *advantages = json_object_get(c, "advantages"), *slopes = json_object_get(c, "slopes");
  float *logprob, *slope;
  zk_trajectory t = step_of(c, &logprob);
  zk_advantage_stats stats;
  assert_int_equal(zk_advantage_compute(config, &t, &stats), ZK_OK);
  bool ok = true;
  for (int64_t i = 0; i < t.num_samples; i++) {
    const double want = number(advantages, (size_t)i);
    ok = ok && near((double)t.advantage[i], want, fmax(fabs(want), 1e-9));
  }
  zk_policy_batch batch = zk_policy_batch_of(config, &t, 0, t.num_samples, t.trainer_logprob);
  slope = calloc((size_t)t.num_sample_tokens, sizeof *slope);
  float *entropy = calloc((size_t)t.num_sample_tokens, sizeof *entropy), *dentropy = calloc((size_t)t.num_sample_tokens, sizeof *dentropy);
  fill(json_object_get(batch_of(c), "entropy"), entropy);
  zk_policy_entropy_slopes(&batch, dentropy);
  for (int64_t i = 0; i < t.num_samples; i++) {
    const int64_t at = t.sample_offsets[i];
    assert_int_equal(zk_policy_loss(&batch, i, t.sample_offsets[i + 1] - at, logprob + at, entropy + at, slope + at), ZK_OK);
  }
  for (int64_t k = 0; k < t.num_sample_tokens; k++) {
    const double want = number(slopes, (size_t)k);
    ok = ok && near((double)slope[k], want, want ? want : 1e-6 * largest(slopes));
  }
  const json_t *entropy_slopes = json_object_get(c, "entropy_slopes");
  for (int64_t k = 0; k < t.num_sample_tokens; k++) {
    const double want = entropy_slopes ? number(entropy_slopes, (size_t)k) : 0;
    ok = ok && near((double)dentropy[k], want, want);
  }
  zk_policy_stats all = {0};
  zk_policy_stats_add(&all, &batch, logprob, entropy);
  zk_policy_stats_finish(&all);
  // A loss is a sum that may all but cancel: against the magnitudes of what is summed.
  const double loss = json_number_value(json_object_get(c, "loss"));
  double terms = config->algorithm.entropy_coef;
  for (int64_t k = 0; k < t.num_sample_tokens; k++) terms += fabs(number(slopes, (size_t)k));
  ok = ok && near(all.loss, loss, fmax(fabs(loss), terms));
  free(slope);
  free(entropy);
  free(dentropy);
  free(logprob);
  zk_trajectory_free(&t);
  return ok;
}

static void losses_and_gradients_are_the_papers(void **state) {
  const json_t *c;
  size_t i;
  json_array_foreach(json_object_get(fixture, "cases"), i, c) {
    const zk_config config = config_of(c);
    if (agrees(c, &config)) continue;
    fail_msg("%s, batch %d: not the reference's", json_string_value(json_object_get(c, "name")), (int)json_integer_value(json_object_get(c, "batch")));
  }
}

static const json_t *case_named(const char *name, int batch) {
  const json_t *c;
  size_t i;
  json_array_foreach(json_object_get(fixture, "cases"), i, c)
    if (!strcmp(json_string_value(json_object_get(c, "name")), name) && json_integer_value(json_object_get(c, "batch")) == batch) return c;
  fail_msg("no case %s", name);
  return NULL;
}

// Negative control: each piece of the table, changed, is seen.
static void another_formula_is_seen(void **state) {
  const json_t *grpo = case_named("grpo", 1), *gspo = case_named("gspo", 2), *cispo = case_named("cispo", 1), *constant = case_named("dr_grpo", 1);
  zk_config c = config_of(grpo);
  assert_true(agrees(grpo, &c));
  c.algorithm.advantage.baseline = ZK_CONFIG_BASELINE_LEAVE_ONE_OUT;
  assert_false(agrees(grpo, &c));
  c = config_of(grpo), c.algorithm.advantage.scale = ZK_CONFIG_SCALE_BATCH_STD;
  assert_false(agrees(grpo, &c));
  c = config_of(grpo), c.algorithm.ratio = ZK_CONFIG_RATIO_SEQUENCE;
  assert_false(agrees(grpo, &c));
  c = config_of(grpo), c.algorithm.clip_high = 0.28;
  assert_false(agrees(grpo, &c));
  c = config_of(grpo), c.algorithm.loss_aggregation = ZK_CONFIG_LOSS_SEQUENCE_MEAN;
  assert_false(agrees(grpo, &c));
  c = config_of(gspo), c.algorithm.clip_low = 4e-4;
  assert_false(agrees(gspo, &c));
  c = config_of(cispo), c.algorithm.clip = ZK_CONFIG_CLIP_PPO;
  assert_false(agrees(cispo, &c));
  const json_t *tis = case_named("grpo, TIS of tokens", 1), *mis = case_named("grpo, MIS of sequences", 1);
  c = config_of(tis), c.algorithm.importance.mode = ZK_CONFIG_IMPORTANCE_NONE;
  assert_false(agrees(tis, &c));
  c = config_of(tis), c.algorithm.importance.mode = ZK_CONFIG_IMPORTANCE_MASK;
  assert_false(agrees(tis, &c));
  c = config_of(tis), c.algorithm.importance.cap *= 1.01;
  assert_false(agrees(tis, &c));
  c = config_of(mis), c.algorithm.importance.level = ZK_CONFIG_IMPORTANCE_TOKEN;
  assert_false(agrees(mis, &c));
  const json_t *k3 = case_named("grpo, k3 in the loss", 1), *k1 = case_named("rloo, k1 in the reward", 1);
  c = config_of(k3), c.algorithm.kl.estimator = ZK_CONFIG_KL_K2;
  assert_false(agrees(k3, &c));
  c = config_of(k3), c.algorithm.kl.place = ZK_CONFIG_KL_IN_REWARD;
  assert_false(agrees(k3, &c));
  c = config_of(k1), c.algorithm.kl.coef *= 1.01;
  assert_false(agrees(k1, &c));
  const json_t *dapo = case_named("dapo", 1), *whole = case_named("grpo, without what was cut off", 1);
  c = config_of(dapo), c.algorithm.overlong.buffer++;
  assert_false(agrees(dapo, &c));
  c = config_of(whole), c.algorithm.overlong.mask = false;
  assert_false(agrees(whole, &c));
  const json_t *bonus = case_named("grpo, entropy bonus", 1);
  c = config_of(bonus), c.algorithm.entropy_coef *= 1.01;
  assert_false(agrees(bonus, &c));
  c = config_of(constant), c.algorithm.loss_constant++;
  assert_false(agrees(constant, &c));
}

// Where the policy is the sampler the ratio is 1, to the bit, and nothing is clipped.
static void on_policy_ratios_are_exactly_one(void **state) {
  const json_t *c;
  size_t i;
  json_array_foreach(json_object_get(fixture, "cases"), i, c) {
    const zk_config config = config_of(c);
    float *logprob;
    zk_trajectory t = step_of(c, &logprob);
    zk_advantage_stats stats;
    assert_int_equal(zk_advantage_compute(&config, &t, &stats), ZK_OK);
    const zk_policy_batch batch = zk_policy_batch_of(&config, &t, 0, t.num_samples, NULL);
    int64_t moved = 0;
    for (int64_t s = 0; s < t.num_samples; s++) {
      const int64_t at = t.sample_offsets[s];
      const zk_policy_sequence same = zk_policy_sequence_of(&batch, s, t.sampler_logprob + at), other = zk_policy_sequence_of(&batch, s, logprob + at);
      for (int64_t k = 0; at + k < t.sample_offsets[s + 1]; k++) {
        const zk_token_loss token = zk_policy_token_loss(&batch, &same, k, t.sampler_logprob[at + k]);
        assert_true(token.ratio == 1.0 && !token.clipped);
        assert_true(token.slope == -(double)t.advantage[s] || (config.algorithm.kl.coef > 0 && config.algorithm.kl.place == ZK_CONFIG_KL_IN_LOSS));
        // Negative control: off policy it is not, or (importance) its weight is not.
        const zk_token_loss moved_token = zk_policy_token_loss(&batch, &other, k, logprob[at + k]);
        moved += moved_token.ratio != 1.0 || moved_token.slope != token.slope;
      }
    }
    assert_true(moved > 0);
    free(logprob);
    zk_trajectory_free(&t);
  }
}

static void no_log_ratio_overflows(void **state) {
  char *keys[] = {"algorithm.name=grpo", "algorithm.clip=none"};
  zk_config config;
  zk_trajectory t;
  assert_int_equal(zk_config_load(NULL, 2, keys, &config), ZK_OK);
  assert_int_equal(zk_trajectory_alloc(&t, 1, 0, 1, 2, 0), ZK_OK);
  t.sample_offsets[1] = 2, t.sampler_logprob[0] = -3e38f, t.sampler_logprob[1] = -1, t.advantage[0] = -2;
  zk_policy_batch batch = zk_policy_batch_of(&config, &t, 0, 1, NULL);
  const float logprob[2] = {-1, -3e38f};
  float slope[2];
  assert_int_equal(zk_policy_loss(&batch, 0, 2, logprob, NULL, slope), ZK_OK);
  assert_true(isfinite(slope[0]) && isfinite(slope[1]));
  zk_trajectory_free(&t);
}

// Finite for any two finite log-probabilities, and without a jump in value or slope where a curve becomes its tangent.
static void no_divergence_overflows(void **state) {
  static const double far[] = {0, -1e-30, -1, -19.999, -20, -20.001, -1e3, -1e30, -3.4e38};
  for (int e = ZK_CONFIG_KL_K1; e <= ZK_CONFIG_KL_K3; e++)
    for (size_t i = 0; i < sizeof far / sizeof *far; i++)
      for (size_t j = 0; j < sizeof far / sizeof *far; j++) {
        const zk_kl kl = zk_kl_estimate((zk_config_kl_estimator)e, far[i], far[j]);
        assert_true(isfinite(kl.value) && isfinite((float)kl.slope));
        if (e != ZK_CONFIG_KL_K1) assert_true(kl.value >= -1e-15 && (i == j || (fabs(far[i] - far[j]) < 1e-9) || kl.slope != 0));
        if (far[i] == far[j]) assert_true(kl.value == 0);
      }
  for (int e = ZK_CONFIG_KL_K2; e <= ZK_CONFIG_KL_K3; e++)
    for (int sign = -1; sign <= 1; sign += 2) {
      const zk_kl in = zk_kl_estimate((zk_config_kl_estimator)e, sign * (20 - 1e-9), 0), out = zk_kl_estimate((zk_config_kl_estimator)e, sign * (20 + 1e-9), 0);
      assert_true(fabs(in.value - out.value) < 1e-8 * fabs(in.value) && fabs(in.slope - out.slope) < 1e-8 * fabs(in.slope));
    }
}

// ---- the table ------------------------------------------------------------------------------------------------------------------------------------

static void the_first_row_is_the_keys_defaults(void **state) {
  for (int i = 0; i < ZK_ALGORITHM_NUM_KEYS; i++)
    assert_string_equal(zk_algorithms[ZK_ALGORITHM_GRPO].values[i], zk_config_keys[zk_config_key_find(zk_algorithm_keys[i])].fallback);
}

static void a_name_is_a_preset_and_keys_win(void **state) {
  for (int a = 0; a < ZK_NUM_ALGORITHMS; a++) {
    char name[64];
    zk_config config, wanted;
    snprintf(name, sizeof name, "algorithm.name=%s", zk_algorithms[a].name);
    assert_int_equal(zk_config_load(NULL, 1, (char *[]){name}, &config), ZK_OK);
    assert_int_equal(config.algorithm.name, a);
    for (int i = 0; i < ZK_ALGORITHM_NUM_KEYS; i++) {
      const zk_config_key *key = &zk_config_keys[zk_config_key_find(zk_algorithm_keys[i])];
      const char *value = zk_algorithms[a].values[i];
      assert_int_equal(zk_config_value_set(key, value, strlen(value), true, &wanted), ZK_OK);
      char *got = zk_config_value_text(key, &config), *want = zk_config_value_text(key, &wanted);
      assert_string_equal(got, want);
      free(got);
      free(want);
    }
  }
  zk_config config;
  assert_int_equal(zk_config_load(NULL, 2, (char *[]){"algorithm.epochs=2", "algorithm.name=ppo"}, &config), ZK_OK);
  assert_int_equal(config.algorithm.epochs, 2);
  assert_int_equal(config.algorithm.minibatches, 4);
}

// Splits a line at its spaces, in place; returns how many words there are.
static int split(char *line, char **words, int most) {
  int num = 0;
  for (char *word = strtok(line, " \n"); word && num < most; word = strtok(NULL, " \n")) words[num++] = word;
  return num;
}

// The commands that configs/README.md has for SmolLM2: one for each row, and each is a config.
static void every_row_has_a_command(void **state) {
  FILE *file = fopen(ZK_FIXTURES "/../../configs/README.md", "r");
  bool is_there[ZK_NUM_ALGORITHMS] = {false};
  char line[512], *words[16];
  assert_non_null(file);
  while (fgets(line, sizeof line, file)) {
    zk_config config;
    if (strncmp(line, "zerokl train configs/smollm2.yaml ", 34) != 0) continue;
    const int num = split(line, words, 16);
    if (zk_config_load(ZK_FIXTURES "/../../configs/smollm2.yaml", num - 3, words + 3, &config) != ZK_OK) fail_msg("%s", zk_status_message());
    assert_false(is_there[config.algorithm.name]);
    assert_string_equal(config.run.name + strlen("smollm2-"), zk_algorithms[config.algorithm.name].name);
    is_there[config.algorithm.name] = true;
  }
  fclose(file);
  for (int a = 0; a < ZK_NUM_ALGORITHMS; a++)
    if (!is_there[a]) fail_msg("configs/README.md has no command for %s on SmolLM2", zk_algorithms[a].name);
}

static void every_row_has_a_recipe(void **state) {
  for (int a = 0; a < ZK_NUM_ALGORITHMS; a++) {
    char path[512];
    zk_config config;
    snprintf(path, sizeof path, ZK_FIXTURES "/../../configs/algorithms/%s.yaml", zk_algorithms[a].name);
    if (zk_config_load(path, 0, NULL, &config) != ZK_OK) fail_msg("%s", zk_status_message());
    assert_int_equal(config.algorithm.name, a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(losses_and_gradients_are_the_papers), cmocka_unit_test(another_formula_is_seen),
      cmocka_unit_test(on_policy_ratios_are_exactly_one),    cmocka_unit_test(no_log_ratio_overflows),
      cmocka_unit_test(no_divergence_overflows),
      cmocka_unit_test(the_first_row_is_the_keys_defaults),  cmocka_unit_test(a_name_is_a_preset_and_keys_win),
      cmocka_unit_test(every_row_has_a_recipe),              cmocka_unit_test(every_row_has_a_command),
  };
  return cmocka_run_group_tests(tests, load, unload);
}
