// Writing model folders: what is read back is bit for bit what was written, whatever the pieces and shards; the bytes
// depend on nothing else; the tokenizer goes along and must fit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/file_util.h"
#include "shared/model.h"

static const char *const fixtures[] = {"llama-tied", "llama3-rope", "qwen2-bias", "qwen3-qknorm"};
enum { NUM_FIXTURES = 4 };

static char root[64]; // a folder of this test's own
static int set_up(void **state) {
  (void)state;
  strcpy(root, "/tmp/zk_save_XXXXXX");
  return mkdtemp(root) ? 0 : -1;
}
static int tear_down(void **state) {
  (void)state;
  return zk_file_remove_tree(root) != ZK_OK;
}

#define REQUIRE(expr)                                                                                                  \
  do {                                                                                                                 \
    if ((expr) != ZK_OK) fail_msg("%s", zk_status_message());                                                          \
  } while (0)

typedef struct {
  zk_model_config config;
  zk_params params;
  float *flat;
} model;

static model load(const char *dir) {
  model m;
  REQUIRE(zk_model_load_config(dir, &m.config));
  REQUIRE(zk_params_create(&m.config, &m.params));
  m.flat = malloc((size_t)m.params.num_elements * 4);
  REQUIRE(zk_model_load_weights(dir, &m.params, m.flat));
  return m;
}
static void drop(model *m) {
  free(m->flat);
  zk_params_destroy(&m->params);
}

static void write_in_pieces(const model *m, const char *dir, zk_dtype dtype, int64_t max_shard_bytes, int64_t piece) {
  zk_model_writer *w;
  REQUIRE(zk_model_writer_open(dir, &m->config, &m->params, dtype, max_shard_bytes, NULL, &w));
  for (int64_t at = 0; at < m->params.num_elements; at += piece)
    REQUIRE(zk_model_writer_append(w, m->flat + at,
                                   m->params.num_elements - at < piece ? m->params.num_elements - at : piece));
  REQUIRE(zk_model_writer_close(w));
}

static void digest(const char *dir, char out[ZK_SHA256_HEX]) { // of all names and contents
  zk_file_list list;
  char all[4096] = "";
  REQUIRE(zk_file_list_tree(dir, &list));
  for (size_t i = 0; i < list.num_paths; i++) {
    char hex[ZK_SHA256_HEX];
    REQUIRE(zk_sha256_file(zk_path_make("%s/%s", dir, list.paths[i]).s, hex, NULL));
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s %s\n", list.paths[i], hex);
  }
  zk_file_list_free(&list);
  REQUIRE(zk_sha256(all, strlen(all), out));
}

static void save_then_load_is_bit_equal(void **state) {
  (void)state;
  for (int f = 0; f < NUM_FIXTURES; f++) {
    model m = load(zk_path_make("%s/models/%s", ZK_FIXTURES, fixtures[f]).s);
    zk_path one = zk_path_make("%s/%s-one", root, fixtures[f]),
            shards = zk_path_make("%s/%s-shards", root, fixtures[f]);
    REQUIRE(zk_model_save(one.s, &m.config, &m.params, m.flat, ZK_DTYPE_F32, NULL));
    write_in_pieces(&m, shards.s, ZK_DTYPE_F32, 300000, 4096);
    assert_true(zk_file_exists(zk_path_make("%s/model.safetensors.index.json", shards.s).s));
    model a = load(one.s), b = load(shards.s);
    assert_memory_equal(a.flat, m.flat, (size_t)m.params.num_elements * 4);
    assert_memory_equal(b.flat, m.flat, (size_t)m.params.num_elements * 4);
    assert_int_equal(a.config.num_eos, m.config.num_eos);
    assert_int_equal(a.config.bos_id, m.config.bos_id);
    drop(&a);
    drop(&b);
    drop(&m);
  }
}

static void bytes_depend_on_the_model_alone(void **state) {
  (void)state;
  model m = load(zk_path_make("%s/models/%s", ZK_FIXTURES, fixtures[2]).s);
  char first[ZK_SHA256_HEX], second[ZK_SHA256_HEX];
  write_in_pieces(&m, zk_path_make("%s/a", root).s, ZK_DTYPE_BF16, 200000, m.params.num_elements);
  write_in_pieces(&m, zk_path_make("%s/b", root).s, ZK_DTYPE_BF16, 200000, 12345);
  digest(zk_path_make("%s/a", root).s, first);
  digest(zk_path_make("%s/b", root).s, second);
  assert_string_equal(first, second);
  m.flat[m.params.num_elements / 2] += 1; // control: one weight
  write_in_pieces(&m, zk_path_make("%s/b", root).s, ZK_DTYPE_BF16, 200000, 12345);
  digest(zk_path_make("%s/b", root).s, second);
  assert_string_not_equal(first, second);
  drop(&m);
}

