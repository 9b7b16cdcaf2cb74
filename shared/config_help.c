// --help-config: every key of the table for a person, by groups.
#include "shared/config_keys.h"

#include <string.h>

enum { WIDTH = 110, INDENT = 4 };

static const struct {
  const char *group, *about;
} groups[] = {
    {"run", "the run, its length and its folder"},
    {"model", "what it starts from: a folder, or a shape to make from nothing"},
    {"task", "what is asked, and what earns a reward"},
    {"command", "a program that gives rewards, or answers the model"},
    {"sft", "supervised warm-up"},
    {"rollout", "sampling"},
    {"algorithm", "from rewards to a loss"},
    {"optimizer", "AdamW and its learning rate"},
    {"trainer", "how a batch is cut, and what that takes of memory"},
    {"checkpoint", "states to go on from, and to use"},
    {"eval", "held-out accuracy during training"},
    {"log", "what is told and drawn"},
};

// ---- text

// Words within WIDTH; what does not fit in the first line is indented.
static void put_wrapped(const char *text, FILE *file) {
  int used = INDENT;
  fprintf(file, "%*s", INDENT, "");
  for (const char *word = text; *word;) {
    int length = (int)strcspn(word, " ");
    if (used > INDENT && used + 1 + length > WIDTH) fprintf(file, "\n%*s", INDENT, ""), used = INDENT;
    else if (used > INDENT) fputc(' ', file), used++;
    fprintf(file, "%.*s", length, word);
    used += length, word += length + strspn(word + length, " ");
  }
  fputc('\n', file);
}

static void put_heading(const char *path, FILE *file) {
  size_t n = strcspn(path, ".");
  fprintf(file, "\n==== %.*s", (int)n, path);
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
    if (strlen(groups[i].group) == n && !strncmp(groups[i].group, path, n)) fprintf(file, ": %s", groups[i].about);
  fputc('\n', file);
}

// ---- when a key has an effect

// Gives the key that governs `key`, if it is a choice, a value with which it does.
static void make_apply(const zk_config_key *key, zk_config *cfg) {
  const char *path = zk_config_key_governor(key);
  const zk_config_choice *c = *path ? zk_config_keys[zk_config_key_find(path)].choices : NULL;
  for (; c && c->name && !zk_config_key_applies(key, cfg); c++)
    if (zk_config_value_set(&zk_config_keys[zk_config_key_find(path)], c->name, strlen(c->name), true, cfg) != ZK_OK) return;
}

// Whether the key applies when its governor has this value and all else is as the governor needs it, or the default.
static bool applies_with(const zk_config_key *key, const zk_config_key *governor, const char *value) {
  static zk_config cfg; // large, and there is one thread here
  zk_config_defaults(&cfg);
  make_apply(governor, &cfg);
  return zk_config_value_set(governor, value, strlen(value), true, &cfg) == ZK_OK && zk_config_key_applies(key, &cfg);
}

static void put_condition_of_choice(const zk_config_key *key, const zk_config_key *governor, FILE *file) {
  int with = 0, without = 0;
  for (const zk_config_choice *c = governor->choices; c->name; c++) *(applies_with(key, governor, c->name) ? &with : &without) += 1;
  bool is_exception = without < with;
  fprintf(file, "; %s %s: ", is_exception ? "not with" : "only with", governor->path);
  int num = 0;
  for (const zk_config_choice *c = governor->choices; c->name; c++)
    if (applies_with(key, governor, c->name) != is_exception) fprintf(file, "%s%s", num++ ? ", " : "", c->name);
}

// "; only with task.name: arithmetic, multistep": found by trying the values that the governing key may have, so that it says what the code does.
static void put_condition(const zk_config_key *key, FILE *file) {
  const char *path = zk_config_key_governor(key);
  if (!*path || !strcmp(path, key->path)) return;
  const zk_config_key *governor = &zk_config_keys[zk_config_key_find(path)];
  switch (governor->kind) {
  case ZK_CONFIG_CHOICE: put_condition_of_choice(key, governor, file); return;
  case ZK_CONFIG_BOOL: fprintf(file, "; only with %s: %s", path, applies_with(key, governor, "true") ? "true" : "false"); return;
  case ZK_CONFIG_TEXT: fprintf(file, "; only %s %s", applies_with(key, governor, "x") ? "with" : "without", path); return;
  case ZK_CONFIG_LIST: fprintf(file, "; only with %s", path); return; // a list has something in it, or no effect on others
  case ZK_CONFIG_INT:
  case ZK_CONFIG_U64:
  case ZK_CONFIG_SIZE:
  case ZK_CONFIG_REAL: fprintf(file, "; only with %s above 0", path); return;
  }
}

// ---- a key

static const char *class_text(const zk_config_key *key) {
  return key->class == ZK_CONFIG_IDENTITY   ? "identity"
         : key->class == ZK_CONFIG_SCHEDULE ? "schedule"
                                            : "identity where optimizer.schedule decays, else schedule";
}

static void put_key(const zk_config_key *key, const zk_config *defaults, FILE *file) {
  char range[ZK_CONFIG_RANGE_BYTES], facts[1024] = "";
  fprintf(file, "\n%s", key->path);
  if (key->fallback) {
    fputs(" = ", file);
    zk_config_value_print(key, defaults, file);
  } else fputs(" (required)", file);
  fputc('\n', file);
  put_wrapped(key->help, file);
  FILE *text = fmemopen(facts, sizeof facts, "w");
  if (!text) return;
  fprintf(text, "%s; %s", zk_config_key_range(key, range), class_text(key));
  put_condition(key, text);
  fclose(text);
  put_wrapped(facts, file);
}

// The table of algorithms: a row each, values under their keys.
static void help_algorithms(FILE *file) {
  fputs("\nWhat algorithm.name gives as defaults:\n", file);
  for (int a = 0; a < ZK_NUM_ALGORITHMS; a++) {
    const zk_algorithm_row *row = &zk_algorithms[a];
    char values[1024] = "";
    for (int i = 0; i < ZK_ALGORITHM_NUM_KEYS; i++) {
      const zk_config_key *key = &zk_config_keys[zk_config_key_find(zk_algorithm_keys[i])];
      size_t used = strlen(values);
      if (strcmp(row->values[i], key->fallback)) snprintf(values + used, sizeof values - used, "%s=%s ", key->path, row->values[i]);
    }
    fprintf(file, "\n%s\n", row->name);
    put_wrapped(row->paper, file);
    put_wrapped(*values ? values : "the keys' own defaults", file);
  }
}

static bool is_about(const zk_config_key *key, const char *word) { return !word || strstr(key->path, word) || strstr(key->help, word); }

int zk_config_help(FILE *file, const char *word) {
  static zk_config defaults;
  const char *group = "";
  int num = 0;
  zk_config_defaults(&defaults);
  if (!word)
    fputs("Keys of a config file, with their defaults; on the command line key.path=value.\n"
          "Bits may depend on identity keys, and never on schedule keys.\n", file);
  for (int i = 0; i < zk_config_num_keys; i++) {
    const zk_config_key *key = &zk_config_keys[i];
    size_t n = strcspn(key->path, ".");
    if (!is_about(key, word)) continue;
    if (key->path[n] && strncmp(group, key->path, n + 1)) put_heading(key->path, file);
    group = key->path[n] ? key->path : "";
    put_key(key, &defaults, file);
    num++;
  }
  if (is_about(&zk_config_keys[zk_config_key_find("algorithm.name")], word)) help_algorithms(file);
  return num;
}
