// Checkpoints of a run: written in a scratch folder, published by one rename, gone only after the manifest says so.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/run_dir.h"

#define MAX_DONE_BYTES ((size_t)1 << 24)

bool zk_checkpoint_is_complete(const char *dir) { return zk_file_exists(zk_path_make("%s/DONE", dir).s); }

// ---- DONE: "digest  file" lines, as sha256sum writes them -----------------------------------------------------------

typedef struct {
  zk_manifest_entry *entries; // paths relative to the run: prefix + name in the folder
  size_t num_entries, prefix_bytes;
} digests;

static void digests_free(digests *d) {
  for (size_t i = 0; i < d->num_entries; i++) free(d->entries[i].path);
  free(d->entries);
}

// Flushes and digests one file of `dir`.
static zk_status digest_file(const char *dir, const char *name, const char *prefix, zk_manifest_entry *out) {
  zk_path path = zk_path_make("%s/%s", dir, name);
  ZK_TRY(zk_file_sync(path.s));
  ZK_TRY(zk_sha256_file(path.s, out->sha256, &out->num_bytes));
  out->path = strdup(zk_path_make("%s%s", prefix, name).s);
  return out->path ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", path.s);
}

// The files of `dir`, which holds the checkpoint of `step`, but for DONE.
static zk_status digest_files(const char *dir, int64_t step, digests *out) {
  zk_path prefix = zk_path_make("checkpoints/step_%06" PRId64 "/", step);
  *out = (digests){.prefix_bytes = strlen(prefix.s)};
  zk_file_list files;
  ZK_TRY(zk_file_list_tree(dir, &files));
  out->entries = calloc(files.num_paths + 1, sizeof *out->entries);
  zk_status st = out->entries ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", dir);
  for (size_t i = 0; st == ZK_OK && i < files.num_paths; i++)
    if (strcmp(files.paths[i], "DONE"))
      st = digest_file(dir, files.paths[i], prefix.s, &out->entries[out->num_entries++]);
  zk_file_list_free(&files);
  if (st != ZK_OK) digests_free(out);
  return st;
}

// The text of DONE, malloc'ed; NULL when out of memory.
static char *done_text(const digests *d) {
  size_t capacity = 1, used = 0;
  for (size_t i = 0; i < d->num_entries; i++) capacity += ZK_SHA256_HEX + 2 + strlen(d->entries[i].path);
  char *text = calloc(capacity, 1);
  for (size_t i = 0; text && i < d->num_entries; i++)
    used += (size_t)snprintf(text + used, capacity - used, "%s  %s\n", d->entries[i].sha256,
                             d->entries[i].path + d->prefix_bytes);
  return text;
}

static zk_status check_line(const char *dir, const char *line, size_t num_bytes) {
  char now[ZK_SHA256_HEX];
  if (num_bytes < ZK_SHA256_HEX + 2 || line[ZK_SHA256_HEX - 1] != ' ' || memchr(line, '/', num_bytes))
    return ZK_FAIL(ZK_BAD_ARCHIVE, "%s/DONE: not lines of a SHA-256 and a file's name", dir);
  zk_path file = zk_path_make("%s/%.*s", dir, (int)(num_bytes - ZK_SHA256_HEX - 1), line + ZK_SHA256_HEX + 1);
  if (zk_sha256_file(file.s, now, NULL) != ZK_OK) return ZK_FAIL(ZK_BAD_ARCHIVE, "%s", zk_status_message());
  if (strncmp(line, now, ZK_SHA256_HEX - 1))
    return ZK_FAIL(ZK_BAD_ARCHIVE, "%s: its SHA-256 is not the one in DONE", file.s);
  return ZK_OK;
}

zk_status zk_checkpoint_check(const char *dir) {
  char *done;
  size_t num_bytes;
  ZK_TRY(zk_file_read(zk_path_make("%s/DONE", dir).s, MAX_DONE_BYTES, &done, &num_bytes));
  zk_status st = ZK_OK;
  for (const char *at = done; st == ZK_OK && *at;) {
    size_t n = strcspn(at, "\n");
    st = check_line(dir, at, n);
    at += n + (at[n] == '\n');
  }
  free(done);
  return st;
}

// ---- publishing -----------------------------------------------------------------------------------------------------

// The files first, DONE's own line last: what has that line is entered whole.
static zk_status enter(zk_run_dir *run, int64_t step, const digests *d) {
  ZK_TRY(zk_manifest_add_entries(run->manifest, d->entries, d->num_entries));
  zk_path done = zk_path_make("checkpoints/step_%06" PRId64 "/DONE", step);
  return zk_manifest_add(run->manifest, (const char *[]){done.s}, 1);
}

