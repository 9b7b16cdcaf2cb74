// The memory plan: large models on a large GPU, what is left to the cache, and what a refusal names.
#include "tests/unit/device_fixture.h"

#include "trainer/plan.h"

#define GB ((size_t)1000000000)

typedef struct {
  zk_config config;
  zk_policy shape;
} planned;

static void open_model(planned *p, int layers, int hidden, int heads, int intermediate, int tied) {
  zk_model_config m = zk_model_config_default(ZK_MODEL_QWEN3);
  m.num_layers = layers, m.hidden = hidden, m.num_heads = heads, m.num_kv_heads = 8, m.head_dim = 128, m.intermediate = intermediate;
  m.vocab = 151936, m.max_position = 40960, m.tie_embeddings = tied;
  zk_config_defaults(&p->config);
  p->config.numerics = ZK_BF16;
  p->shape = (zk_policy){.device = device, .numerics = ZK_BF16, .config = m, .num_positions = m.max_position};
  OK(zk_params_create(&m, &p->shape.params));
}
static void qwen3_8b(planned *p) { open_model(p, 36, 4096, 32, 12288, 0); }
static void qwen3_1b7(planned *p) { open_model(p, 28, 2048, 16, 6144, 1); }

static size_t row_of(const zk_plan *plan, const char *what) {
  for (int i = 0; i < plan->num_rows; i++)
    if (!strncmp(plan->rows[i].what, what, strlen(what))) return plan->rows[i].bytes;
  return 0;
}

static void an_8b_model_samples_and_the_cache_takes_the_rest(void **state) {
  planned p;
  zk_plan plan;
  qwen3_8b(&p);
  p.config.rollout.max_batch = 256;
  zk_plan_make(&p.config, ZK_PLAN_SAMPLE, &p.shape, 1, 1, 140 * GB, true, &plan);
  OK(zk_plan_fits(&plan, true, "a GPU"));
  size_t total = 0;
  for (int i = 0; i < plan.num_rows; i++) total += plan.rows[i].bytes;
  assert_true(total == plan.total && total == 140 * GB);
  assert_true(row_of(&plan, "weights (shared") == 2 * (size_t)p.shape.params.num_elements);
  assert_true(row_of(&plan, "KV cache") > 80 * GB);
  assert_true(row_of(&plan, "master weights") == 0 && row_of(&plan, "optimiser state") == 0);
  zk_params_destroy(&p.shape.params);
}

static void a_1b7_model_trains(void **state) {
  planned p;
  zk_plan plan;
  qwen3_1b7(&p);
  zk_plan_make(&p.config, ZK_PLAN_TRAIN, &p.shape, 1, 1, 140 * GB, true, &plan);
  OK(zk_plan_fits(&plan, true, "a GPU"));
  size_t n = (size_t)p.shape.params.num_elements, block = 4096 * sizeof(float);
  assert_true(row_of(&plan, "master weights") - 4 * n < block && row_of(&plan, "optimiser state") - 8 * n < 2 * block);
  assert_true(row_of(&plan, "gradients (tree") == 12 * n); // of 8 leaves two partial sums and the leaf that comes, beside the shard, which is whole
  assert_true(row_of(&plan, "KV cache") > 40 * GB);
  // A reference model is held beside it, with what a GPU's kernels keep of it, and takes room from the cache alone.
  const size_t cache = row_of(&plan, "KV cache");
  assert_true(row_of(&plan, "reference model") == 0);
  p.config.algorithm.kl.coef = 0.1;
  zk_plan_make(&p.config, ZK_PLAN_TRAIN, &p.shape, 1, 1, 140 * GB, true, &plan);
  assert_true(row_of(&plan, "reference model") >= 2 * n && row_of(&plan, "reference activations") > 0);
  assert_true(row_of(&plan, "KV cache") <= cache - 2 * n);
  p.config.algorithm.kl.coef = 0;
  // Four workers share what is sharded.
  zk_plan_make(&p.config, ZK_PLAN_TRAIN, &p.shape, 4, 1, 140 * GB, true, &plan);
  assert_true(row_of(&plan, "master weights") < n + 2 * block);
  zk_params_destroy(&p.shape.params);
}

