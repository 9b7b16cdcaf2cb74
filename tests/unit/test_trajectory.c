// A trajectory file gives back every bit, is the same bytes for the same content, is never overwritten, and is never
// trusted.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/file_util.h"
#include "shared/trajectory.h"

static char dir[] = "/tmp/zk_trajectory_XXXXXX";
static int make_dir(void **state) { return mkdtemp(dir) ? 0 : -1; }
static int remove_dir(void **state) { return zk_file_remove_tree(dir) == ZK_OK ? 0 : -1; }

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// 2 prompts of 3 and 0 tokens, groups of 2; completions of 0, 1, 3 and `last` tokens.
static zk_trajectory sample_step(int64_t last) {
  zk_trajectory t;
  assert_int_equal(zk_trajectory_alloc(&t, 2, 3, 4, 4 + last, 2), ZK_OK);
  t.run_name = strdup("test");
  t.step = 7;
  t.seed = UINT64_MAX;
  t.numerics = strdup("f32");
  t.contract_version = 1;
  t.weights_hash = 0xfedcba9876543210;
  t.tokenizer_hash = strdup("0123456789abcdef");
  t.config = strdup("seed: 1\nmodel:\n  path: \"gr\u00fc\u00df\"\n");
  t.zerokl_version = strdup("0.1.0");
  t.component_names[0] = strdup("correct");
  t.component_names[1] = strdup("format/strict");
  const int64_t prompt_offsets[] = {0, 3, 3}, sample_offsets[] = {0, 0, 1, 4, 4 + last};
  memcpy(t.prompt_offsets, prompt_offsets, sizeof prompt_offsets);
  memcpy(t.sample_offsets, sample_offsets, sizeof sample_offsets);
  for (int i = 0; i < 2; i++) t.prompt_id[i] = UINT64_MAX - (uint64_t)i;
  for (int i = 0; i < 3; i++) t.prompt_tokens[i] = 100 + i;
  for (int i = 0; i < 4; i++) {
    t.prompt_index[i] = i / 2;
    t.sample_index[i] = i % 2;
    t.reward[i] = (float)i / 3;
    t.advantage[i] = -(float)i;
    t.finish_reason[i] = (uint8_t)i;
  }
  for (int i = 0; i < 8; i++) t.reward_component[i] = (float)i;
  for (int64_t i = 0; i < t.num_sample_tokens; i++) {
    t.sample_tokens[i] = (int32_t)(i * 7919 % 50000);
    t.sampler_logprob[i] = t.trainer_logprob[i] = -1.0f / (float)(i + 1);
  }
  return t;
}

static void every_bit_comes_back(void **state) {
  zk_trajectory t = sample_step(5), back;
  const uint32_t odd[] = {0x7fc00001, 0xffc12345, 0x7f800001,
                          0x80000000, 0x00000001, 0x7f800000}; // NaNs, signalling too
  for (int i = 0; i < 6; i++) t.sampler_logprob[i] = float_of(odd[i]);
  zk_path path = zk_path_make("%s/bits.h5", dir);
  bool existed = true;
  assert_int_equal(zk_trajectory_write(path.s, &t, &existed), ZK_OK);
  assert_false(existed);
  assert_int_equal(zk_trajectory_read(path.s, &back), ZK_OK);
  assert_true(zk_trajectory_equal(&t, &back, NULL));
  assert_memory_equal(back.sampler_logprob, t.sampler_logprob, 9 * sizeof(float));
  assert_memory_equal(&back.sampler_logprob[2], &odd[2], 4);
  assert_string_equal(back.run_name, "test");
  assert_string_equal(back.config, t.config);
  assert_string_equal(back.template_hash, "");
  assert_string_equal(back.component_names[1], "format/strict");
  assert_int_equal(back.content_hash, t.content_hash);
  assert_true(back.seed == UINT64_MAX && back.weights_hash == 0xfedcba9876543210);
  zk_trajectory_free(&back);
  zk_trajectory_free(&t);
}

static void same_bytes_for_same_content(void **state) {
  char digest[2][ZK_SHA256_HEX];
  for (int i = 0; i < 2; i++) {
    zk_trajectory t = sample_step(200000); // several chunks
    zk_path path = zk_path_make("%s/bytes%d.h5", dir, i);
    assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_OK);
    assert_int_equal(zk_sha256_file(path.s, digest[i], NULL), ZK_OK);
    zk_trajectory_free(&t);
  }
  assert_string_equal(digest[0], digest[1]);
}

