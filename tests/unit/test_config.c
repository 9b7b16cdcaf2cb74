// The configuration: defaults, files, overrides, writing and reading back, identity; what the key table says is what
// each does.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/config_keys.h"

static const char good[] = "seed: 18\n"
                           "run: {name: quick, steps: 30}\n"
                           "model:\n"
                           "  init: {layers: 2, hidden: 96, heads: 6, kv_heads: 2, intermediate: 128}\n"
                           "task:\n"
                           "  name: reverse\n"
                           "  max_length: 5\n"
                           "  system: \"one\\n\\\"two\\\"\\ttab\\u2028\\u0085\\\\ \\u4F60\"\n"
                           "rollout:\n"
                           "  top_p: 0.95\n"
                           "  kv_bytes: 64MiB\n"
                           "  stop: [\"\\n\", 'a b', '#', null_, \"~\"]\n"
                           "optimizer: {lr: 0.1, schedule: cosine, eps: 1e-9}\n";

static zk_status parse(const char *yaml, int num_overrides, char *const *overrides, zk_config *out) {
  return zk_config_parse("t.yaml", yaml, strlen(yaml), num_overrides, overrides, out);
}

static zk_config parse_good(int num_overrides, char *const *overrides) {
  zk_config cfg;
  zk_status st = parse(good, num_overrides, overrides, &cfg);
  if (st != ZK_OK) print_error("%s\n", zk_status_message());
  assert_int_equal(st, ZK_OK);
  return cfg;
}

// What `print` writes, to free.
static char *printed(void (*print)(const zk_config *, FILE *), const zk_config *cfg) {
  char *text = NULL;
  size_t num_bytes;
  FILE *file = open_memstream(&text, &num_bytes);
  assert_non_null(file);
  print(cfg, file);
  assert_int_equal(fclose(file), 0);
  return text;
}
static void print_yaml(const zk_config *cfg, FILE *file) { assert_int_equal(zk_config_write_yaml(cfg, file), ZK_OK); }
static void print_help_of_a_word(const zk_config *cfg, FILE *file) { assert_int_equal(zk_config_help(file, "clip_"), 2); }
static void print_help(const zk_config *cfg, FILE *file) {
  (void)cfg;
  zk_config_help(file, NULL);
}

// Every run of blanks and line breaks as one blank, in place.
static char *unwrapped(char *text) {
  char *to = text;
  for (const char *at = text; *at; at++)
    if (!isspace((unsigned char)*at)) *to++ = *at;
    else if (to > text && to[-1] != ' ') *to++ = ' ';
  *to = 0;
  return text;
}

static int times(const char *text, const char *what) {
  int num = 0;
  for (; *text; text++) num += strncmp(text, what, strlen(what)) == 0;
  return num;
}

static void assert_round_trips(const zk_config *cfg) {
  char *yaml = printed(print_yaml, cfg);
  zk_config again;
  memset(&again, 0xA5, sizeof again);
  zk_status st = parse(yaml, 0, NULL, &again);
  if (st != ZK_OK) print_error("%s\n%s", zk_status_message(), yaml);
  assert_int_equal(st, ZK_OK);
  assert_memory_equal(cfg, &again, sizeof again);
  char *yaml_again = printed(print_yaml, &again);
  assert_string_equal(yaml, yaml_again);
  free(yaml);
  free(yaml_again);
}

static void values_arrive_in_their_members(void **state) {
  (void)state;
  zk_config cfg = parse_good(0, NULL);
  assert_int_equal(cfg.seed, 18);
  assert_int_equal(cfg.numerics, ZK_F32);
  assert_string_equal(cfg.run.dir, "runs/quick");
  assert_int_equal(cfg.run.steps, 30);
  assert_int_equal(cfg.model.init.head_dim, 16);
  assert_int_equal(cfg.model.init.kv_heads, 2);
  assert_string_equal(cfg.task.system, "one\n\"two\"\ttab\xE2\x80\xA8\xC2\x85\\ \xE4\xBD\xA0");
  assert_true(cfg.rollout.top_p == 0.95);
  assert_true(cfg.rollout.kv_bytes == UINT64_C(64) << 20);
  assert_int_equal(cfg.rollout.stop.num, 5);
  assert_string_equal(cfg.rollout.stop.text[0], "\n");
  assert_string_equal(cfg.rollout.stop.text[2], "#");
  assert_int_equal(cfg.optimizer.schedule, ZK_CONFIG_LR_COSINE);
  assert_true(cfg.optimizer.eps == 1e-9);
  assert_int_equal(cfg.rollout.page_tokens, 64);
  assert_int_equal(cfg.trainer.grad_leaves, 8);
}

