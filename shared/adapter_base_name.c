// Names of models, in folders and as hubs give them.
#include "shared/adapter_base_name.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)1 << 20)

zk_path zk_adapter_base_name(const char *dir) {
  char *text = NULL;
  size_t bytes = 0;
  if (zk_file_read(zk_path_make("%s/adapter_config.json", dir).s, MAX_BYTES, &text, &bytes) != ZK_OK) return (zk_path){""};
  json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
  const char *name = json_string_value(json_object_get(root, "base_model_name_or_path"));
  const zk_path out = zk_path_make("%s", name ? name : "");
  json_decref(root);
  free(text);
  return out;
}

// The part of a path that ends at `end`; its length.
static size_t component(const char *path, const char *end, const char **first) {
  while (end > path && end[-1] == '/') end--;
  *first = end;
  while (*first > path && (*first)[-1] != '/') (*first)--;
  return (size_t)(end - *first);
}

bool zk_adapter_base_is_named(const char *name, const char *model_dir) {
  const char *wanted, *first = model_dir + strlen(model_dir);
  const size_t n = component(name, name + strlen(name), &wanted);
  size_t m;
  while (n > 0 && (m = component(model_dir, first, &first)) > 0) {
    if (m < n || memcmp(first + m - n, wanted, n)) continue;
    if (m == n || (m > n + 2 && !memcmp(first + m - n - 2, "--", 2))) return true;
  }
  return false;
}