static void large_config_and_empty_columns(void **state) {
  zk_trajectory t, back;
  assert_int_equal(zk_trajectory_alloc(&t, 0, 0, 0, 0, 0), ZK_OK);
  t.config = malloc(200001); // larger than an attribute in an object header may be
  memset(t.config, 'x', 200000);
  t.config[200000] = 0;
  zk_path path = zk_path_make("%s/empty.h5", dir);
  assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_OK);
  assert_int_equal(zk_trajectory_read(path.s, &back), ZK_OK);
  assert_true(zk_trajectory_equal(&t, &back, NULL));
  assert_int_equal(strlen(back.config), 200000);
  zk_trajectory_free(&back);
  zk_trajectory_free(&t);
}

static void never_overwritten(void **state) {
  zk_path path = zk_path_make("%s/once.h5", dir);
  char before[ZK_SHA256_HEX], after[ZK_SHA256_HEX];
  zk_trajectory t = sample_step(5);
  assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_OK);
  assert_int_equal(zk_sha256_file(path.s, before, NULL), ZK_OK);
  bool existed = false;
  assert_int_equal(zk_trajectory_write(path.s, &t, &existed), ZK_OK);
  assert_true(existed);
  t.trainer_logprob[3] = float_of(0x80000001);
  assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_MISMATCH);
  assert_non_null(strstr(zk_status_message(), "sample/trainer_logprob[3]"));
  assert_non_null(strstr(zk_status_message(), "0x80000001"));
  assert_int_equal(zk_sha256_file(path.s, after, NULL), ZK_OK);
  assert_string_equal(before, after);
  zk_trajectory_free(&t);
}

static void first_difference_is_named(void **state) {
  zk_trajectory_difference first;
  for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++) {
    zk_trajectory a = sample_step(5), b = sample_step(5);
    int64_t last = zk_trajectory_num_elements(&b, c) - 1;
    ((unsigned char *)zk_trajectory_data(&b, c))[last * zk_trajectory_columns[c].element_bytes] ^= 1;
    assert_false(zk_trajectory_equal(&a, &b, &first));
    assert_string_equal(first.dataset, zk_trajectory_columns[c].name);
    assert_int_equal(first.index, last);
    assert_string_not_equal(first.a, first.b);
    assert_true(zk_trajectory_content_hash(&a) != zk_trajectory_content_hash(&b));
    zk_trajectory_free(&a);
    zk_trajectory_free(&b);
  }
  zk_trajectory a = sample_step(5), b = sample_step(6);
  assert_false(zk_trajectory_equal(&a, &b, &first));
  assert_string_equal(first.dataset, "sample/offsets");
  b.weights_hash ^= 1;
  assert_false(zk_trajectory_equal(&a, &b, &first));
  assert_string_equal(first.dataset, "weights_hash");
  zk_trajectory_free(&a);
  zk_trajectory_free(&b);
}

// Puts one value into a dataset behind the writer's back; fletcher32 is made anew by HDF5.
static void poke(const char *path, const char *name, hsize_t index, const void *value) {
  hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), dataset = H5Dopen2(file, name, H5P_DEFAULT);
  hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset), memory = H5Screate(H5S_SCALAR);
  assert_true(H5Sselect_elements(space, H5S_SELECT_SET, 1, &index) >= 0);
  assert_true(H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, value) >= 0);
  H5Sclose(memory);
  H5Sclose(space);
  H5Tclose(type);
  H5Dclose(dataset);
  H5Fclose(file);
}

