// optimizer.h5: every bit back however the ranges are cut, the same bytes too; nothing incomplete is published or
// believed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/file_util.h"
#include "shared/optimizer_file.h"

enum { NUM = 10007 };
static float moments[ZK_OPTIMIZER_NUM_DATASETS][NUM];

static char dir[] = "/tmp/zk_optimizer_XXXXXX";
static int make_dir(void **state) {
  for (int d = 0; d < ZK_OPTIMIZER_NUM_DATASETS; d++)
    for (int i = 0; i < NUM; i++) {
      uint32_t bits = (uint32_t)i * 2654435761u + (uint32_t)d; // any bits, NaNs among them
      memcpy(&moments[d][i], &bits, sizeof bits);
    }
  return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) { return zk_file_remove_tree(dir) == ZK_OK ? 0 : -1; }

static zk_status write_in_pieces(const char *path, int64_t piece, bool backwards) {
  zk_optimizer_file *f;
  ZK_TRY(zk_optimizer_file_create(path, 12, NUM, &f));
  int64_t num_pieces = (NUM + piece - 1) / piece;
  for (int64_t i = 0; i < num_pieces; i++) {
    int64_t first = (backwards ? num_pieces - 1 - i : i) * piece, count = first + piece < NUM ? piece : NUM - first;
    for (int d = 0; d < ZK_OPTIMIZER_NUM_DATASETS; d++)
      ZK_TRY(zk_optimizer_file_write(f, (zk_optimizer_dataset)d, first, count, &moments[d][first]));
  }
  return zk_optimizer_file_finish(f);
}

static void every_bit_comes_back(void **state) {
  zk_path path = zk_path_make("%s/bits.h5", dir);
  zk_optimizer_file *f;
  static float back[NUM];
  assert_int_equal(write_in_pieces(path.s, 1000, false), ZK_OK);
  assert_int_equal(zk_optimizer_file_open(path.s, &f), ZK_OK);
  assert_int_equal(zk_optimizer_file_step(f), 12);
  assert_int_equal(zk_optimizer_file_num_elements(f), NUM);
  for (int d = 0; d < ZK_OPTIMIZER_NUM_DATASETS; d++) {
    assert_int_equal(zk_optimizer_file_read(f, (zk_optimizer_dataset)d, 0, 7, back), ZK_OK);
    assert_int_equal(zk_optimizer_file_read(f, (zk_optimizer_dataset)d, 7, NUM - 7, back + 7), ZK_OK);
    assert_memory_equal(back, moments[d], sizeof back);
  }
  assert_int_equal(zk_optimizer_file_read(f, ZK_OPTIMIZER_EXP_AVG, NUM, 0, back), ZK_OK);
  assert_int_equal(zk_optimizer_file_read(f, ZK_OPTIMIZER_EXP_AVG, NUM - 1, 2, back), ZK_INTERNAL);
  assert_int_equal(zk_optimizer_file_read(f, ZK_OPTIMIZER_EXP_AVG, -1, 1, back), ZK_INTERNAL);
  zk_optimizer_file_close(f);
}

static void same_bytes_however_cut(void **state) {
  const int64_t pieces[] = {NUM, 1, 4096};
  char digest[3][ZK_SHA256_HEX];
  for (int i = 0; i < 3; i++) {
    zk_path path = zk_path_make("%s/cut%d.h5", dir, i);
    assert_int_equal(write_in_pieces(path.s, pieces[i], i == 2), ZK_OK);
    assert_int_equal(zk_sha256_file(path.s, digest[i], NULL), ZK_OK);
    assert_string_equal(digest[i], digest[0]);
  }
}

// Moments before the first update: as long a file as any, of little on the disk.
static void zeros_take_no_disk(void **state) {
  enum { LONG = 1 << 20 };
  zk_path path = zk_path_make("%s/zeros.h5", dir);
  float *zeros = calloc(LONG, sizeof *zeros), *back = malloc(LONG * sizeof *back);
  zk_optimizer_file *f;
  struct stat st;
  assert_int_equal(zk_optimizer_file_create(path.s, 0, LONG, &f), ZK_OK);
  zk_optimizer_file_write_zeros(f);
  assert_int_equal(zk_optimizer_file_finish(f), ZK_OK);
  assert_int_equal(stat(path.s, &st), 0);
  assert_true(st.st_size >= 2 * LONG * (off_t)sizeof(float) && st.st_blocks * 512 < st.st_size / 2);
  assert_int_equal(zk_optimizer_file_open(path.s, &f), ZK_OK);
  for (int d = 0; d < ZK_OPTIMIZER_NUM_DATASETS; d++) {
    assert_int_equal(zk_optimizer_file_read(f, (zk_optimizer_dataset)d, 0, LONG, back), ZK_OK);
    assert_memory_equal(back, zeros, LONG * sizeof *back);
  }
  zk_optimizer_file_close(f);
  free(zeros);
  free(back);
}

static void incomplete_is_not_published(void **state) {
  zk_path path = zk_path_make("%s/part.h5", dir);
  zk_optimizer_file *f;
  assert_int_equal(zk_optimizer_file_create(path.s, 0, NUM, &f), ZK_OK);
  assert_int_equal(zk_optimizer_file_write(f, ZK_OPTIMIZER_EXP_AVG, 0, NUM, moments[0]), ZK_OK);
  assert_int_equal(zk_optimizer_file_write(f, ZK_OPTIMIZER_EXP_AVG_SQ, 0, NUM - 1, moments[1]), ZK_OK);
  assert_int_equal(zk_optimizer_file_finish(f), ZK_INTERNAL);
  assert_false(zk_file_exists(path.s) || zk_file_exists(zk_file_temp_path(path.s).s));
  assert_int_equal(zk_optimizer_file_create(path.s, 0, 0, &f), ZK_INTERNAL);
  assert_int_equal(zk_optimizer_file_create("/no/such/folder/o.h5", 0, 1, &f), ZK_IO);
}

static void damaged_files_are_refused(void **state) {
  zk_path path = zk_path_make("%s/good.h5", dir), bad = zk_path_make("%s/bad.h5", dir);
  zk_optimizer_file *f;
  char *bytes;
  size_t num_bytes;
  assert_int_equal(write_in_pieces(path.s, NUM, false), ZK_OK);
  assert_int_equal(zk_file_read(path.s, 1 << 20, &bytes, &num_bytes), ZK_OK);
  for (size_t n = 0; n < num_bytes; n += 3001) {
    assert_int_equal(zk_file_write(bad.s, bytes, n), ZK_OK);
    assert_int_equal(zk_optimizer_file_open(bad.s, &f), ZK_BAD_ARCHIVE);
    assert_non_null(strstr(zk_status_message(), bad.s));
    assert_null(f);
  }
  free(bytes);
  assert_int_equal(zk_optimizer_file_open(zk_path_make("%s/none", dir).s, &f), ZK_IO);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_bit_comes_back), cmocka_unit_test(same_bytes_however_cut),
                                     cmocka_unit_test(zeros_take_no_disk),
      cmocka_unit_test(incomplete_is_not_published),
                                     cmocka_unit_test(damaged_files_are_refused)};
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
