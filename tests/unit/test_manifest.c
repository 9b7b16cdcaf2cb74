// The manifest finds every change to the files of a run and to itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/manifest.h"

static char dir[] = "/tmp/zk_manifest_XXXXXX";
static int num_runs;
static zk_path run; // a fresh one for each test
static int make_dir(void **state) { return mkdtemp(dir) ? 0 : -1; }
static int remove_dir(void **state) { return zk_file_remove_tree(dir) == ZK_OK ? 0 : -1; }

static void put(const char *name, const char *text) {
  assert_int_equal(zk_file_write(zk_path_make("%s/%s", run.s, name).s, text, strlen(text)), ZK_OK);
}

static const char *const names[] = {"config.yaml", "trajectories/step_000001.h5", "checkpoints/step_000000/model",
                                    "checkpoints/step_000000/DONE"};

static int make_run(void **state) {
  run = zk_path_make("%s/run%d", dir, num_runs++);
  assert_int_equal(zk_file_make_directories(zk_path_make("%s/trajectories", run.s).s), ZK_OK);
  assert_int_equal(zk_file_make_directories(zk_path_make("%s/checkpoints/step_000000", run.s).s), ZK_OK);
  zk_manifest *m;
  assert_int_equal(zk_manifest_open(run.s, &m), ZK_OK);
  for (int i = 0; i < 4; i++) {
    put(names[i], names[i]);
    assert_int_equal(zk_manifest_add(m, &names[i], 1), ZK_OK);
  }
  zk_manifest_close(m);
  return 0;
}

// Verifies, and expects problems of these kinds with these texts in them, in this order.
static void expect(size_t num, const zk_manifest_fault *faults, const char *const *texts) {
  zk_manifest_report report;
  assert_int_equal(zk_manifest_verify(run.s, &report), ZK_OK);
  for (size_t i = 0; i < report.num_problems && report.num_problems != num; i++)
    print_message("%s\n", report.problems[i].text);
  assert_int_equal(report.num_problems, num);
  for (size_t i = 0; i < num; i++) {
    assert_int_equal(report.problems[i].fault, faults[i]);
    assert_non_null(strstr(report.problems[i].text, texts[i]));
  }
  zk_manifest_report_free(&report);
}
static void expect_clean(void) { expect(0, NULL, NULL); }
static void expect_one(zk_manifest_fault fault, const char *text) { expect(1, &fault, &text); }

static void clean_run(void **state) {
  expect_clean();
  put("metrics.jsonl", "not a finished file");
  put("trajectories/step_000002.h5.tmp", "nor is this");
  expect_clean();
}

static void changed_missing_and_unlisted_files(void **state) {
  put(names[1], "trajectories/step_000001.h6"); // one character, same size
  expect_one(ZK_MANIFEST_DIFFERS, "trajectories/step_000001.h5");
  put(names[1], "longer than it was, by much");
  put("checkpoints/step_000000/extra", "x");
  unlink(zk_path_make("%s/config.yaml", run.s).s);
  expect(3, (zk_manifest_fault[]){ZK_MANIFEST_MISSING, ZK_MANIFEST_DIFFERS, ZK_MANIFEST_UNLISTED},
         (const char *[]){"config.yaml", "step_000001.h5", "checkpoints/step_000000/extra"});
}

static void unfinished_checkpoint(void **state) {
  assert_int_equal(zk_file_make_directories(zk_path_make("%s/checkpoints/step_000005", run.s).s), ZK_OK);
  put("checkpoints/step_000005/model", "half");
  expect_clean();
  put("checkpoints/step_000005/DONE", "");
  expect(2, (zk_manifest_fault[]){ZK_MANIFEST_UNLISTED, ZK_MANIFEST_UNLISTED}, (const char *[]){"DONE", "model"});
}

static void same_twice_is_nothing_another_is_an_error(void **state) {
  zk_manifest *m;
  char before[ZK_SHA256_HEX], after[ZK_SHA256_HEX];
  zk_path path = zk_path_make("%s/manifest.jsonl", run.s);
  assert_int_equal(zk_sha256_file(path.s, before, NULL), ZK_OK);
  assert_int_equal(zk_manifest_open(run.s, &m), ZK_OK);
  assert_int_equal(zk_manifest_add(m, names, 4), ZK_OK);
  put(names[1], "another");
  assert_int_equal(zk_manifest_add(m, names, 4), ZK_MISMATCH);
  assert_non_null(strstr(zk_status_message(), names[1]));
  zk_manifest_close(m);
  assert_int_equal(zk_sha256_file(path.s, after, NULL), ZK_OK);
  assert_string_equal(before, after);
}

