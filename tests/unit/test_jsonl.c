// JSON Lines data sets: what is read, what is refused and where, and that held-out prompts are never trained on.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rollout/jsonl.h"
#include "rollout/task.h"

static char dir[] = "/tmp/zk_jsonl_XXXXXX";

// Writes num_bytes of `text` (or all of it) to NAME in the test's folder and returns the path.
static const char *write_file(const char *name, const char *text, size_t num_bytes) {
  static char paths[4][256];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, 256, "%s/%s", dir, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, num_bytes, file), num_bytes);
  fclose(file);
  return path;
}

static int make_dir(void **state) { return mkdtemp(dir) == NULL; }
static int remove_dir(void **state) {
  char command[64];
  snprintf(command, sizeof command, "rm -r %s", dir);
  return system(command);
}

static zk_config config(const char *path, const char *heldout_path, int heldout) {
  zk_config cfg = {.seed = 7};
  cfg.task.name = ZK_CONFIG_TASK_JSONL;
  cfg.task.grader = ZK_CONFIG_GRADER_EXACT;
  cfg.task.heldout = heldout;
  snprintf(cfg.task.path, sizeof cfg.task.path, "%s", path);
  snprintf(cfg.task.heldout_path, sizeof cfg.task.heldout_path, "%s", heldout_path);
  return cfg;
}

static zk_task *open_task(const zk_config *cfg) {
  zk_task *task;
  if (zk_task_open(cfg, &task) != ZK_OK) fail_msg("%s", zk_status_message());
  return task;
}

static void lines_become_items(void **state) {
  static const char text[] =
      "{\"prompt\": \"1+1=\", \"label\": 2, \"demonstration\": \"2\", \"id\": [1, null]}\n"
      "{\"prompt\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": "
      "\"caf\\u00e9?\"}], \"label\": \"oui\"}\r\n"
      "{\"label\": \"c\", \"prompt\": \"no newline at the end\"}";
  zk_jsonl *file;
  assert_int_equal(zk_jsonl_open(write_file("ok.jsonl", text, strlen(text)), 1u << ZK_CONFIG_GRADER_EXACT, &file), ZK_OK);
  assert_int_equal(zk_jsonl_num_lines(file), 3);
  zk_task_item item;
  assert_int_equal(zk_jsonl_read(file, 0, "Be brief.", &item), ZK_OK);
  assert_string_equal(item.text, "1+1=");
  assert_string_equal(item.label, "2");
  assert_string_equal(item.demonstration, "2");
  assert_int_equal(item.source, 1);
  assert_int_equal(item.num_messages, 2);
  assert_string_equal(item.messages[0].content, "Be brief.");
  assert_string_equal(item.messages[1].role, "user");
  assert_string_equal(item.messages[1].content, "1+1=");
  zk_task_item_free(&item);
  assert_int_equal(zk_jsonl_read(file, 1, "Be brief.", &item), ZK_OK);
  assert_null(item.text);
  assert_null(item.demonstration);
  assert_int_equal(item.num_messages, 2);
  assert_string_equal(item.messages[0].content, "S"); // the line's own system message wins
  assert_string_equal(item.messages[1].content, "caf\xc3\xa9?");
  zk_task_item_free(&item);
  assert_int_equal(zk_jsonl_read(file, 2, NULL, &item), ZK_OK);
  assert_int_equal(item.num_messages, 1);
  zk_task_item_free(&item);
  zk_jsonl_close(file);
}