static void overrides_apply_from_left_to_right(void **state) {
  (void)state;
  char *overrides[] = {"seed=1",
                       "rollout.stop=[x, \"y z\"]",
                       "seed=9223372036854775807",
                       "run.dir=/tmp/a = b",
                       "rollout.temperature=0",
                       "task.system=",
                       "model.init.kv_heads=0",
                       "task.template=llama3.1"};
  zk_config cfg = parse_good(8, overrides);
  assert_true(cfg.seed == UINT64_C(9223372036854775807));
  assert_int_equal(cfg.rollout.stop.num, 2);
  assert_string_equal(cfg.rollout.stop.text[1], "y z");
  assert_string_equal(cfg.run.dir, "/tmp/a = b");
  assert_string_equal(cfg.task.system, "");
  assert_int_equal(cfg.model.init.kv_heads, 6);
  assert_int_equal(cfg.task.template, ZK_CHAT_LLAMA31);
  assert_round_trips(&cfg);
}

static void an_override_of_model_path_sets_init_aside(void **state) {
  (void)state;
  char *overrides[] = {"model.path=runs/warmup/checkpoints/step_000200"};
  zk_config cfg = parse_good(1, overrides);
  assert_string_equal(cfg.model.path, "runs/warmup/checkpoints/step_000200");
  assert_int_equal(cfg.model.init.layers, 0);
  assert_round_trips(&cfg);
  char *task[] = {"task.name=arithmetic"};
  cfg = parse_good(1, task);
  assert_int_equal(cfg.task.max_length, 8);
  assert_round_trips(&cfg);
}

static void without_a_file_nothing_is_required(void **state) {
  (void)state;
  char *overrides[] = {"model.path=models/x", "rollout.max_batch=3"};
  zk_config cfg;
  assert_int_equal(zk_config_load(NULL, 2, overrides, &cfg), ZK_OK);
  assert_string_equal(cfg.model.path, "models/x");
  assert_int_equal(cfg.rollout.max_batch, 3);
  char *wrong[] = {"rollout.max_batch=0"};
  assert_int_equal(zk_config_load(NULL, 1, wrong, &cfg), ZK_BAD_INPUT);
}

static void a_failure_leaves_the_output_alone(void **state) {
  (void)state;
  zk_config cfg, before;
  memset(&cfg, 0x5A, sizeof cfg);
  memcpy(&before, &cfg, sizeof cfg);
  assert_int_equal(parse("seed: x\n", 0, NULL, &cfg), ZK_BAD_INPUT);
  assert_memory_equal(&cfg, &before, sizeof cfg);
}

static void load_reads_a_file(void **state) {
  (void)state;
  char dir[] = "/tmp/zk_config_XXXXXX", path[64];
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/a.yaml", dir);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  fputs(good, file);
  fclose(file);
  zk_config cfg, parsed = parse_good(0, NULL);
  assert_int_equal(zk_config_load(path, 0, NULL, &cfg), ZK_OK);
  assert_memory_equal(&cfg, &parsed, sizeof cfg);
  unlink(path);
  assert_int_equal(zk_config_load(path, 0, NULL, &cfg), ZK_IO);
  assert_non_null(strstr(zk_status_message(), "a.yaml: cannot read: No such file"));
  assert_int_equal(zk_config_load(dir, 0, NULL, &cfg), ZK_IO);
  rmdir(dir);
}

// ---- round trips ---------------------------------------------------------------------------------------------------

static void written_config_reads_back_to_the_same_bytes(void **state) {
  (void)state;
  zk_config cfg = parse_good(0, NULL);
  assert_round_trips(&cfg);
}

