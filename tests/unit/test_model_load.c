// Reading model folders: each fixture loads, any range reads the same values, and a folder that is not the model its
// config.json describes is refused by file and tensor.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/file.h"
#include "shared/model.h"

static const char *const fixtures[] = {"llama-tied", "llama3-rope", "qwen2-bias", "qwen3-qknorm"};
enum { NUM_FIXTURES = 4 };

static const char *fixture(const char *name) {
  static char path[512];
  snprintf(path, sizeof path, "%s/models/%s", ZK_FIXTURES, name);
  return path;
}

static void fixtures_say_what_they_are(void **state) {
  (void)state;
  zk_model_config c[NUM_FIXTURES];
  for (int i = 0; i < NUM_FIXTURES; i++)
    if (zk_model_load_config(fixture(fixtures[i]), &c[i]) != ZK_OK) fail_msg("%s", zk_status_message());
  assert_true(c[0].architecture == ZK_MODEL_LLAMA && c[0].tie_embeddings && c[0].num_heads == 9 &&
              c[0].num_kv_heads == 3);
  assert_true(c[0].head_dim == 64 && c[0].hidden == 72 && c[0].rope.theta == 100000.0 && c[0].rms_eps == 1e-5f);
  assert_true(c[0].num_eos == 1 && c[0].eos_ids[0] == 2 && c[0].bos_id == 1);
  assert_true(c[1].rope.scaling == ZK_ROPE_LLAMA3 && c[1].rope.original_max_position == 64 && c[1].head_dim == 128);
  assert_true(c[1].num_eos == 2 && c[1].eos_ids[0] == 7 && c[1].eos_ids[1] == 399 && !c[1].tie_embeddings);
  assert_true(c[2].architecture == ZK_MODEL_QWEN2 && c[2].qkv_bias && c[2].head_dim == 64 && c[2].bos_id == -1);
  assert_true(c[3].architecture == ZK_MODEL_QWEN3 && c[3].qk_norm && c[3].head_dim == 128 &&
              c[3].rope.theta == 1000000.0);
}

static void fixtures_load_and_ranges_agree(void **state) {
  (void)state;
  for (int f = 0; f < NUM_FIXTURES; f++) {
    const char *dir = fixture(fixtures[f]);
    zk_model_config config;
    zk_params params;
    zk_model_reader *reader;
    assert_int_equal(zk_model_load_config(dir, &config), ZK_OK);
    assert_int_equal(zk_params_create(&config, &params), ZK_OK);
    float *flat = malloc((size_t)params.num_elements * 4), *part = malloc((size_t)params.num_elements * 4);
    if (zk_model_load_weights(dir, &params, flat) != ZK_OK) fail_msg("%s", zk_status_message());
    assert_int_equal(zk_model_reader_open(dir, &params, &reader), ZK_OK);
    for (int64_t first = 0; first < params.num_elements; first += 4096) { // as shards are cut
      int64_t n = params.num_elements - first < 4096 ? params.num_elements - first : 4096;
      assert_int_equal(zk_model_reader_read(reader, first, n, part + first), ZK_OK);
    }
    assert_memory_equal(flat, part, (size_t)params.num_elements * 4);
    assert_int_equal(zk_model_reader_read(reader, params.num_elements, 0, part), ZK_OK);
    assert_int_equal(zk_model_reader_read(reader, params.num_elements, 1, part), ZK_INTERNAL);
    assert_int_equal(zk_model_reader_read(reader, -1, 1, part), ZK_INTERNAL);
    zk_model_reader_close(reader);
    double sum = 0;
    for (int64_t i = 0; i < params.num_elements; i++) sum += (double)flat[i] * flat[i];
    assert_true(isfinite(sum) && sum > 0);
    free(flat);
    free(part);
    zk_params_destroy(&params);
  }
}