zk_status zk_run_dir_enter_checkpoint(zk_run_dir *run, int64_t step) {
  zk_path dir = zk_run_dir_checkpoint_path(run, step);
  ZK_TRY(zk_checkpoint_check(dir.s));
  digests d;
  ZK_TRY(digest_files(dir.s, step, &d));
  zk_status st = enter(run, step, &d);
  digests_free(&d);
  return st;
}

static zk_path scratch_path(const zk_run_dir *run, int64_t step) {
  return zk_file_temp_path(zk_run_dir_checkpoint_path(run, step).s);
}

zk_status zk_run_dir_begin_checkpoint(zk_run_dir *run, int64_t step, zk_path *out_scratch) {
  *out_scratch = scratch_path(run, step);
  ZK_TRY(zk_file_remove_tree(out_scratch->s));
  return zk_file_make_directories(out_scratch->s);
}

// The checkpoint is there already: the new files must be the same.
static zk_status compare_with_stored(const char *dir, int64_t step, const digests *now) {
  char *stored, *text = done_text(now);
  size_t num_bytes;
  if (!text) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", dir);
  zk_status st = zk_file_read(zk_path_make("%s/DONE", dir).s, MAX_DONE_BYTES, &stored, &num_bytes);
  if (st == ZK_OK && strcmp(stored, text)) {
    size_t line = 0, i = 0;
    for (; stored[i] && stored[i] == text[i]; i++)
      if (text[i] == '\n') line++;
    const char *name = line < now->num_entries ? now->entries[line].path + now->prefix_bytes : "DONE";
    st = ZK_FAIL(ZK_MISMATCH,
                 "%s: step %" PRId64 " came out differently: %s is not what was stored; the checkpoint is kept", dir,
                 step, name);
  }
  if (st == ZK_OK || st == ZK_MISMATCH) free(stored);
  free(text);
  return st;
}

static zk_status publish(zk_run_dir *run, int64_t step, const char *scratch, const digests *d) {
  zk_path dir = zk_run_dir_checkpoint_path(run, step);
  char *text = done_text(d);
  if (!text) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", dir.s);
  zk_status st = zk_file_write(zk_path_make("%s/DONE", scratch).s, text, strlen(text));
  free(text);
  if (st == ZK_OK) st = zk_file_remove_tree(dir.s); // one without its DONE
  if (st == ZK_OK) st = zk_file_publish(scratch, dir.s);
  return st == ZK_OK ? enter(run, step, d) : st;
}

zk_status zk_run_dir_finish_checkpoint(zk_run_dir *run, int64_t step) {
  zk_path scratch = scratch_path(run, step), dir = zk_run_dir_checkpoint_path(run, step);
  digests d;
  ZK_TRY(digest_files(scratch.s, step, &d));
  zk_status st;
  if (zk_checkpoint_is_complete(dir.s)) {
    st = compare_with_stored(dir.s, step, &d);
    if (st == ZK_OK) st = zk_file_remove_tree(scratch.s);
  } else {
    st = publish(run, step, scratch.s, &d);
  }
  digests_free(&d);
  return st;
}

zk_status zk_run_dir_remove_checkpoint(zk_run_dir *run, int64_t step) {
  if (step == 0) return ZK_FAIL(ZK_INTERNAL, "%s: the checkpoint of step 0 is always kept", run->path.s);
  zk_path dir = zk_run_dir_checkpoint_path(run, step);
  ZK_TRY(zk_manifest_remove(run->manifest, zk_path_make("checkpoints/step_%06" PRId64, step).s));
  // DONE first: from there on the folder is no checkpoint, and would be removed when the run is next opened.
  ZK_TRY(zk_file_remove_tree(zk_path_make("%s/DONE", dir.s).s));
  return zk_file_remove_tree(dir.s);
}

zk_status zk_run_dir_prune_checkpoints(zk_run_dir *run, int keep) {
  int64_t *steps;
  size_t num;
  if (keep <= 0) return ZK_OK;
  ZK_TRY(zk_run_dir_list_checkpoints(run, &steps, &num));
  zk_status st = ZK_OK;
  for (size_t i = 0; st == ZK_OK && i + (size_t)keep < num; i++)
    if (steps[i] > 0) st = zk_run_dir_remove_checkpoint(run, steps[i]);
  free(steps);
  return st;
}