// A value of the key that is not its default; NULL when there is none.
static const char *another_value(const zk_config_key *key, char out[64]) {
  int value;
  switch (key->kind) {
  case ZK_CONFIG_BOOL:
    return strcmp(key->fallback, "true") == 0 ? "false" : "true";
  case ZK_CONFIG_REAL:
    return key->max_real <= 1 ? "0.123456789012345678" : "1.1";
  case ZK_CONFIG_SIZE:
    return "3145728";
  case ZK_CONFIG_LIST:
    if (strcmp(key->path, "command.components") == 0) return "[a, b]";
    if (strcmp(key->path, "lora.target_modules") == 0) return "[q_proj, down_proj]";
    return strcmp(key->path, "task.rewards") == 0 ? "[task, \"exact=2\"]" : "[a, \"b: c\", \" \"]";
  case ZK_CONFIG_TEXT:
    return strcmp(key->path, "run.name") == 0          ? "other"
           : strcmp(key->path, "task.operations") == 0 ? "*"
                                                       : "x y: #\t'\"";
  case ZK_CONFIG_CHOICE:
    if (strcmp(key->path, "rollout.numerics") == 0) return "bf16"; // f32 are the trainer's
    for (const zk_config_choice *c = key->choices; c->name; c++)
      if (key->fallback ? strcmp(c->name, key->fallback) != 0 : c != key->choices) return c->name;
    return NULL;
  default: // INT, U64
    value = key->multiple_of || key->power_of_two || key->min_int > 12 ? 32 : key->max_int < 12 ? 5 : 12;
    if (strcmp(key->path, "model.init.hidden") == 0) value = 144;  // heads of 24
    if (strcmp(key->path, "model.init.head_dim") == 0) value = 24; // a multiple of 8
    if (strcmp(key->path, "model.init.kv_heads") == 0) value = 3;  // a divisor
    snprintf(out, 64, "%d", value);
    return out;
  }
}

// A config under which the key applies.
static const char *yaml_for(const zk_config_key *key, char out[1024]) {
  const char *task = key->when == ZK_CONFIG_WHEN_OPERANDS    ? "arithmetic"
                     : key->when == ZK_CONFIG_WHEN_MULTISTEP ? "multistep, max_steps: 8"
                     : key->when == ZK_CONFIG_WHEN_COUNTDOWN ? "countdown, max_numbers: 8"
                     : key->when == ZK_CONFIG_WHEN_JSONL     ? "jsonl, path: f"
                     : key->when == ZK_CONFIG_WHEN_REWARDS   ? "reverse, max_length: 20, rewards: [exact]"
                     : key->when == ZK_CONFIG_WHEN_REGEX     ? "jsonl, path: f, grader: regex, regex: z"
                                                             : "reverse, max_length: 20";
  const char *command = key->when == ZK_CONFIG_WHEN_COMMAND ? "command: {run: y, turns: 3}\n" : "";
  if (key->when == ZK_CONFIG_WHEN_COMMAND) task = "reverse, rewards: [task, command]";
  const char *algorithm = key->when == ZK_CONFIG_WHEN_CONSTANT     ? "loss_aggregation: constant"
                          : key->when == ZK_CONFIG_WHEN_IMPORTANCE ? "importance: {mode: mask}"
                          : key->when == ZK_CONFIG_WHEN_DYNAMIC    ? "dynamic_sampling: true"
                          : key->when == ZK_CONFIG_WHEN_OVERLONG   ? "overlong: {penalty: 1}"
                          : key->when == ZK_CONFIG_WHEN_KL         ? "kl: {coef: 0.5}"
                                                                   : "";
  const char *rollout = key->when == ZK_CONFIG_WHEN_OFF_POLICY ? "rollout: {numerics: vendor}\n"
                        : key->when == ZK_CONFIG_WHEN_WEIGHT_BITS ? "rollout: {weight_bits: 2}\n"
                                                                  : "";
  const char *lora = key->when == ZK_CONFIG_WHEN_LORA ? "lora: {rank: 4}\n" : "";
  bool path = strcmp(key->path, "model.path") == 0;
  snprintf(out, 1024, "run: {name: a, steps: 3}\neval: {samples: 64}\ntask: {name: %s}\nalgorithm: {%s}\n%s%s%smodel: %s\n", task, algorithm, command, rollout, lora,
           path ? "{path: m}" : "{init: {layers: 1, hidden: 96, heads: 6, intermediate: 8}}");
  return out;
}

static void every_key_can_be_set_written_and_read_back(void **state) {
  (void)state;
  for (int i = 0; i < zk_config_num_keys; i++) {
    const zk_config_key *key = &zk_config_keys[i];
    char number[64], yaml[1024], override[256];
    const char *value = another_value(key, number);
    if (!value) continue;
    snprintf(override, sizeof override, "%s=%s", key->path, value);
    char *overrides[] = {override};
    zk_config cfg;
    zk_status st = parse(yaml_for(key, yaml), 1, overrides, &cfg);
    if (st != ZK_OK) print_error("%s\n", zk_status_message());
    assert_int_equal(st, ZK_OK);
    assert_false(zk_config_value_is_default(key, &cfg));
    assert_round_trips(&cfg);
  }
}