// Lines as verl and slime write them.
static void names_of_others_are_understood(void **state) {
  static const char text[] =
      "{\"data_source\": \"openai/gsm8k\", \"prompt\": [{\"role\": \"user\", \"content\": \"q\"}], \"ability\": \"math\", "
      "\"reward_model\": {\"style\": \"rule\", \"ground_truth\": \"72\"}, \"extra_info\": {\"split\": \"train\", \"index\": 0}}\n"
      "{\"prompt\": \"q\", \"label\": \"7\", \"metadata\": {\"a\": 1}}\n"
      "{\"prompt\": \"q\", \"label\": 7, \"reward_model\": {\"ground_truth\": 7}}\n";
  zk_jsonl *file;
  zk_task_item item;
  assert_int_equal(zk_jsonl_open(write_file("verl.jsonl", text, strlen(text)), 1u << ZK_CONFIG_GRADER_NUMBER, &file), ZK_OK);
  assert_int_equal(zk_jsonl_read(file, 0, NULL, &item), ZK_OK);
  assert_string_equal(item.label, "72");
  assert_string_equal(item.extra, "{\"data_source\":\"openai/gsm8k\",\"extra_info\":{\"index\":0,\"split\":\"train\"}}");
  zk_task_item_free(&item);
  assert_int_equal(zk_jsonl_read(file, 1, NULL, &item), ZK_OK);
  assert_string_equal(item.extra, "{\"metadata\":{\"a\":1}}");
  zk_task_item_free(&item);
  assert_int_equal(zk_jsonl_read(file, 2, NULL, &item), ZK_OK);
  assert_string_equal(item.label, "7");
  assert_null(item.extra);
  zk_task_item_free(&item);
  zk_jsonl_close(file);

  // A ground truth that is an object, for a grader that reads one; no label where none is needed.
  static const char countdown[] = "{\"prompt\": \"q\", \"reward_model\": {\"ground_truth\": {\"target\": 3, \"numbers\": [1, 2]}}}\n";
  assert_int_equal(zk_jsonl_open(write_file("c.jsonl", countdown, strlen(countdown)), 1u << ZK_CONFIG_GRADER_COUNTDOWN, &file), ZK_OK);
  assert_int_equal(zk_jsonl_read(file, 0, NULL, &item), ZK_OK);
  assert_string_equal(item.label, "{\"numbers\": [1, 2], \"target\": 3}");
  zk_task_item_free(&item);
  zk_jsonl_close(file);
  static const char bare[] = "{\"prompt\": \"q\"}\n";
  assert_int_equal(zk_jsonl_open(write_file("bare.jsonl", bare, strlen(bare)), 1u << ZK_CONFIG_GRADER_REGEX, &file), ZK_OK);
  assert_int_equal(zk_jsonl_read(file, 0, NULL, &item), ZK_OK);
  assert_null(item.label);
  zk_task_item_free(&item);
  zk_jsonl_close(file);
}

// Line 2 of a file is `line`: the message must be "PATH:2: " + `want`.
static void expect_line_error(zk_config_grader grader, const char *line, size_t num_bytes, const char *want) {
  static const char good[] = "{\"prompt\": \"p\", \"label\": \"1\"}\n";
  char text[1024], message[512];
  size_t at = (size_t)snprintf(text, sizeof text, "%s", good);
  memcpy(text + at, line, num_bytes);
  at += num_bytes;
  at += (size_t)snprintf(text + at, sizeof text - at, "\n%s", good);
  zk_jsonl *file;
  const char *path = write_file("bad.jsonl", text, at);
  snprintf(message, sizeof message, "%s:2: %s", path, want);
  if (zk_jsonl_open(path, 1u << grader, &file) != ZK_BAD_INPUT) fail_msg("accepted: %s", line);
  if (strncmp(zk_status_message(), message, strlen(message)) != 0)
    fail_msg("said \"%s\", not \"%s...\"", zk_status_message(), message);
  assert_null(file);
}