static void bf16_models_survive_bf16(void **state) {
  (void)state;
  model m = load(zk_path_make("%s/models/%s", ZK_FIXTURES, fixtures[0]).s); // stored as bf16: rounding changes nothing
  zk_path dir = zk_path_make("%s/bf16", root);
  REQUIRE(zk_model_save(dir.s, &m.config, &m.params, m.flat, ZK_DTYPE_BF16, NULL));
  model again = load(dir.s);
  assert_memory_equal(again.flat, m.flat, (size_t)m.params.num_elements * 4);
  drop(&again);
  drop(&m);
}

static void copy_is_whole_or_not_at_all(void **state) {
  (void)state;
  zk_path from = zk_path_make("%s/models/%s", ZK_FIXTURES, fixtures[3]), to = zk_path_make("%s/out", root);
  REQUIRE(zk_model_copy(from.s, zk_path_make("%s/", to.s).s, ZK_DTYPE_F32));
  model a = load(from.s), b = load(to.s);
  assert_memory_equal(a.flat, b.flat, (size_t)a.params.num_elements * 4);
  drop(&a);
  drop(&b);
  char before[ZK_SHA256_HEX], after[ZK_SHA256_HEX];
  digest(root, before);
  assert_int_equal(zk_model_copy(from.s, to.s, ZK_DTYPE_BF16), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "is not empty"));
  assert_int_equal(zk_model_copy(root, zk_path_make("%s/new", root).s, ZK_DTYPE_F32), ZK_IO); // `root` is no model
  assert_non_null(strstr(zk_status_message(), "config.json"));
  digest(root, after);
  assert_string_equal(before, after); // nothing touched, nothing left
  assert_false(zk_file_exists(zk_path_make("%s/new", root).s));
}

static void a_tokenizer_goes_along_and_must_fit(void **state) {
  (void)state;
  zk_path source = zk_path_make("%s/tok", root), dir = zk_path_make("%s/with", root);
  REQUIRE(zk_file_make_directories(source.s));
  REQUIRE(zk_tokenizer_write_bytes(source.s));
  model m = load(zk_path_make("%s/models/%s", ZK_FIXTURES, fixtures[2]).s);
  REQUIRE(zk_model_save(dir.s, &m.config, &m.params, m.flat, ZK_DTYPE_F32, source.s));
  zk_tokenizer *tok;
  REQUIRE(zk_tokenizer_load(dir.s, &tok));
  zk_model_config c = m.config;
  c.num_eos = 1, c.eos_ids[0] = ZK_BYTE_TOKENIZER_EOS, c.bos_id = -1;
  REQUIRE(zk_model_check_tokenizer(&c, "T", tok)); // 300 rows, 260 ids: padding rows are fine
  c.vocab = ZK_BYTE_TOKENIZER_VOCAB;
  REQUIRE(zk_model_check_tokenizer(&c, "T", tok));
  c.vocab = 258;
  assert_int_equal(zk_model_check_tokenizer(&c, "T", tok), ZK_BAD_INPUT);
  assert_string_equal(
      zk_status_message(),
      "T: 2 of its tokens (ids up to 259) are outside the model's vocabulary of 258: it belongs to another model");
  c.vocab = 300, c.eos_ids[0] = 299;
  assert_int_equal(zk_model_check_tokenizer(&c, "T", tok), ZK_BAD_INPUT);
  assert_string_equal(zk_status_message(),
                      "T: has no token with id 299, which is the model's eos_token_id: it belongs to another model");
  zk_tokenizer_free(tok);
  drop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(save_then_load_is_bit_equal, set_up, tear_down),
      cmocka_unit_test_setup_teardown(bytes_depend_on_the_model_alone, set_up, tear_down),
      cmocka_unit_test_setup_teardown(bf16_models_survive_bf16, set_up, tear_down),
      cmocka_unit_test_setup_teardown(copy_is_whole_or_not_at_all, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_tokenizer_goes_along_and_must_fit, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