// The reference file that other tests compare with speaks of the same tensors as the table.
static void references_match_the_table(void **state) {
  (void)state;
  for (int f = 0; f < NUM_FIXTURES; f++) {
    char path[600];
    zk_model_config config;
    zk_params params;
    zk_safetensors *reference;
    assert_int_equal(zk_model_load_config(fixture(fixtures[f]), &config), ZK_OK);
    assert_int_equal(zk_params_create(&config, &params), ZK_OK);
    snprintf(path, sizeof path, "%s/reference.safetensors", fixture(fixtures[f]));
    assert_int_equal(zk_safetensors_open(path, &reference), ZK_OK);
    for (int i = 0; i < params.num_params; i++) {
      char name[96];
      int64_t index[1024];
      snprintf(name, sizeof name, "grad/%s/index", params.params[i].name);
      const zk_safetensor *t = zk_safetensors_find(reference, name);
      assert_non_null(t);
      assert_int_equal(zk_safetensor_read_i64(t, 0, t->num_elements, index), ZK_OK);
      assert_true(index[t->num_elements - 1] < params.params[i].num_elements);
    }
    assert_int_equal(zk_safetensors_count(reference), 3 * params.num_params + 6);
    zk_safetensors_close(reference);
    zk_params_destroy(&params);
  }
}

// ---- folders that are wrong

static char dir[64];
static zk_model_config tiny;
static zk_params table;
static float *weights; // [table.num_elements + an extra head]

static int set_up(void **state) {
  (void)state;
  strcpy(dir, "/tmp/zk_load_XXXXXX");
  tiny = zk_model_config_default(ZK_MODEL_LLAMA);
  tiny.num_layers = 1, tiny.hidden = 16, tiny.num_heads = 2, tiny.num_kv_heads = 1, tiny.head_dim = 8,
  tiny.intermediate = 24;
  tiny.vocab = 10, tiny.tie_embeddings = 1;
  if (!mkdtemp(dir) || zk_params_create(&tiny, &table) != ZK_OK) return -1;
  weights = calloc((size_t)table.num_elements + 1000, sizeof *weights);
  for (int64_t i = 0; i < table.num_elements; i++) weights[i] = (float)i;
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  char command[96];
  free(weights);
  zk_params_destroy(&table);
  snprintf(command, sizeof command, "rm -rf '%s'", dir);
  return system(command);
}

// Writes the table's tensors, entry `skip` left out (-1: none), and a tensor `extra` of [rows, cols] (NULL: none) with
// `values`.
static void write_tensors(int skip, const char *extra, int64_t rows, int64_t cols, const float *values) {
  zk_safetensors_entry entries[64] = {{0}};
  const float *data[64];
  int64_t counts[64];
  int n = 0;
  for (int i = 0; i <= table.num_params; i++) {
    const zk_param *p = i < table.num_params ? &table.params[i] : NULL;
    if (extra && (!p || strcmp(extra, p->name) < 0)) {
      entries[n] = (zk_safetensors_entry){extra, 2, {rows, cols}};
      data[n] = values, counts[n++] = rows * cols, extra = NULL;
    }
    if (!p || i == skip) continue;
    entries[n] = (zk_safetensors_entry){p->name, p->num_dims, {p->num_dims == 2 ? p->rows : p->cols, p->cols}};
    data[n] = weights + p->first, counts[n++] = p->num_elements;
  }
  zk_safetensors_writer *w;
  assert_int_equal(zk_safetensors_writer_open(dir, entries, n, ZK_DTYPE_F32, 0, &w), ZK_OK);
  for (int i = 0; i < n; i++) assert_int_equal(zk_safetensors_writer_append(w, data[i], counts[i]), ZK_OK);
  assert_int_equal(zk_safetensors_writer_close(w), ZK_OK);
}

static void expect_refused(const char *why) {
  float *out = malloc((size_t)table.num_elements * 4);
  zk_status st = zk_model_load_weights(dir, &table, out);
  free(out);
  if (st == ZK_OK || !strstr(zk_status_message(), why)) fail_msg("wanted \"%s\", got \"%s\"", why, zk_status_message());
  assert_int_equal(zk_status_exit_code(st), 2);
}

static void expect_fine(void) {
  float *out = malloc((size_t)table.num_elements * 4);
  if (zk_model_load_weights(dir, &table, out) != ZK_OK) fail_msg("%s", zk_status_message());
  assert_memory_equal(out, weights, (size_t)table.num_elements * 4);
  free(out);
}