static void bad_lines_are_named(void **state) {
  static const struct {
    const char *line, *want;
  } cases[] = {
      {"", "blank line"},
      {" \t", "blank line"},
      {"[1, 2]", "the line is an array, not an object"},
      {"{\"prompt\": \"p\"", "column "},
      {"{\"prompt\": \"p\", \"label\": \"1\"} x", "column 31: end of file expected near 'x'"},
      {"{\"prompt\": \"p\", \"prompt\": \"q\", \"label\": \"1\"}", "column 24: duplicate object key near '\"prompt\"'"},
      {"{\"prompt\": \"\xff\", \"label\": \"1\"}", "column 12: unable to decode byte 0xff"},
      {"{\"prompt\": \"\\u0000\", \"label\": \"1\"}", "column "},
      {"{\"prompt\": \"\\ud800\", \"label\": \"1\"}", "column "},
      {"{\"label\": \"1\"}", "no field \"prompt\""},
      {"{\"prompt\": \"p\"}", "no field \"label\""},
      {"{\"prompt\": 3, \"label\": \"1\"}", "\"prompt\" is an integer, not a text or a list of messages"},
      {"{\"prompt\": null, \"label\": \"1\"}", "\"prompt\" is null"},
      {"{\"prompt\": \"\", \"label\": \"1\"}", "\"prompt\" is empty"},
      {"{\"prompt\": [], \"label\": \"1\"}", "\"prompt\" must end with a message whose role is user"},
      {"{\"prompt\": [\"p\"], \"label\": \"1\"}", "\"prompt\"[0] is a string, not a message"},
      {"{\"prompt\": [{\"role\": \"user\"}], \"label\": \"1\"}", "\"prompt\"[0] must have exactly the texts"},
      {"{\"prompt\": [{\"role\": \"user\", \"content\": \"p\", \"name\": \"x\"}], \"label\": \"1\"}",
       "\"prompt\"[0] must have exactly the texts"},
      {"{\"prompt\": [{\"role\": \"tool\", \"content\": \"p\"}], \"label\": \"1\"}",
       "\"prompt\"[0]: role \"tool\" is not system, user or assistant"},
      {"{\"prompt\": [{\"role\": \"assistant\", \"content\": \"p\"}], \"label\": \"1\"}", "\"prompt\" must end with"},
      {"{\"prompt\": \"p\", \"label\": 1.5}", "\"label\" is a real number, not a text or an integer"},
      {"{\"prompt\": \"p\", \"label\": true}", "\"label\" is a boolean"},
      {"{\"prompt\": \"p\", \"label\": [1]}", "\"label\" is an array, not a text or an integer"},
      {"{\"prompt\": \"p\", \"reward_model\": \"rule\"}", "\"reward_model\" is a string, not an object"},
      {"{\"prompt\": \"p\", \"reward_model\": {\"style\": \"rule\"}}",
       "no field \"label\" (slime's name), and no \"reward_model\": {\"ground_truth\"} (verl's), which the grader needs"},
      {"{\"prompt\": \"p\", \"label\": \"1\", \"reward_model\": {\"ground_truth\": \"2\"}}",
       "\"label\" and \"reward_model\".\"ground_truth\" differ"},
      {"{\"prompt\": \"p\", \"reward_model\": {\"ground_truth\": 1.5}}",
       "\"reward_model\".\"ground_truth\" is a real number, not a text or an integer"},
      {"{\"prompt\": \"p\", \"label\": 99999999999999999999}", "column "},
      {"{\"prompt\": \"p\", \"label\": \" \"}", "the label is blank"},
      {"{\"prompt\": \"p\", \"label\": \"1\", \"demonstration\": 1}", "\"demonstration\" is an integer, not a text"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    expect_line_error(ZK_CONFIG_GRADER_EXACT, cases[i].line, strlen(cases[i].line), cases[i].want);
  static const char nul[] = "{\"prompt\": \"p\0q\", \"label\": \"1\"}";
  expect_line_error(ZK_CONFIG_GRADER_EXACT, nul, sizeof nul - 1, "column ");
  static const char text_label[] = "{\"prompt\": \"p\", \"label\": \"one\"}";
  expect_line_error(ZK_CONFIG_GRADER_NUMBER, text_label, strlen(text_label), "label \"one\" is not a number");
  expect_line_error(ZK_CONFIG_GRADER_GSM8K, text_label, strlen(text_label), "label \"one\" is not a number and has no");
}

static void bad_files(void **state) {
  zk_jsonl *file;
  assert_int_equal(zk_jsonl_open(write_file("empty.jsonl", "", 0), 1u << ZK_CONFIG_GRADER_EXACT, &file), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "empty.jsonl is empty"));
  assert_int_equal(zk_jsonl_open("/nonexistent/x.jsonl", 1u << ZK_CONFIG_GRADER_EXACT, &file), ZK_IO);
  assert_string_equal(zk_status_message(), "cannot open /nonexistent/x.jsonl: No such file or directory");
  assert_int_equal(zk_jsonl_open(dir, 1u << ZK_CONFIG_GRADER_EXACT, &file), ZK_IO);
  assert_non_null(strstr(zk_status_message(), "is not a regular file"));
}

static void a_file_that_changes_is_noticed(void **state) {
  static const char before[] = "{\"prompt\": \"p\", \"label\": \"1\"}\n{\"prompt\": \"q\", \"label\": \"2\"}\n";
  static const char after[] = "{\"prompt\": \"p\", \"label\": \"1\"}\n{\"prompt\": \"q\", \"label\": \"3\"}\n";
  zk_jsonl *file;
  zk_task_item item;
  assert_int_equal(zk_jsonl_open(write_file("live.jsonl", before, strlen(before)), 1u << ZK_CONFIG_GRADER_EXACT, &file),
                   ZK_OK);
  write_file("live.jsonl", after, strlen(after));
  assert_int_equal(zk_jsonl_read(file, 0, NULL, &item), ZK_OK);
  zk_task_item_free(&item);
  assert_int_equal(zk_jsonl_read(file, 1, NULL, &item), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "live.jsonl:2 changed while it was in use"));
  write_file("live.jsonl", after, 10);
  assert_int_equal(zk_jsonl_read(file, 1, NULL, &item), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "became shorter"));
  zk_jsonl_close(file);
}

