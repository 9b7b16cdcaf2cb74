// safetensors: exact conversions, every kind of damage refused by name, written bytes deterministic and read back
// equal.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kernels/bf16.h"
#include "shared/file.h"
#include "shared/safetensors.h"

// A file image: header length, header, `data_bytes` of zeros. The caller frees it.
static uint8_t *image(const char *header, size_t data_bytes, size_t *num_bytes) {
  size_t n = strlen(header);
  *num_bytes = 8 + n + data_bytes;
  uint8_t *bytes = calloc(1, *num_bytes + 1);
  for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)n >> 8 * i);
  memcpy(bytes + 8, header, n);
  return bytes;
}

static void expect_refused(const uint8_t *bytes, size_t num_bytes, const char *why) {
  zk_safetensors *file = NULL;
  zk_status st = zk_safetensors_open_memory("F", bytes, num_bytes, &file);
  if (st == ZK_OK || !strstr(zk_status_message(), why))
    fail_msg("wanted \"%s\", got %d \"%s\"", why, st, zk_status_message());
  assert_int_equal(zk_status_exit_code(st), 2);
}

static void damaged_headers_are_refused_by_name(void **state) {
  (void)state;
  static const struct {
    const char *header;
    size_t data_bytes;
    const char *why;
  } cases[] = {
      {"", 0, "not a JSON object"},
      {"[]", 0, "not a JSON object"},
      {"{\"a\":", 0, "header, byte"},
      {"{} x", 0, "header, byte"},
      {"{\"a\":7}", 0, "tensor a has no dtype"},
      {"{\"a\":{\"dtype\":\"Q4\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor a has dtype \"Q4\""},
      {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "tensor a has no shape"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "9 dimensions"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "dimension 0 is not a count"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, "dimension 0 is not a count"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "overflows"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "span 0 bytes"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "not a pair"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "not a pair"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "not a range"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "not a range"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]}}", 4, "truncated or damaged"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,99999999999999999999]}}", 4, "header, byte"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4,
       "tensor a ends at byte 8 of the data, but the file holds 4"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "tensor a: data_offsets span 4 bytes"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_"
       "offsets\":[4,12]}}",
       12, "tensors a and b overlap"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_"
       "offsets\":[0,8]}}",
       8, "tensors a and b overlap"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
       "offsets\":[8,12]}}",
       12, "4 bytes before tensor b belong to no tensor"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "1 bytes after the last tensor"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_"
       "offsets\":[0,0]}}",
       0, "duplicate"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t num_bytes;
    uint8_t *bytes = image(cases[i].header, cases[i].data_bytes, &num_bytes);
    expect_refused(bytes, num_bytes, cases[i].why);
    free(bytes);
  }
}