static void removed_folder(void **state) {
  zk_manifest *m;
  assert_int_equal(zk_manifest_open(run.s, &m), ZK_OK);
  assert_int_equal(zk_manifest_remove(m, "checkpoints/step_00000"), ZK_OK); // a prefix, not a folder: nothing
  assert_false(zk_manifest_find(m, names[2])->removed);
  assert_int_equal(zk_manifest_remove(m, "checkpoints/step_000000"), ZK_OK);
  assert_true(zk_manifest_find(m, names[2])->removed && zk_manifest_find(m, names[3])->removed);
  assert_false(zk_manifest_find(m, names[1])->removed);
  expect(2, (zk_manifest_fault[]){ZK_MANIFEST_UNLISTED, ZK_MANIFEST_UNLISTED},
         (const char *[]){"DONE", "model"});                 // still there
  assert_int_equal(zk_manifest_add(m, &names[2], 1), ZK_OK); // and back
  assert_int_equal(zk_file_remove_tree(zk_path_make("%s/%s", run.s, names[3]).s), ZK_OK);
  zk_manifest_close(m);
  expect_clean();
}

static void torn_last_line(void **state) {
  zk_path path = zk_path_make("%s/manifest.jsonl", run.s);
  assert_int_equal(zk_file_append(path.s, "{\"path\": \"traj", 14), ZK_OK);
  expect_clean();
  zk_manifest *m;
  assert_int_equal(zk_manifest_open(run.s, &m), ZK_OK);
  put("trajectories/step_000002.h5", "2");
  assert_int_equal(zk_manifest_add(m, (const char *[]){"trajectories/step_000002.h5"}, 1), ZK_OK);
  zk_manifest_close(m);
  expect_clean();
}

// Rewrites the manifest with `from` replaced once by `to`.
static void edit(const char *from, const char *to) {
  zk_path path = zk_path_make("%s/manifest.jsonl", run.s), edited;
  char *text, *at;
  size_t num_bytes;
  assert_int_equal(zk_file_read(path.s, 1 << 20, &text, &num_bytes), ZK_OK);
  assert_non_null(at = strstr(text, from));
  edited = zk_path_make("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
  assert_int_equal(zk_file_write(path.s, edited.s, strlen(edited.s)), ZK_OK);
  free(text);
}

static void a_broken_chain(void **state) {
  zk_manifest *m;
  edit("step_000001.h5", "step_000009.h5"); // line 2 is altered: line 3 does not follow from it
  expect(3, (zk_manifest_fault[]){ZK_MANIFEST_CHAIN, ZK_MANIFEST_MISSING, ZK_MANIFEST_UNLISTED},
         (const char *[]){"manifest.jsonl:3: not chained", "step_000009.h5", "step_000001.h5"});
  assert_int_equal(zk_manifest_open(run.s, &m), ZK_BAD_ARCHIVE);
  assert_non_null(strstr(zk_status_message(), "manifest.jsonl:3"));
  edit("step_000009.h5", "step_000001.h5");
  expect_clean();
  edit("\"prev\": \"0000", "\"prev\": \"0001");
  expect(2, (zk_manifest_fault[]){ZK_MANIFEST_CHAIN, ZK_MANIFEST_CHAIN}, (const char *[]){"jsonl:1:", "jsonl:2:"});
}

static void lines_that_are_none(void **state) {
  const char *paths[] = {"/etc/passwd", "../other", "trajectories/../../x", "..", ""};
  for (int i = 0; i < 5; i++) {
    edit("config.yaml", paths[i]);
    zk_manifest_report report;
    assert_int_equal(zk_manifest_verify(run.s, &report), ZK_OK);
    assert_int_equal(report.problems[0].fault, ZK_MANIFEST_CHAIN);
    assert_non_null(strstr(report.problems[0].text, "jsonl:1: not a manifest line"));
    zk_manifest_report_free(&report);
    edit(zk_path_make("\"%s\"", paths[i]).s, "\"config.yaml\"");
  }
  edit("{", "[");
  zk_manifest *m;
  assert_int_equal(zk_manifest_open(run.s, &m), ZK_BAD_ARCHIVE);
  unlink(zk_path_make("%s/manifest.jsonl", run.s).s);
  zk_manifest_report report;
  assert_int_equal(zk_manifest_verify(run.s, &report), ZK_IO);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(clean_run, make_run),
      cmocka_unit_test_setup(changed_missing_and_unlisted_files, make_run),
      cmocka_unit_test_setup(unfinished_checkpoint, make_run),
      cmocka_unit_test_setup(same_twice_is_nothing_another_is_an_error, make_run),
      cmocka_unit_test_setup(removed_folder, make_run),
      cmocka_unit_test_setup(torn_last_line, make_run),
      cmocka_unit_test_setup(a_broken_chain, make_run),
      cmocka_unit_test_setup(lines_that_are_none, make_run),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