// 8.2e9 parameters on four GPUs, which train the model whole: what sampling and training need does not fit side by side.
static void an_8b_model_trains_on_four_in_turns(void **state) {
  planned p;
  zk_plan plan;
  qwen3_8b(&p);
  p.config.rollout.max_batch = 128;
  const size_t gpu = (size_t)139 << 30, n = (size_t)p.shape.params.num_elements;
  zk_plan_make(&p.config, ZK_PLAN_TRAIN, &p.shape, 4, 1, gpu, true, &plan);
  OK(zk_plan_fits(&plan, true, "a GPU"));
  assert_true(plan.in_turns && plan.total <= gpu);
  assert_true(row_of(&plan, "gradients (tree") == 8 * n); // the subtree so far, and the leaf that comes
  assert_true(row_of(&plan, "gradient exchange") <= (size_t)1 << 30);
  const size_t cache = row_of(&plan, "KV cache"); // for sequences of twice the usual length
  p.config.trainer.turns = ZK_CONFIG_TURNS_NEVER;
  zk_plan_make(&p.config, ZK_PLAN_TRAIN, &p.shape, 4, 1, gpu, true, &plan);
  assert_true(!plan.in_turns && row_of(&plan, "KV cache") < cache / 2 && cache > 28 * GB);
  // With one leaf a GPU there is room for both.
  p.config.trainer.turns = ZK_CONFIG_TURNS_AUTO, p.config.trainer.grad_leaves = 4;
  zk_plan_make(&p.config, ZK_PLAN_TRAIN, &p.shape, 4, 1, gpu, true, &plan);
  OK(zk_plan_fits(&plan, true, "a GPU"));
  assert_true(!plan.in_turns);
  zk_plan_make(&p.config, ZK_PLAN_TRAIN, &p.shape, 1, 1, gpu, true, &plan);
  assert_int_equal(zk_plan_fits(&plan, true, "a GPU"), ZK_OUT_OF_MEMORY);
  zk_params_destroy(&p.shape.params);
}

static void too_little_is_refused_by_its_largest_part(void **state) {
  planned p;
  zk_plan plan;
  qwen3_1b7(&p);
  zk_plan_make(&p.config, ZK_PLAN_TRAIN, &p.shape, 1, 1, 48 * GB, true, &plan);
  assert_int_equal(zk_plan_fits(&plan, true, "GPU 0"), ZK_OUT_OF_MEMORY);
  assert_non_null(strstr(zk_status_message(), "44.7 GiB are free on GPU 0; the largest part is gradients (tree of leaves), 19.2 GiB: start more workers"));
  p.config.rollout.kv_bytes = 200 * GB; // what was asked for, not what is left
  zk_plan_make(&p.config, ZK_PLAN_TRAIN, &p.shape, 1, 1, 140 * GB, true, &plan);
  assert_int_equal(zk_plan_fits(&plan, true, "GPU 0"), ZK_OUT_OF_MEMORY);
  assert_non_null(strstr(zk_status_message(), "the largest part is KV cache, 186.3 GiB: lower rollout.kv_bytes"));
  zk_params_destroy(&p.shape.params);
}

// Two rows that are largest of all, but of the phase that needs less: lowering them would not help.
static void in_turns_the_greater_phase_is_named(void **state) {
  zk_plan plan = {.rows = {{"weights", "less 0", 40 * GB, false, ZK_PLAN_ALWAYS},
                           {"KV cache", "less 1", 50 * GB, false, ZK_PLAN_SAMPLING},
                           {"gradients", "less 2", 45 * GB, false, ZK_PLAN_TRAINING},
                           {"activations", "less 3", 30 * GB, true, ZK_PLAN_TRAINING}},
                  .num_rows = 4, .in_turns = true, .available = 80 * GB};
  assert_int_equal(zk_plan_fits(&plan, true, "GPU 0"), ZK_OUT_OF_MEMORY);
  assert_non_null(strstr(zk_status_message(), "the plan needs 107.1 GiB, 74.5 GiB are free on GPU 0; the largest part is gradients, 41.9 GiB: less 2"));
  assert_int_equal(zk_plan_fits(&plan, false, "GPU 0"), ZK_OUT_OF_MEMORY); // without what is a bound only, sampling's is the greater
  assert_non_null(strstr(zk_status_message(), "the largest part is KV cache, 46.6 GiB: less 1"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_8b_model_samples_and_the_cache_takes_the_rest),
      cmocka_unit_test(a_1b7_model_trains),
      cmocka_unit_test(an_8b_model_trains_on_four_in_turns),
      cmocka_unit_test(too_little_is_refused_by_its_largest_part),
      cmocka_unit_test(in_turns_the_greater_phase_is_named),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
