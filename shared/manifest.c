// The writer of manifest.jsonl.
#include "shared/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/manifest_lines.h"

zk_status zk_manifest_open(const char *run_path, zk_manifest **out) {
  *out = NULL;
  zk_manifest *m = calloc(1, sizeof *m);
  if (!m) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory for its manifest", run_path);
  zk_status st = zk_manifest_init(m, run_path);
  zk_line_file file = {0};
  if (st == ZK_OK) st = zk_line_file_read(m->path.s, true, &file);
  for (size_t i = 0; st == ZK_OK && i < file.num_lines; i++) {
    const char *fault;
    st = zk_manifest_take_line(m, file.lines[i], &fault);
    if (st == ZK_OK && fault) st = ZK_FAIL(ZK_BAD_ARCHIVE, "%s:%zu: %s", m->path.s, i + 1, fault);
  }
  zk_line_file_free(&file);
  if (st != ZK_OK) zk_manifest_close(m);
  else *out = m;
  return st;
}

void zk_manifest_close(zk_manifest *m) {
  if (!m) return;
  for (size_t i = 0; i < m->num_entries; i++) free(m->entries[i].path);
  free(m->entries);
  json_decref(m->latest);
  free(m);
}

const zk_manifest_entry *zk_manifest_find(const zk_manifest *m, const char *path) {
  json_t *index = json_object_get(m->latest, path);
  return index ? &m->entries[json_integer_value(index)] : NULL;
}

// Dumps {"path": ...} or {"removed": ...} with "prev" and a newline behind `*text`, and moves the chain on to it.
static zk_status chain_line(json_t *object, char prev[ZK_SHA256_HEX], char **text, size_t *num_bytes) {
  zk_status st = ZK_OK;
  char *line = NULL, *grown = NULL;
  if (object && !json_object_set_new(object, "prev", json_string(prev)))
    line = json_dumps(object, 0); // keeps the order of keys
  size_t n = line ? strlen(line) : 0;
  if (line) grown = realloc(*text, *num_bytes + n + 2);
  if (grown) {
    memcpy(grown + *num_bytes, line, n);
    memcpy(grown + *num_bytes + n, "\n", 2);
    *text = grown;
    *num_bytes += n + 1;
    st = zk_sha256(line, n, prev);
  } else {
    st = ZK_FAIL(ZK_OUT_OF_MEMORY, "out of memory for a manifest line");
  }
  free(line);
  json_decref(object);
  return st;
}

// Appends finished lines to the file, then to what is known.
static zk_status append(zk_manifest *m, const char *text, size_t num_bytes) {
  if (!num_bytes) return ZK_OK;
  ZK_TRY(zk_file_append(m->path.s, text, num_bytes));
  for (const char *at = text, *end; at < text + num_bytes; at = end + 1) {
    const char *fault = NULL;
    end = strchr(at, '\n');
    ZK_TRY(zk_manifest_take_line(m, (zk_line){at, (size_t)(end - at)}, &fault));
    if (fault) return ZK_FAIL(ZK_INTERNAL, "%s: a line just written: %s", m->path.s, fault);
  }
  return ZK_OK;
}

zk_status zk_manifest_add_entries(zk_manifest *m, const zk_manifest_entry *entries, size_t num_entries) {
  zk_status st = ZK_OK;
  char *text = NULL, prev[ZK_SHA256_HEX];
  size_t num_bytes = 0;
  memcpy(prev, m->last_digest, sizeof prev);
  for (size_t i = 0; st == ZK_OK && i < num_entries; i++) {
    const zk_manifest_entry *entry = &entries[i], *known = zk_manifest_find(m, entry->path);
    if (known && !known->removed) {
      if (strcmp(known->sha256, entry->sha256))
        st = ZK_FAIL(ZK_MISMATCH, "%s/%s: its SHA-256 is now %s, in the manifest it is %s", m->run_path.s, entry->path,
                     entry->sha256, known->sha256);
      continue;
    }
    json_t *object = json_pack("{s:s, s:I, s:s}", "path", entry->path, "bytes", (json_int_t)entry->num_bytes, "sha256",
                               entry->sha256);
    st = chain_line(object, prev, &text, &num_bytes);
  }
  if (st == ZK_OK) st = append(m, text, num_bytes);
  free(text);
  return st;
}

zk_status zk_manifest_add(zk_manifest *m, const char *const *paths, size_t num_paths) {
  zk_manifest_entry *entries = calloc(num_paths + 1, sizeof *entries);
  if (!entries) return ZK_FAIL(ZK_OUT_OF_MEMORY, "out of memory for %zu manifest entries", num_paths);
  zk_status st = ZK_OK;
  for (size_t i = 0; st == ZK_OK && i < num_paths; i++) {
    entries[i].path = (char *)paths[i]; // borrowed
    st = zk_sha256_file(zk_path_make("%s/%s", m->run_path.s, paths[i]).s, entries[i].sha256, &entries[i].num_bytes);
  }
  if (st == ZK_OK) st = zk_manifest_add_entries(m, entries, num_paths);
  free(entries);
  return st;
}

zk_status zk_manifest_remove(zk_manifest *m, const char *path) {
  bool any = false;
  for (size_t i = 0; i < m->num_entries; i++)
    any |= !m->entries[i].removed && zk_manifest_is_under(m->entries[i].path, path);
  if (!any) return ZK_OK;
  char *text = NULL, prev[ZK_SHA256_HEX];
  size_t num_bytes = 0;
  memcpy(prev, m->last_digest, sizeof prev);
  zk_status st = chain_line(json_pack("{s:s}", "removed", path), prev, &text, &num_bytes);
  if (st == ZK_OK) st = append(m, text, num_bytes);
  free(text);
  return st;
}