static void doubles_are_written_shortest_and_exact(void **state) {
  (void)state;
  static const struct {
    const char *in, *out;
  } cases[] = {{"0.1", "0.1"},
               {"1e-6", "1.0e-06"},
               {"3e-4", "0.0003"},
               {"0.30000000000000004", "0.30000000000000004"},
               {"-0", "0"},
               {"1E3", "1000"},
               {"1.0", "1"},
               {"0.1000000000000000055511151231257827", "0.1"},
               {"1e-300", "1.0e-300"},
               {"999.99999999999989", "999.9999999999999"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char override[128];
    snprintf(override, sizeof override, "optimizer.lr=%s", cases[i].in);
    char *overrides[] = {override};
    zk_config cfg = parse_good(1, overrides);
    char *text = zk_config_value_text(&zk_config_keys[zk_config_key_find("optimizer.lr")], &cfg);
    assert_string_equal(text, cases[i].out);
    free(text);
    assert_round_trips(&cfg);
  }
}

// Installs a locale with a decimal comma for this process; false where the system has no means to.
static bool set_comma_locale(const char *dir) {
  char command[256];
  snprintf(command, sizeof command, "localedef --no-archive -i de_DE -f UTF-8 %s/comma >/dev/null 2>&1", dir);
  if (system(command) != 0) return false;
  setenv("LOCPATH", dir, 1);
  return setlocale(LC_ALL, "comma") != NULL;
}

static void the_locale_does_not_matter(void **state) {
  (void)state;
  char dir[] = "/tmp/zk_locale_XXXXXX", command[64], text[16];
  assert_non_null(mkdtemp(dir));
  bool set = set_comma_locale(dir);
  snprintf(command, sizeof command, "rm -r %s", dir);
  if (system(command) != 0 || !set) skip();
  snprintf(text, sizeof text, "%g", 0.5);
  assert_string_equal(text, "0,5"); // the locale is in force
  zk_config cfg = parse_good(0, NULL);
  assert_true(cfg.rollout.top_p == 0.95);
  assert_round_trips(&cfg);
  assert_non_null(setlocale(LC_ALL, "C"));
}

// ---- the table, the writer and the help ----------------------------------------------------------------------------

static void every_default_is_valid(void **state) {
  (void)state;
  for (int i = 0; i < zk_config_num_keys; i++) {
    const zk_config_key *key = &zk_config_keys[i];
    for (int j = 0; j < i; j++) assert_string_not_equal(key->path, zk_config_keys[j].path);
    assert_true(key->help && strlen(key->help) > 3);
    if (!key->fallback || key->kind == ZK_CONFIG_LIST) continue;
    zk_config cfg;
    bool plain = key->kind != ZK_CONFIG_TEXT;
    zk_status st = zk_config_value_set(key, key->fallback, strlen(key->fallback), plain, &cfg);
    if (st != ZK_OK) print_error("%s\n", zk_status_message());
    assert_int_equal(st, ZK_OK);
  }
}

// "  key: " of the key at its depth, as the writer begins its line.
static void yaml_line_start(const char *path, char out[128]) {
  int depth = 0;
  for (const char *p = path; *p; p++) depth += *p == '.';
  const char *dot = strrchr(path, '.');
  snprintf(out, 128, "\n%*s%s: ", 2 * depth, "", dot ? dot + 1 : path);
}

static void every_key_is_in_the_file_and_the_help(void **state) {
  (void)state;
  char *help = unwrapped(printed(print_help, NULL));
  for (int i = 0; i < zk_config_num_keys; i++) {
    const zk_config_key *key = &zk_config_keys[i];
    char yaml[1024], line[128], head[128];
    zk_config cfg;
    assert_int_equal(parse(yaml_for(key, yaml), 0, NULL, &cfg), ZK_OK);
    char *written = printed(print_yaml, &cfg);
    yaml_line_start(key->path, line);
    if (strcmp(key->path, "seed") == 0) assert_memory_equal(written, line + 1, strlen(line + 1)); // the first line
    else assert_non_null(strstr(written, line));
    snprintf(head, sizeof head, " %s %s", key->path, key->fallback ? "= " : "(required) ");
    assert_int_equal(times(help, head), 1);
    assert_non_null(strstr(help, key->help));
    free(written);
  }
  assert_non_null(strstr(help, " numerics = f32 "));
  assert_non_null(strstr(help, " one of token_mean, sequence_mean, constant; identity "));
  for (int a = 0; a < ZK_NUM_ALGORITHMS; a++) assert_non_null(strstr(help, zk_algorithms[a].paper));
  assert_non_null(strstr(help, " a number in (0, 1]; identity "));
  // What a key needs of another is found by trying.
  assert_non_null(strstr(help, "; only without model.path "));
  assert_non_null(strstr(help, "; only with task.name: arithmetic, multistep "));
  assert_non_null(strstr(help, "; only with task.grader: regex "));
  assert_non_null(strstr(help, "; not with algorithm.clip: none "));
  assert_non_null(strstr(help, "; only with algorithm.kl.coef above 0 "));
  free(help);
}

static void help_about_a_word(void **state) {
  char *help = printed(print_help_of_a_word, NULL);
  assert_non_null(strstr(help, "algorithm.clip_low ="));
  assert_null(strstr(help, "seed ="));
  free(help);
}

// ---- identity ------------------------------------------------------------------------------------------------------

static char *identity(const zk_config *cfg) {
  char *text = NULL;
  assert_int_equal(zk_config_identity_text(cfg, &text), ZK_OK);
  return text;
}

static void identity_text_is_sorted_and_fixed(void **state) {
  (void)state;
  zk_config cfg = parse_good(0, NULL);
  char *text = identity(&cfg);
  assert_string_equal(text, "algorithm.advantage.baseline: group_mean\n"
                            "algorithm.advantage.scale: std\n"
                            "algorithm.clip: ppo\n"
                            "algorithm.clip_high: 0.2\n"
                            "algorithm.clip_low: 0.2\n"
                            "algorithm.dynamic_sampling: false\n"
                            "algorithm.entropy_coef: 0\n"
                            "algorithm.epochs: 1\n"
                            "algorithm.importance.mode: none\n"
                            "algorithm.kl.coef: 0\n"
                            "algorithm.loss_aggregation: token_mean\n"
                            "algorithm.minibatches: 1\n"
                            "algorithm.name: grpo\n"
                            "algorithm.overlong.mask: false\n"
                            "algorithm.overlong.penalty: 0\n"
                            "algorithm.ratio: token\n"
                            "model.init.architecture: llama\n"
                            "model.init.head_dim: 16\n"
                            "model.init.heads: 6\n"
                            "model.init.hidden: 96\n"
                            "model.init.intermediate: 128\n"
                            "model.init.kv_heads: 2\n"
                            "model.init.layers: 2\n"
                            "model.init.max_positions: 2048\n"
                            "model.init.norm_eps: 1.0e-06\n"
                            "model.init.rope_theta: 10000\n"
                            "model.init.tie: true\n"
                            "model.init.vocab: 0\n"
                            "model.path: \"\"\n"
                            "numerics: f32\n"
                            "optimizer.beta1: 0.9\n"
                            "optimizer.beta2: 0.95\n"
                            "optimizer.eps: 1.0e-09\n"
                            "optimizer.grad_clip: 1\n"
                            "optimizer.lr: 0.1\n"
                            "optimizer.min_lr_ratio: 0\n"
                            "optimizer.schedule: cosine\n"
                            "optimizer.warmup_steps: 0\n"
                            "optimizer.weight_decay: 0\n"
                            "rollout.ignore_eos: false\n"
                            "rollout.max_new_tokens: 256\n"
                            "rollout.prompts_per_step: 8\n"
                            "rollout.samples_per_prompt: 8\n"
                            "rollout.stop: [\"\\n\", \"a b\", \"#\", null_, \"~\"]\n"
                            "rollout.temperature: 1\n"
                            "rollout.top_k: 0\n"
                            "rollout.top_p: 0.95\n"
                            "run.steps: 30\n"
                            "seed: 18\n"
                            "sft.batch: 32\n"
                            "task.heldout: 500\n"
                            "task.max_length: 5\n"
                            "task.min_length: 1\n"
                            "task.name: reverse\n"
                            "task.num_prompts: 0\n"
                            "task.shuffle_rewards: false\n"
                            "task.system: \"one\\n\\\"two\\\"\\ttab\\u2028\\x85\\\\ \xE4\xBD\xA0\"\n"
                            "task.template: auto\n"
                            "trainer.grad_leaves: 8\n");
  free(text);
}

// The identity changes with every identity key, and with no schedule key.
static void identity_follows_the_class_of_each_key(void **state) {
  (void)state;
  for (int i = 0; i < zk_config_num_keys; i++) {
    const zk_config_key *key = &zk_config_keys[i];
    char number[64], yaml[1024], override[256];
    const char *value = another_value(key, number);
    if (!value || strcmp(key->path, "model.path") == 0) continue; // it takes model.init with it
    snprintf(override, sizeof override, "%s=%s", key->path, value);
    char *overrides[] = {override};
    zk_config a, b;
    assert_int_equal(parse(yaml_for(key, yaml), 0, NULL, &a), ZK_OK);
    assert_int_equal(parse(yaml, 1, overrides, &b), ZK_OK);
    char *a_text = identity(&a), *b_text = identity(&b);
    zk_status st = zk_config_compare_identity("a", a_text, "b", b_text);
    assert_int_equal(st, key->class == ZK_CONFIG_IDENTITY ? ZK_BAD_INPUT : ZK_OK);
    free(a_text);
    free(b_text);
  }
}

static void run_steps_is_identity_where_the_rate_decays(void **state) {
  (void)state;
  char *more[] = {"run.steps=40"}, *flat[] = {"optimizer.schedule=constant"};
  char *flat_more[] = {"optimizer.schedule=constant", "run.steps=40"};
  zk_config a = parse_good(0, NULL), b = parse_good(1, more), c = parse_good(1, flat), d = parse_good(2, flat_more);
  char *a_text = identity(&a), *b_text = identity(&b), *c_text = identity(&c), *d_text = identity(&d);
  assert_int_equal(zk_config_compare_identity("runs/a", a_text, "this config", b_text), ZK_BAD_INPUT);
  assert_string_equal(zk_status_message(), "run.steps: 30 in runs/a, 40 in this config");
  assert_int_equal(zk_config_compare_identity("c", c_text, "d", d_text), ZK_OK);
  free(a_text);
  free(b_text);
  free(c_text);
  free(d_text);
}

static void compare_names_the_first_difference(void **state) {
  (void)state;
  static const struct {
    const char *a, *b, *text;
  } cases[] = {
      {"a: 1\nb: 2\n", "a: 1\nb: 2\n", NULL},
      {"", "", NULL},
      {"a: 1\nb: 2\n", "a: 1\nb: 3\n", "b: 2 in A, 3 in B"},
      {"a: 1\nb: 2\n", "b: 2\n", "a: 1 in A, absent in B"},
      {"a: 1\n", "a: 1\nb: 2\n", "b: 2 in B, absent in A"},
      {"a: 1\nb: 2", "a: 1\nb: 2\n", NULL},
      {"garbage", "a: 1\n", "a: 1 in B, absent in A"},
      {"a.b: x: y\n", "a.b: x: z\n", "a.b: x: y in A, x: z in B"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    zk_status st = zk_config_compare_identity("A", cases[i].a, "B", cases[i].b);
    assert_int_equal(st, cases[i].text ? ZK_BAD_INPUT : ZK_OK);
    if (cases[i].text) assert_string_equal(zk_status_message(), cases[i].text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_arrive_in_their_members),
      cmocka_unit_test(overrides_apply_from_left_to_right),
      cmocka_unit_test(an_override_of_model_path_sets_init_aside),
      cmocka_unit_test(without_a_file_nothing_is_required),
      cmocka_unit_test(a_failure_leaves_the_output_alone),
      cmocka_unit_test(load_reads_a_file),
      cmocka_unit_test(written_config_reads_back_to_the_same_bytes),
      cmocka_unit_test(every_key_can_be_set_written_and_read_back),
      cmocka_unit_test(doubles_are_written_shortest_and_exact),
      cmocka_unit_test(the_locale_does_not_matter),
      cmocka_unit_test(every_default_is_valid),
      cmocka_unit_test(every_key_is_in_the_file_and_the_help),
      cmocka_unit_test(help_about_a_word),
      cmocka_unit_test(identity_text_is_sorted_and_fixed),
      cmocka_unit_test(identity_follows_the_class_of_each_key),
      cmocka_unit_test(run_steps_is_identity_where_the_rate_decays),
      cmocka_unit_test(compare_names_the_first_difference),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