static void missing_extra_and_misshapen_tensors(void **state) {
  (void)state;
  expect_refused("no model.safetensors");
  write_tensors(-1, NULL, 0, 0, NULL);
  expect_fine();
  for (int i = 0; i < table.num_params; i++) {
    char why[128];
    snprintf(why, sizeof why, "tensor %s is missing", table.params[i].name);
    write_tensors(i, NULL, 0, 0, NULL);
    expect_refused(why);
  }
  write_tensors(-1, "model.layers.1.mlp.up_proj.weight", 24, 16, weights);
  expect_refused("tensor model.layers.1.mlp.up_proj.weight has no place in the model");
  write_tensors(-1, "model.layers.0.self_attn.q_proj.bias", 1, 16, weights);
  expect_refused("tensor model.layers.0.self_attn.q_proj.bias has no place");
  write_tensors(-1, "model.layers.0.self_attn.rotary_emb.inv_freq", 1, 4, weights);
  expect_fine(); // what old versions saved
  int up = zk_params_find(&table, "model.layers.0.mlp.up_proj.weight");
  write_tensors(up, "model.layers.0.mlp.up_proj.weight", 16, 24, weights);
  expect_refused("tensor model.layers.0.mlp.up_proj.weight has shape [16, 24], config.json makes it [24, 16]");
}

static void tied_heads(void **state) {
  (void)state;
  const zk_param *embed = &table.params[zk_params_index(&table, ZK_PARAM_EMBED, 0)];
  write_tensors(-1, "lm_head.weight", embed->rows, embed->cols, weights + embed->first);
  expect_fine(); // a copy of the embedding
  write_tensors(-1, "lm_head.weight", embed->rows, embed->cols, weights + embed->first + 1);
  expect_refused("config.json ties lm_head.weight to the embedding, but the file holds a different one");
  write_tensors(-1, "lm_head.weight", 1, 16, weights + embed->first);
  expect_refused("ties lm_head.weight");
  write_tensors(-1, NULL, 0, 0, NULL);
  zk_model_config untied = tiny;
  untied.tie_embeddings = 0;
  zk_params_destroy(&table);
  assert_int_equal(zk_params_create(&untied, &table), ZK_OK);
  expect_refused("tensor lm_head.weight is missing, and config.json does not tie it");
}

static void values_that_are_not_numbers(void **state) {
  (void)state;
  const zk_param *p = &table.params[5];
  weights[p->first + 3] = NAN;
  write_tensors(-1, NULL, 0, 0, NULL);
  char why[128];
  snprintf(why, sizeof why, "tensor %s: element 3 is not a number", p->name);
  expect_refused(why);
  weights[p->first + 3] = -INFINITY;
  write_tensors(-1, NULL, 0, 0, NULL);
  snprintf(why, sizeof why, "tensor %s: element 3 is infinite", p->name);
  expect_refused(why);
}

static void truncated_and_wrong_dtype(void **state) {
  (void)state;
  char path[96], *text;
  size_t n;
  write_tensors(-1, NULL, 0, 0, NULL);
  snprintf(path, sizeof path, "%s/model.safetensors", dir);
  assert_int_equal(zk_file_read(path, 1 << 20, &text, &n), ZK_OK);
  assert_int_equal(zk_file_write(path, text, n - 1), ZK_OK);
  expect_refused("truncated or damaged");
  assert_int_equal(zk_file_write(path, text, 100), ZK_OK);
  expect_refused("truncated");
  for (char *at = text + 8; (at = strstr(at, "\"F32\"")); at++) memcpy(at, "\"I32\"", 5); // NUL-free header
  assert_int_equal(zk_file_write(path, text, n), ZK_OK);
  expect_refused("has dtype I32; weights must be F32, BF16 or F16");
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fixtures_say_what_they_are),
      cmocka_unit_test(fixtures_load_and_ranges_agree),
      cmocka_unit_test(references_match_the_table),
      cmocka_unit_test_setup_teardown(missing_extra_and_misshapen_tensors, set_up, tear_down),
      cmocka_unit_test_setup_teardown(tied_heads, set_up, tear_down),
      cmocka_unit_test_setup_teardown(values_that_are_not_numbers, set_up, tear_down),
      cmocka_unit_test_setup_teardown(truncated_and_wrong_dtype, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