static void altered_values_are_found(void **state) {
  zk_path path = zk_path_make("%s/altered.h5", dir);
  zk_trajectory t = sample_step(5), back;
  assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_OK);
  const float value = float_of(0xbf800001); // one ulp from -1
  poke(path.s, "sample/sampler_logprob", 0, &value);
  assert_int_equal(zk_trajectory_read(path.s, &back), ZK_BAD_ARCHIVE);
  assert_non_null(strstr(zk_status_message(), "content_hash"));
  bool sealed = true;
  assert_int_equal(zk_trajectory_read_unsealed(path.s, &back, &sealed), ZK_OK);
  assert_false(sealed);
  zk_trajectory_free(&back);
  const int64_t offset = 9999; // an offset that would read out of bounds
  poke(path.s, "sample/offsets", 2, &offset);
  assert_int_equal(zk_trajectory_read_unsealed(path.s, &back, &sealed), ZK_BAD_ARCHIVE);
  assert_non_null(strstr(zk_status_message(), "sample/offsets[2]"));
  assert_non_null(strstr(zk_status_message(), path.s));
  zk_trajectory_free(&t);
}

// Rewrites dataset `name` with another type or length.
static void replace(const char *path, const char *name, hid_t type, hsize_t count) {
  hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), space = H5Screate_simple(1, &count, NULL);
  assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
  if (count) H5Dclose(H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Sclose(space);
  H5Fclose(file);
}

static void wrong_shapes_types_and_missing_datasets(void **state) {
  const struct {
    const char *name;
    hid_t type;
    hsize_t count; // 0: removed
    const char *says;
  } cases[] = {
      {"sample/tokens", H5T_STD_I64LE, 9, "dataset sample/tokens: wrong element type"},
      {"sample/tokens", H5T_STD_I32LE, 8, "dataset sample/tokens: 8 elements where the others say 9"},
      {"sample/tokens", H5T_STD_I32LE, (hsize_t)1 << 40, "dataset sample/tokens: larger than its file can hold"},
      {"sample/reward", H5T_IEEE_F32LE, 3, "dataset sample/reward: 3 elements where the others say 4"},
      {"sample/reward", H5T_IEEE_F64LE, 4, "dataset sample/reward: wrong element type"},
      {"sample/reward_component", H5T_IEEE_F32LE, 8, "dataset sample/reward_component: not of 2 dimensions"},
      {"sample/advantage", 0, 0, "dataset sample/advantage: "},
      {"prompt/offsets", H5T_STD_I64LE, 4, "dataset prompt/offsets: 4 elements where the others say 3"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    zk_path path = zk_path_make("%s/shape%zu.h5", dir, i);
    zk_trajectory t = sample_step(5), back;
    assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_OK);
    replace(path.s, cases[i].name, cases[i].type, cases[i].count);
    assert_int_equal(zk_trajectory_read(path.s, &back), ZK_BAD_ARCHIVE);
    if (!strstr(zk_status_message(), cases[i].says)) fail_msg("%s", zk_status_message());
    zk_trajectory_free(&t);
  }
}

static void truncated_anywhere(void **state) {
  zk_path path = zk_path_make("%s/whole.h5", dir), part = zk_path_make("%s/part.h5", dir);
  zk_trajectory t = sample_step(50), back;
  assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_OK);
  char *bytes;
  size_t num_bytes;
  assert_int_equal(zk_file_read(path.s, 1 << 20, &bytes, &num_bytes), ZK_OK);
  for (size_t n = 0; n < num_bytes; n += 211) {
    assert_int_equal(zk_file_write(part.s, bytes, n), ZK_OK);
    if (zk_trajectory_read(part.s, &back) != ZK_BAD_ARCHIVE) fail_msg("%zu of %zu bytes are read", n, num_bytes);
  }
  free(bytes);
  zk_trajectory_free(&t);
}

const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; } // it loses memory when a file is damaged

static void one_bit_flipped_anywhere(void **state) {
  zk_path path = zk_path_make("%s/sound.h5", dir), flipped = zk_path_make("%s/flipped.h5", dir);
  zk_trajectory t = sample_step(5), back;
  assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_OK);
  char *bytes;
  size_t num_bytes;
  assert_int_equal(zk_file_read(path.s, 1 << 20, &bytes, &num_bytes), ZK_OK);
  for (size_t i = 0; i < num_bytes; i += 7) {
    bytes[i] ^= (char)(1u << i % 8);
    FILE *file = fopen(flipped.s, "wb");
    assert_int_equal(fwrite(bytes, 1, num_bytes, file), num_bytes);
    assert_int_equal(fclose(file), 0);
    bytes[i] ^= (char)(1u << i % 8);
    zk_status st = zk_trajectory_read(flipped.s, &back); // refused, or a byte that says nothing
    if (st != ZK_OK) assert_int_equal(st, ZK_BAD_ARCHIVE);
    else assert_true(zk_trajectory_equal(&t, &back, NULL));
    zk_trajectory_free(&back);
  }
  free(bytes);
  zk_trajectory_free(&t);
}

