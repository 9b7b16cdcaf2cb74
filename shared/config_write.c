// The configuration for others to read: config.yaml, the identity text of archives.
#include "shared/config_keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// ---- config.yaml -----------------------------------------------------------------------------------------------

// Opens the groups of `path` that `previous`, the path of the key before, is not in.
static void write_groups(const char *previous, const char *path, FILE *file) {
  int depth = 0;
  for (const char *part = path, *dot; (dot = strchr(part, '.')); part = dot + 1, depth++) {
    size_t len = (size_t)(dot - path) + 1;
    if (strncmp(previous, path, len)) fprintf(file, "%*s%.*s:\n", 2 * depth, "", (int)(dot - part), part);
  }
}

static int depth_of(const char *path) {
  int depth = 0;
  for (; *path; path++) depth += *path == '.';
  return depth;
}

zk_status zk_config_write_yaml(const zk_config *cfg, FILE *file) {
  const char *previous = "";
  for (int i = 0; i < zk_config_num_keys; i++) {
    const zk_config_key *key = &zk_config_keys[i];
    if (!zk_config_key_applies(key, cfg)) continue;
    write_groups(previous, key->path, file);
    const char *dot = strrchr(key->path, '.');
    fprintf(file, "%*s%s: ", 2 * depth_of(key->path), "", dot ? dot + 1 : key->path);
    zk_config_value_print(key, cfg, file);
    fputc('\n', file);
    previous = key->path;
  }
  if (fflush(file) || ferror(file)) return ZK_FAIL(ZK_IO, "cannot write the config: %s", strerror(errno));
  return ZK_OK;
}

// ---- identity text ---------------------------------------------------------------------------------------------

static int compare_paths(const void *a, const void *b) {
  return strcmp((*(const zk_config_key *const *)a)->path, (*(const zk_config_key *const *)b)->path);
}

zk_status zk_config_identity_text(const zk_config *cfg, char **out) {
  const zk_config_key *sorted[ZK_CONFIG_MAX_KEYS];
  int num = 0;
  for (int i = 0; i < zk_config_num_keys; i++)
    if (zk_config_key_is_identity(&zk_config_keys[i], cfg) && zk_config_key_applies(&zk_config_keys[i], cfg))
      sorted[num++] = &zk_config_keys[i];
  qsort(sorted, (size_t)num, sizeof *sorted, compare_paths);
  char *text = NULL;
  size_t num_bytes;
  FILE *file = open_memstream(&text, &num_bytes);
  if (!file) return ZK_FAIL(ZK_OUT_OF_MEMORY, "not enough memory for the identity of a config");
  for (int i = 0; i < num; i++) {
    fprintf(file, "%s: ", sorted[i]->path);
    zk_config_value_print(sorted[i], cfg, file);
    fputc('\n', file);
  }
  if (fclose(file)) {
    free(text);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "not enough memory for the identity of a config");
  }
  *out = text;
  return ZK_OK;
}

// A line "key: value" of an identity text; `next` is the line behind it. At the text's end key is NULL.
typedef struct {
  const char *key, *value, *next;
  int key_len, value_len;
} identity_line;

static identity_line line_at(const char *text) {
  identity_line line = {.next = text};
  if (!*text) return line;
  size_t len = strcspn(text, "\n");
  const char *colon = memchr(text, ':', len);
  line.key = text;
  line.key_len = (int)(colon ? (size_t)(colon - text) : len);
  line.value = colon ? colon + 1 + (colon[1] == ' ') : text + len;
  line.value_len = (int)(text + len - line.value);
  line.next = text + len + (text[len] == '\n');
  return line;
}

// Order of two lines' keys; the end comes after every key.
static int compare_keys(const identity_line *a, const identity_line *b) {
  if (!a->key || !b->key) return (a->key == NULL) - (b->key == NULL);
  int order = memcmp(a->key, b->key, (size_t)(a->key_len < b->key_len ? a->key_len : b->key_len));
  return order ? order : a->key_len - b->key_len;
}

static bool same_value(const identity_line *a, const identity_line *b) {
  return a->value_len == b->value_len && memcmp(a->value, b->value, (size_t)a->value_len) == 0;
}

enum { SHOWN_VALUE_BYTES = 200 };
static int shown(const identity_line *line) {
  return line->value_len < SHOWN_VALUE_BYTES ? line->value_len : SHOWN_VALUE_BYTES;
}

static zk_status only_in(const identity_line *line, const char *in, const char *not_in) {
  return ZK_FAIL(ZK_BAD_INPUT, "%.*s: %.*s in %s, absent in %s", line->key_len, line->key, shown(line), line->value, in,
                 not_in);
}

zk_status zk_config_compare_identity(const char *a_name, const char *a_text, const char *b_name, const char *b_text) {
  while (*a_text || *b_text) {
    identity_line a = line_at(a_text), b = line_at(b_text);
    int order = compare_keys(&a, &b);
    if (order < 0) return only_in(&a, a_name, b_name);
    if (order > 0) return only_in(&b, b_name, a_name);
    if (!same_value(&a, &b))
      return ZK_FAIL(ZK_BAD_INPUT, "%.*s: %.*s in %s, %.*s in %s", a.key_len, a.key, shown(&a), a.value, a_name,
                     shown(&b), b.value, b_name);
    a_text = a.next;
    b_text = b.next;
  }
  return ZK_OK;
}