// A file of `num` lines whose prompts are p<first>, p<first+1>, ...
static const char *numbered_file(const char *name, int first, int num) {
  char *text = malloc((size_t)num * 64), *at = text;
  for (int i = 0; i < num; i++) at += sprintf(at, "{\"prompt\": \"p%d\", \"label\": \"%d\"}\n", first + i, first + i);
  const char *path = write_file(name, text, (size_t)(at - text));
  free(text);
  return path;
}

static void epochs_visit_every_line_once(void **state) {
  zk_config cfg = config(numbered_file("train.jsonl", 0, 50), "", 10);
  zk_task *task = open_task(&cfg), *other;
  assert_int_equal(zk_task_num_heldout(task), 10);
  cfg.seed = 8;
  other = open_task(&cfg);
  int order[3][40], num_moved[2] = {0, 0};
  for (int epoch = 0; epoch < 3; epoch++) {
    int seen[50] = {0};
    for (int i = 0; i < 40; i++) {
      zk_task_item item;
      assert_int_equal(zk_task_get(epoch < 2 ? task : other, ZK_SPLIT_TRAIN, (uint64_t)(epoch % 2 * 40 + i), &item),
                       ZK_OK);
      seen[order[epoch][i] = atoi(item.label)]++;
      zk_task_item_free(&item);
    }
    for (int i = 0; i < 50; i++) assert_int_equal(seen[i], i < 40); // the last ten are held out
  }
  for (int i = 0; i < 40; i++) num_moved[0] += order[0][i] != order[1][i], num_moved[1] += order[0][i] != order[2][i];
  assert_true(num_moved[0] > 20 && num_moved[1] > 20); // another order in another epoch, and with another seed
  for (int i = 0; i < 10; i++) {
    zk_task_item item;
    assert_int_equal(zk_task_get(task, ZK_SPLIT_HELDOUT, (uint64_t)i, &item), ZK_OK);
    assert_int_equal(atoi(item.label), 40 + i);
    zk_task_item_free(&item);
  }
  zk_task_close(task);
  zk_task_close(other);
}

static void held_out_prompts_are_not_trained_on(void **state) {
  char heldout[256];
  snprintf(heldout, sizeof heldout, "%s", numbered_file("heldout.jsonl", 25, 10));
  zk_config cfg =
      config(numbered_file("train.jsonl", 0, 30), heldout, 8); // 25..29 are in both, 33 and 34 beyond the eight
  zk_task *task = open_task(&cfg);
  assert_int_equal(zk_task_num_heldout(task), 8);
  for (uint64_t i = 0; i < 75; i++) {
    zk_task_item item;
    assert_int_equal(zk_task_get(task, ZK_SPLIT_TRAIN, i, &item), ZK_OK);
    assert_in_range(atoi(item.label), 0, 24);
    zk_task_item_free(&item);
  }
  uint64_t hash = zk_task_hash(task);
  zk_task_close(task);
  cfg = config(numbered_file("train.jsonl", 1, 30), heldout, 8);
  task = open_task(&cfg);
  assert_true(zk_task_hash(task) != hash);
  zk_task_close(task);

  cfg = config(numbered_file("train.jsonl", 25, 3), heldout, 8);
  assert_int_equal(zk_task_open(&cfg, &task), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "every line's prompt is held out"));
  cfg = config(numbered_file("train.jsonl", 0, 10), "", 10);
  assert_int_equal(zk_task_open(&cfg, &task), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "has 10 lines; task.heldout = 10 leaves none to train on"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_become_items),
      cmocka_unit_test(names_of_others_are_understood),
      cmocka_unit_test(bad_lines_are_named),
      cmocka_unit_test(bad_files),
      cmocka_unit_test(a_file_that_changes_is_noticed),
      cmocka_unit_test(epochs_visit_every_line_once),
      cmocka_unit_test(held_out_prompts_are_not_trained_on),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