static void nonsense_is_not_written(void **state) {
  zk_path path = zk_path_make("%s/nonsense.h5", dir);
  zk_trajectory t = sample_step(5);
  t.sample_index[3] = 0; // (1, 0) twice
  assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "sample/sample_index[3]"));
  assert_false(zk_file_exists(path.s));
  zk_trajectory_free(&t);
  assert_int_equal(zk_trajectory_alloc(&t, 1, INT64_MAX, 1, 1, 1), ZK_OUT_OF_MEMORY);
  assert_int_equal(zk_trajectory_alloc(&t, 1, 1, INT32_MAX, 1, INT32_MAX), ZK_OUT_OF_MEMORY);
}

static herr_t check_object(hid_t object, const char *name, const H5O_info_t *info, void *num_datasets) {
  if (info->type != H5O_TYPE_DATASET) return 0;
  hid_t dataset = H5Dopen2(object, name, H5P_DEFAULT);
  assert_true(H5Aexists(dataset, "description") > 0);
  assert_true(info->atime == 0 && info->mtime == 0 && info->ctime == 0);
  H5Dclose(dataset);
  ++*(int *)num_datasets;
  return 0;
}

// A column that only a step with a sample gone wrong has: steps without one are the files they were before it existed.
static void detail_of_what_went_wrong(void **state) {
  zk_path path = zk_path_make("%s/detail.h5", dir);
  zk_trajectory t = sample_step(5), back;
  const uint64_t without = zk_trajectory_content_hash(&t);
  t.finish_reason[2] = ZK_FINISH_NOT_FINITE, t.finish_detail[2] = ZK_FINISH_DETAIL_LAYER + 3;
  const uint64_t with = zk_trajectory_content_hash(&t);
  assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_OK);
  assert_int_equal(zk_trajectory_read(path.s, &back), ZK_OK);
  assert_int_equal(back.finish_detail[2], ZK_FINISH_DETAIL_LAYER + 3);
  t.finish_detail[2]++;
  zk_trajectory_difference first;
  assert_false(zk_trajectory_equal(&t, &back, &first));
  assert_string_equal(first.dataset, "sample/finish_detail");
  assert_true(zk_trajectory_content_hash(&t) != with);
  t.finish_detail[2] = 0, t.finish_reason[2] = 2;
  assert_true(zk_trajectory_content_hash(&t) == without);
  zk_trajectory_free(&back);
  replace(path.s, "sample/finish_detail", H5T_STD_I32LE, 3);
  assert_int_equal(zk_trajectory_read(path.s, &back), ZK_BAD_ARCHIVE);
  replace(path.s, "sample/finish_detail", 0, 0); // without it the content is another
  assert_int_equal(zk_trajectory_read(path.s, &back), ZK_BAD_ARCHIVE);
  zk_trajectory_free(&t);
}

// Likewise for steps with replies of an environment, and with a command that did not answer.
static void replies_and_missing_rewards(void **state) {
  zk_path path = zk_path_make("%s/replies.h5", dir);
  zk_trajectory t = sample_step(5), back;
  const uint64_t without = zk_trajectory_content_hash(&t);
  assert_int_equal(zk_trajectory_num_sampled(&t, 0, t.num_samples), t.num_sample_tokens);
  t.loss_mask[1] = 0, t.reward_detail[2] = 1, t.trainer_logprob[1] = -1;
  assert_int_equal(zk_trajectory_num_sampled(&t, 0, t.num_samples), t.num_sample_tokens - 1);
  zk_trajectory_clear_replies(&t);
  assert_true(t.trainer_logprob[1] == 0);
  assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_OK);
  assert_int_equal(zk_trajectory_read(path.s, &back), ZK_OK);
  assert_true(zk_trajectory_equal(&t, &back, NULL));
  assert_int_equal(back.loss_mask[1], 0);
  assert_int_equal(back.loss_mask[0], 1);
  assert_int_equal(back.reward_detail[2], 1);
  back.loss_mask[1] = 1;
  zk_trajectory_difference first;
  assert_false(zk_trajectory_equal(&t, &back, &first));
  assert_string_equal(first.dataset, "sample/loss_mask");
  t.loss_mask[1] = 2;
  assert_int_equal(zk_trajectory_validate(&t), ZK_BAD_INPUT);
  assert_string_equal(zk_status_message(), "sample/loss_mask[1] is not 0 or 1");
  t.loss_mask[1] = 0, t.reward_detail[2] = 5;
  assert_int_equal(zk_trajectory_validate(&t), ZK_BAD_INPUT);
  assert_string_equal(zk_status_message(), "sample/reward_detail[2] is unknown");
  zk_trajectory_free(&t);
  zk_trajectory_free(&back);
  t = sample_step(5);
  assert_true(zk_trajectory_content_hash(&t) == without);
  zk_trajectory_free(&t);
}

