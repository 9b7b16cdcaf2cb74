// One line of the manifest after another, with the chain of digests.
#include "shared/manifest_lines.h"

#include <stdlib.h>
#include <string.h>

zk_status zk_manifest_init(zk_manifest *m, const char *run_path) {
  m->run_path = zk_path_make("%s", run_path);
  m->path = zk_path_make("%s/manifest.jsonl", run_path);
  memset(m->last_digest, '0', ZK_SHA256_HEX - 1);
  m->latest = json_object();
  return m->latest ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", m->path.s);
}

bool zk_manifest_is_under(const char *path, const char *folder) {
  size_t n = strlen(folder);
  return !strncmp(path, folder, n) && (path[n] == 0 || path[n] == '/');
}

static bool is_digest(const char *text) {
  return text && strlen(text) == ZK_SHA256_HEX - 1 && strspn(text, "0123456789abcdef") == ZK_SHA256_HEX - 1;
}

// Relative, and staying inside the run.
static bool is_inside(const char *path) {
  if (!path || !*path || *path == '/') return false;
  for (const char *at = path; at; at = strchr(at, '/')) {
    at += *at == '/';
    if (!strncmp(at, "..", 2) && (at[2] == '/' || !at[2])) return false;
  }
  return true;
}

static zk_status add_entry(zk_manifest *m, const char *path, json_int_t num_bytes, const char *sha256,
                           const char **out_fault) {
  const zk_manifest_entry *known = zk_manifest_find(m, path);
  if (known && !known->removed && strcmp(known->sha256, sha256))
    *out_fault = "a second digest for a file that is listed";
  if (m->num_entries == m->capacity) {
    size_t capacity = 2 * m->capacity + 16;
    zk_manifest_entry *grown = realloc(m->entries, capacity * sizeof *grown);
    if (!grown) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", m->path.s);
    m->entries = grown;
    m->capacity = capacity;
  }
  zk_manifest_entry entry = {.path = strdup(path), .num_bytes = (uint64_t)num_bytes};
  memcpy(entry.sha256, sha256, sizeof entry.sha256);
  if (!entry.path || json_object_set_new(m->latest, path, json_integer((json_int_t)m->num_entries))) {
    free(entry.path);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", m->path.s);
  }
  m->entries[m->num_entries++] = entry;
  return ZK_OK;
}

static zk_status take_object(zk_manifest *m, json_t *object, const char **out_fault) {
  const char *path = json_string_value(json_object_get(object, "path"));
  const char *removed = json_string_value(json_object_get(object, "removed"));
  const char *sha256 = json_string_value(json_object_get(object, "sha256"));
  const char *prev = json_string_value(json_object_get(object, "prev"));
  json_t *num_bytes = json_object_get(object, "bytes");
  bool is_file = is_inside(path) && is_digest(sha256) && json_is_integer(num_bytes) &&
                 json_integer_value(num_bytes) >= 0 && json_object_size(object) == 4;
  bool is_removal = is_inside(removed) && json_object_size(object) == 2;
  if (!is_digest(prev) || (!is_file && !is_removal)) {
    *out_fault = "not a manifest line";
    return ZK_OK;
  }
  if (strcmp(prev, m->last_digest)) *out_fault = "not chained to the line before it";
  if (is_file) return add_entry(m, path, json_integer_value(num_bytes), sha256, out_fault);
  for (size_t i = 0; i < m->num_entries; i++)
    m->entries[i].removed |= zk_manifest_is_under(m->entries[i].path, removed);
  return ZK_OK;
}

zk_status zk_manifest_take_line(zk_manifest *m, zk_line line, const char **out_fault) {
  *out_fault = NULL;
  json_t *object = json_loadb(line.text, line.num_bytes, JSON_REJECT_DUPLICATES, NULL);
  zk_status st = ZK_OK;
  if (object) st = take_object(m, object, out_fault);
  else *out_fault = "not JSON";
  json_decref(object);
  if (st == ZK_OK) st = zk_sha256(line.text, line.num_bytes, m->last_digest);
  return st;
}
