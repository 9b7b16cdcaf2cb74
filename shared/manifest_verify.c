// The auditor of a run's files: every line, every digest, every file that no line speaks of.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/manifest_lines.h"

static zk_status report(zk_manifest_report *out, zk_manifest_fault fault, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static zk_status report(zk_manifest_report *out, zk_manifest_fault fault, const char *path, const char *fmt, ...) {
  char text[2 * ZK_PATH_BYTES];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  zk_manifest_problem *grown = realloc(out->problems, (out->num_problems + 1) * sizeof *grown);
  if (!grown) return ZK_FAIL(ZK_OUT_OF_MEMORY, "out of memory for a report on %s", path);
  out->problems = grown;
  zk_manifest_problem problem = {fault, strdup(text), strdup(path)};
  grown[out->num_problems++] = problem;
  return problem.text && problem.path ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "out of memory for a report on %s", path);
}

static zk_status check_lines(zk_manifest *m, zk_manifest_report *out) {
  zk_line_file file;
  ZK_TRY(zk_line_file_read(m->path.s, false, &file));
  zk_status st = ZK_OK;
  for (size_t i = 0; st == ZK_OK && i < file.num_lines; i++) {
    const char *fault;
    st = zk_manifest_take_line(m, file.lines[i], &fault);
    if (st == ZK_OK && fault)
      st = report(out, ZK_MANIFEST_CHAIN, "manifest.jsonl", "%s:%zu: %s", m->path.s, i + 1, fault);
  }
  zk_line_file_free(&file);
  return st;
}

static zk_status check_file(const zk_manifest *m, const zk_manifest_entry *entry, zk_manifest_report *out) {
  zk_path path = zk_path_make("%s/%s", m->run_path.s, entry->path);
  if (!zk_file_exists(path.s))
    return report(out, ZK_MANIFEST_MISSING, entry->path, "%s: listed in the manifest, but missing", path.s);
  char digest[ZK_SHA256_HEX];
  uint64_t num_bytes;
  if (zk_sha256_file(path.s, digest, &num_bytes) != ZK_OK)
    return report(out, ZK_MANIFEST_DIFFERS, entry->path, "%s", zk_status_message());
  out->num_checked++;
  if (num_bytes != entry->num_bytes)
    return report(out, ZK_MANIFEST_DIFFERS, entry->path, "%s: has %llu bytes, %llu in the manifest", path.s,
                  (unsigned long long)num_bytes, (unsigned long long)entry->num_bytes);
  if (strcmp(digest, entry->sha256))
    return report(out, ZK_MANIFEST_DIFFERS, entry->path, "%s: SHA-256 is %s, %s in the manifest", path.s, digest,
                  entry->sha256);
  return ZK_OK;
}

static zk_status check_listed(const zk_manifest *m, const char *path, zk_manifest_report *out) {
  const zk_manifest_entry *entry = zk_manifest_find(m, path);
  if (entry && !entry->removed) return ZK_OK;
  return report(out, ZK_MANIFEST_UNLISTED, path, "%s/%s: not in the manifest", m->run_path.s, path);
}

// A checkpoint without its DONE marker is not a finished one: only its listed files count.
static bool is_unfinished(const zk_manifest *m, const char *folder, const char *path) {
  const char *slash = strchr(path, '/');
  if (strcmp(folder, "checkpoints") || !slash) return false;
  return !zk_file_exists(zk_path_make("%s/%s/%.*s/DONE", m->run_path.s, folder, (int)(slash - path), path).s);
}

static zk_status check_unlisted(const zk_manifest *m, const char *folder, zk_manifest_report *out) {
  zk_path root = zk_path_make("%s/%s", m->run_path.s, folder);
  if (!zk_file_is_directory(root.s)) return ZK_OK;
  zk_file_list files;
  ZK_TRY(zk_file_list_tree(root.s, &files));
  zk_status st = ZK_OK;
  for (size_t i = 0; st == ZK_OK && i < files.num_paths; i++)
    if (!is_unfinished(m, folder, files.paths[i]))
      st = check_listed(m, zk_path_make("%s/%s", folder, files.paths[i]).s, out);
  zk_file_list_free(&files);
  return st;
}

static zk_status check_everything(zk_manifest *m, zk_manifest_report *out) {
  ZK_TRY(check_lines(m, out));
  for (size_t i = 0; i < m->num_entries; i++)
    if (!m->entries[i].removed && zk_manifest_find(m, m->entries[i].path) == &m->entries[i])
      ZK_TRY(check_file(m, &m->entries[i], out));
  if (zk_file_exists(zk_path_make("%s/config.yaml", m->run_path.s).s)) ZK_TRY(check_listed(m, "config.yaml", out));
  ZK_TRY(check_unlisted(m, "trajectories", out));
  ZK_TRY(check_unlisted(m, "evaluations", out));
  return check_unlisted(m, "checkpoints", out);
}

zk_status zk_manifest_verify(const char *run_path, zk_manifest_report *out) {
  *out = (zk_manifest_report){0};
  zk_manifest *m = calloc(1, sizeof *m);
  if (!m) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory for its manifest", run_path);
  zk_status st = zk_manifest_init(m, run_path);
  if (st == ZK_OK) st = check_everything(m, out);
  zk_manifest_close(m);
  if (st != ZK_OK) zk_manifest_report_free(out);
  return st;
}

void zk_manifest_report_free(zk_manifest_report *report) {
  for (size_t i = 0; i < report->num_problems; i++) {
    free(report->problems[i].text);
    free(report->problems[i].path);
  }
  free(report->problems);
  *report = (zk_manifest_report){0};
}