// Groups of steps make a step: all of one, in order, are that step; others are numbered anew.
static void groups_make_a_step(void **state) {
  zk_trajectory t = sample_step(5), all, some;
  zk_trajectory_group groups[8];
  assert_true(t.num_prompts >= 2 && t.num_prompts <= 8);
  for (int64_t p = 0; p < t.num_prompts; p++) groups[p] = (zk_trajectory_group){&t, p};
  assert_int_equal(zk_trajectory_join(groups, t.num_prompts, &all), ZK_OK);
  assert_int_equal(zk_trajectory_validate(&all), ZK_OK);
  for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++) {
    assert_int_equal(zk_trajectory_num_elements(&all, c), zk_trajectory_num_elements(&t, c));
    assert_memory_equal(zk_trajectory_data(&all, c), zk_trajectory_data(&t, c),
                        (size_t)zk_trajectory_num_elements(&t, c) * (size_t)zk_trajectory_columns[c].element_bytes);
  }
  groups[0].prompt = 1, groups[1] = (zk_trajectory_group){&all, 0};
  assert_int_equal(zk_trajectory_join(groups, 2, &some), ZK_OK);
  assert_int_equal(zk_trajectory_validate(&some), ZK_OK);
  assert_true(some.prompt_id[0] == t.prompt_id[1] && some.prompt_id[1] == t.prompt_id[0]);
  int64_t second = 0; // the first sample of t's second prompt
  while (t.prompt_index[second] == 0) second++;
  assert_int_equal(some.sample_tokens[0], t.sample_tokens[t.sample_offsets[second]]);
  assert_int_equal(some.reward_component[0], t.reward_component[second * t.num_components]);
  zk_trajectory_free(&some);
  zk_trajectory_free(&all);
  assert_int_equal(zk_trajectory_join(NULL, 0, &all), ZK_OK);
  assert_int_equal(all.num_samples, 0);
  zk_trajectory_free(&all);
  zk_trajectory_free(&t);
}

static void described_and_timeless(void **state) {
  zk_path path = zk_path_make("%s/described.h5", dir);
  zk_trajectory t = sample_step(5);
  assert_int_equal(zk_trajectory_write(path.s, &t, NULL), ZK_OK);
  hid_t file = H5Fopen(path.s, H5F_ACC_RDONLY, H5P_DEFAULT);
  int num_datasets = 0;
  assert_int_equal(H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, check_object, &num_datasets, H5O_INFO_ALL), 0);
  assert_int_equal(num_datasets, ZK_TRAJECTORY_NUM_COLUMNS - 4); // the optional ones say nothing
  H5Fclose(file);
  zk_trajectory_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_bit_comes_back),
      cmocka_unit_test(same_bytes_for_same_content),
      cmocka_unit_test(large_config_and_empty_columns),
      cmocka_unit_test(never_overwritten),
      cmocka_unit_test(first_difference_is_named),
      cmocka_unit_test(altered_values_are_found),
      cmocka_unit_test(wrong_shapes_types_and_missing_datasets),
      cmocka_unit_test(truncated_anywhere),
      cmocka_unit_test(one_bit_flipped_anywhere),
      cmocka_unit_test(nonsense_is_not_written),
      cmocka_unit_test(detail_of_what_went_wrong),
      cmocka_unit_test(replies_and_missing_rewards),
      cmocka_unit_test(groups_make_a_step),
      cmocka_unit_test(described_and_timeless),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