static void short_and_lying_lengths(void **state) {
  (void)state;
  size_t num_bytes;
  uint8_t *bytes = image("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, &num_bytes);
  for (size_t n = 0; n < num_bytes; n++) { // every truncation
    zk_safetensors *file;
    uint8_t *cut = malloc(n + 1); // its own allocation, so that a sanitizer sees one byte too many
    memcpy(cut, bytes, n);
    assert_int_not_equal(zk_safetensors_open_memory("F", cut, n, &file), ZK_OK);
    free(cut);
  }
  memset(bytes, 0xff, 8);
  expect_refused(bytes, num_bytes, "more than the format allows");
  memset(bytes, 0, 8);
  expect_refused(bytes, num_bytes, "not a JSON object");
  bytes[3] = 1;
  expect_refused(bytes, num_bytes, "truncated: header of 16777216 bytes");
  free(bytes);
}

static void tensors_come_in_name_order_with_shapes(void **state) {
  (void)state;
  size_t num_bytes;
  uint8_t *bytes =
      image("{\"z\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},\"__metadata__\":{\"k\":\"v\"},"
            "\"m\":{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[8,8]},"
            "\"a\":{\"dtype\":\"U8\",\"shape\":[2,1],\"data_offsets\":[8,10]}}",
            10, &num_bytes);
  bytes[num_bytes - 10] = 42;
  zk_safetensors *file;
  assert_int_equal(zk_safetensors_open_memory("F", bytes, num_bytes, &file), ZK_OK);
  assert_int_equal(zk_safetensors_count(file), 3);
  assert_string_equal(zk_safetensors_at(file, 0)->name, "a");
  assert_string_equal(zk_safetensors_at(file, 2)->name, "z");
  assert_null(zk_safetensors_find(file, "__metadata__"));
  int64_t value;
  assert_int_equal(zk_safetensor_read_i64(zk_safetensors_find(file, "z"), 0, 1, &value), ZK_OK);
  assert_int_equal(value, 42);
  float x;
  assert_int_equal(zk_safetensor_read_f32(zk_safetensors_find(file, "a"), 0, 1, &x), ZK_UNSUPPORTED);
  assert_non_null(strstr(zk_status_message(), "tensor a has dtype U8"));
  assert_int_equal(zk_safetensor_read_f32(zk_safetensors_find(file, "m"), 0, 1, &x), ZK_INTERNAL); // out of range
  zk_safetensors_close(file);
  free(bytes);
}

static void half_conversions_are_exact(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 65536; h++) { // against the definition, in double
    int exponent = h >> 10 & 31, fraction = h & 0x3ff;
    double want = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    if (exponent == 31) want = fraction ? (double)NAN : (double)INFINITY;
    if (h & 0x8000) want = -want;
    float got = zk_float_from_f16((uint16_t)h);
    if (isnan(want)) assert_true(isnan(got));
    else assert_true(zk_float_bits(got) == zk_float_bits((float)want));
    float b = zk_bf16_to_float((zk_bf16){(uint16_t)h});
    assert_int_equal(zk_float_bits(b), h << 16);
    if (!isnan(b)) assert_int_equal(zk_float_to_bf16(b).bits, h);
  }
  static const uint32_t cases[][2] = {{0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81},
                                      {0x3f807fff, 0x3f80}, {0x7f7fffff, 0x7f80}, {0x00008000, 0x0000},
                                      {0x80018000, 0x8002}, {0x7f800001, 0x7fff}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(zk_float_to_bf16(zk_bits_float(cases[i][0])).bits, cases[i][1]);
}

// ---- writing

static char dir[64];
static int make_dir(void **state) {
  (void)state;
  strcpy(dir, "/tmp/zk_safetensors_XXXXXX");
  return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) {
  (void)state;
  char command[96];
  snprintf(command, sizeof command, "rm -rf '%s'", dir);
  return system(command);
}
static const char *in_dir(const char *name) {
  static char path[160];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

static const zk_safetensors_entry entries[] = {
    {"a", 2, {3, 5}}, {"b", 1, {0}}, {"c", 1, {7}}, {"d.\"\\x", 0, {0}}, {"e", 3, {2, 2, 2}}};
enum { NUM_ENTRIES = 5, NUM_VALUES = 15 + 0 + 7 + 1 + 8 };

// Writes the entries with values 0.1 k, in pieces of `piece`.
static void write_all(zk_dtype dtype, int64_t max_shard_bytes, int64_t piece) {
  float values[NUM_VALUES];
  for (int i = 0; i < NUM_VALUES; i++) values[i] = (float)i * 0.1f;
  zk_safetensors_writer *w;
  assert_int_equal(zk_safetensors_writer_open(dir, entries, NUM_ENTRIES, dtype, max_shard_bytes, &w), ZK_OK);
  for (int64_t at = 0; at < NUM_VALUES; at += piece) {
    int64_t n = NUM_VALUES - at < piece ? NUM_VALUES - at : piece;
    assert_int_equal(zk_safetensors_writer_append(w, values + at, n), ZK_OK);
  }
  assert_int_equal(zk_safetensors_writer_close(w), ZK_OK);
}

static void check_all(zk_dtype dtype) {
  zk_safetensors *file;
  assert_int_equal(zk_safetensors_open(dir, &file), ZK_OK);
  assert_int_equal(zk_safetensors_count(file), NUM_ENTRIES);
  int k = 0;
  for (int i = 0; i < NUM_ENTRIES; i++) {
    const zk_safetensor *t = zk_safetensors_at(file, i);
    assert_string_equal(t->name, entries[i].name);
    assert_int_equal(t->num_dims, entries[i].num_dims);
    for (int64_t j = 0; j < t->num_elements; j++, k++) {
      float got, value = (float)k * 0.1f;
      assert_int_equal(zk_safetensor_read_f32(t, j, 1, &got), ZK_OK);
      float want = dtype == ZK_DTYPE_F32 ? value : zk_bf16_to_float(zk_float_to_bf16(value));
      assert_int_equal(zk_float_bits(got), zk_float_bits(want));
    }
  }
  assert_int_equal(k, NUM_VALUES);
  zk_safetensors_close(file);
}

static void one_file_and_shards_read_back_equal(void **state) {
  (void)state;
  static const int64_t limits[] = {0, 1, 40, 64, 1000};
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
    for (int dtype = ZK_DTYPE_F32; dtype <= ZK_DTYPE_BF16; dtype += ZK_DTYPE_BF16 - ZK_DTYPE_F32) {
      write_all((zk_dtype)dtype, limits[i], 4);
      check_all((zk_dtype)dtype);
    }
}

static void pieces_change_no_byte(void **state) {
  (void)state;
  char *want, *got;
  size_t num_want, num_got;
  write_all(ZK_DTYPE_BF16, 0, NUM_VALUES);
  assert_int_equal(zk_file_read(in_dir("model.safetensors"), 1 << 20, &want, &num_want), ZK_OK);
  for (int piece = 1; piece < NUM_VALUES; piece++) {
    write_all(ZK_DTYPE_BF16, 0, piece);
    assert_int_equal(zk_file_read(in_dir("model.safetensors"), 1 << 20, &got, &num_got), ZK_OK);
    assert_int_equal(num_got, num_want);
    assert_memory_equal(got, want, num_want);
    free(got);
  }
  assert_int_equal((uint8_t)want[0] % 8, 0); // data aligned to 8
  write_all(ZK_DTYPE_F32, 0, NUM_VALUES);    // control: another dtype does change them
  assert_int_equal(zk_file_read(in_dir("model.safetensors"), 1 << 20, &got, &num_got), ZK_OK);
  assert_int_not_equal(num_got, num_want);
  free(got);
  free(want);
}

static void unfinished_writes_leave_nothing(void **state) {
  (void)state;
  zk_safetensors_writer *w;
  float values[NUM_VALUES + 1] = {0};
  write_all(ZK_DTYPE_F32, 0, NUM_VALUES);
  assert_int_equal(zk_safetensors_writer_open(dir, entries, NUM_ENTRIES, ZK_DTYPE_F32, 0, &w), ZK_OK);
  assert_int_equal(zk_safetensors_writer_append(w, values, NUM_VALUES - 1), ZK_OK);
  assert_int_equal(zk_safetensors_writer_close(w), ZK_INTERNAL); // one element missing
  assert_false(zk_file_exists(in_dir("model.safetensors.tmp")));
  check_all(ZK_DTYPE_F32); // the older file is untouched
  assert_int_equal(zk_safetensors_writer_open(dir, entries, NUM_ENTRIES, ZK_DTYPE_F32, 0, &w), ZK_OK);
  assert_int_equal(zk_safetensors_writer_append(w, values, NUM_VALUES + 1), ZK_INTERNAL); // one too many
  zk_safetensors_writer_abort(w);
  check_all(ZK_DTYPE_F32);
  const zk_safetensors_entry unsorted[] = {{"b", 0, {0}}, {"a", 0, {0}}};
  assert_int_equal(zk_safetensors_writer_open(dir, unsorted, 2, ZK_DTYPE_F32, 0, &w), ZK_INTERNAL);
  assert_int_equal(zk_safetensors_writer_open("/nonexistent", entries, 1, ZK_DTYPE_F32, 0, &w), ZK_IO);
}

// A file-size limit stands for a full disk: the write fails part way.
static void a_full_disk_damages_nothing(void **state) {
  (void)state;
  enum { NUM_BIG = 1 << 18 };
  const zk_safetensors_entry big[] = {{"a", 1, {NUM_BIG}}};
  float *values = calloc(NUM_BIG, sizeof *values);
  write_all(ZK_DTYPE_F32, 0, NUM_VALUES);
  struct rlimit old, limit;
  getrlimit(RLIMIT_FSIZE, &old);
  limit = old, limit.rlim_cur = 100000;
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &limit);
  zk_safetensors_writer *w;
  assert_int_equal(zk_safetensors_writer_open(dir, big, 1, ZK_DTYPE_F32, 0, &w), ZK_OK);
  zk_status st = zk_safetensors_writer_append(w, values, NUM_BIG);
  zk_status close_st = zk_safetensors_writer_close(w);
  setrlimit(RLIMIT_FSIZE, &old);
  assert_int_equal(st, ZK_IO);
  assert_int_equal(close_st, ZK_IO);
  assert_non_null(strstr(zk_status_message(), "model.safetensors: cannot write: File too large"));
  assert_false(zk_file_exists(in_dir("model.safetensors.tmp")));
  check_all(ZK_DTYPE_F32);
  free(values);
}

static void indexes_that_lie_are_refused(void **state) {
  (void)state;
  write_all(ZK_DTYPE_F32, 40, NUM_VALUES);
  char *text;
  size_t n;
  assert_int_equal(zk_file_read(in_dir("model.safetensors.index.json"), 1 << 20, &text, &n), ZK_OK);
  static const struct {
    const char *index, *why;
  } cases[] = {
      {"{", "model.safetensors.index.json:1:1"},
      {"{}", "no object weight_map"},
      {"{\"weight_map\":{\"a\":\"../x\"}}", "tensor a has no plain file name"},
      {"{\"weight_map\":{\"a\":7}}", "tensor a has no plain file name"},
      {"{\"weight_map\":{\"a\":\"gone.safetensors\"}}", "gone.safetensors: No such file"},
      {"{\"weight_map\":{\"c\":\"model-00001-of-00003.safetensors\"}}", "weight_map says nothing"},
      {"{\"weight_map\":{\"a\":\"model-00001-of-00003.safetensors\",\"q\":\"model-00001-of-00003.safetensors\"}}",
       "tensor q is not in model-00001"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(zk_file_write(in_dir("model.safetensors.index.json"), cases[i].index, strlen(cases[i].index)),
                     ZK_OK);
    zk_safetensors *file;
    zk_status st = zk_safetensors_open(dir, &file);
    if (st == ZK_OK || !strstr(zk_status_message(), cases[i].why))
      fail_msg("wanted \"%s\", got \"%s\"", cases[i].why, zk_status_message());
  }
  assert_int_equal(zk_file_write(in_dir("model.safetensors.index.json"), text, n), ZK_OK);
  check_all(ZK_DTYPE_F32); // control: the true index is fine
  free(text);
  zk_safetensors *file;
  assert_int_equal(zk_safetensors_open("/nonexistent", &file), ZK_IO);
  assert_int_equal(zk_safetensors_open("/tmp", &file), ZK_IO);
  assert_non_null(strstr(zk_status_message(), "/tmp: no model.safetensors"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(damaged_headers_are_refused_by_name),
      cmocka_unit_test(short_and_lying_lengths),
      cmocka_unit_test(tensors_come_in_name_order_with_shapes),
      cmocka_unit_test(half_conversions_are_exact),
      cmocka_unit_test_setup_teardown(one_file_and_shards_read_back_equal, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(pieces_change_no_byte, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(unfinished_writes_leave_nothing, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(a_full_disk_damages_nothing, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(indexes_that_lie_are_refused, make_dir, remove_dir),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
