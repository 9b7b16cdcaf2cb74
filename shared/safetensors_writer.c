// Writing safetensors as a stream: headers are known before the first value, each shard is written aside, and all are
// renamed into place at the end.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "kernels/bf16.h"
#include "shared/file.h"
#include "shared/safetensors.h"

typedef struct {
  int first_entry, num_entries;
  int64_t num_elements;
  char name[64];      // "model-00001-of-00003.safetensors"
  char *path, *aside; // final and temporary
} shard;

struct zk_safetensors_writer {
  char *dir;
  const char *stem;
  json_t *names;   // array: entry names in order
  json_t *shapes;  // array of arrays
  int64_t *counts; // elements of each entry
  int num_entries;
  zk_dtype dtype;
  shard *shards;
  int num_shards;
  int shard_idx;    // the one being written
  int64_t left;     // elements missing from it
  FILE *file;       // NULL before the first and after the last shard
  zk_status status; // first failure
};

// ---- plan

static zk_status add_entry(zk_safetensors_writer *w, const zk_safetensors_entry *e, const char *previous) {
  if (previous && strcmp(previous, e->name) >= 0)
    return ZK_FAIL(ZK_INTERNAL, "tensors out of name order: %s after %s", e->name, previous);
  json_t *shape = json_array();
  int64_t count = 1;
  int bad = e->num_dims < 0 || e->num_dims > ZK_SAFETENSORS_MAX_DIMS;
  for (int i = 0; !bad && i < e->num_dims; i++)
    bad = e->shape[i] < 0 || __builtin_mul_overflow(count, e->shape[i], &count) ||
          json_array_append_new(shape, json_integer(e->shape[i])) != 0;
  bad = bad || count > INT64_MAX / 8 || json_array_append_new(w->names, json_string(e->name)) != 0;
  bad = json_array_append_new(w->shapes, shape) != 0 || bad;
  if (bad) return ZK_FAIL(ZK_INTERNAL, "tensor %s: cannot be described", e->name);
  w->counts[w->num_entries++] = count;
  return ZK_OK;
}

// Greedy: a shard takes whole tensors while they fit; a tensor larger than the limit gets a shard of its own.
static void plan_shards(zk_safetensors_writer *w, int64_t max_shard_bytes) {
  int64_t limit = max_shard_bytes > 0 ? max_shard_bytes / (int64_t)zk_dtype_bytes(w->dtype) : INT64_MAX;
  w->num_shards = 1;
  for (int i = 0; i < w->num_entries; i++) {
    shard *s = &w->shards[w->num_shards - 1];
    if (s->num_entries && s->num_elements > limit - w->counts[i]) s = &w->shards[w->num_shards++], s->first_entry = i;
    s->num_entries++;
    s->num_elements += w->counts[i];
  }
}

static zk_status name_shards(zk_safetensors_writer *w) {
  for (int i = 0; i < w->num_shards; i++) {
    shard *s = &w->shards[i];
    if (w->num_shards == 1) snprintf(s->name, sizeof s->name, "%s.safetensors", w->stem);
    else snprintf(s->name, sizeof s->name, "%s-%05d-of-%05d.safetensors", w->stem, i + 1, w->num_shards);
    char aside[80];
    snprintf(aside, sizeof aside, "%s.tmp", s->name);
    s->path = zk_file_join(w->dir, s->name);
    s->aside = zk_file_join(w->dir, aside);
    if (!s->path || !s->aside) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", w->dir);
  }
  return ZK_OK;
}

// ---- one shard

// Header text of a shard, padded with spaces to a multiple of 8 so that the data is aligned. The caller frees it.
static char *header_text(const zk_safetensors_writer *w, const shard *s, size_t *num_bytes) {
  json_t *root = json_object();
  json_object_set_new(root, "__metadata__", json_pack("{s:s}", "format", "pt"));
  int64_t begin = 0;
  for (int i = s->first_entry; i < s->first_entry + s->num_entries; i++) {
    int64_t end = begin + w->counts[i] * (int64_t)zk_dtype_bytes(w->dtype);
    json_t *entry = json_pack("{s:s, s:O, s:[I, I]}", "dtype", zk_dtype_name(w->dtype), "shape",
                              json_array_get(w->shapes, (size_t)i), "data_offsets", (json_int_t)begin, (json_int_t)end);
    json_object_set_new(root, json_string_value(json_array_get(w->names, (size_t)i)), entry);
    begin = end;
  }
  char *text = json_object_size(root) == (size_t)s->num_entries + 1 ? json_dumps(root, JSON_COMPACT) : NULL;
  json_decref(root);
  if (!text) return NULL;
  size_t used = strlen(text), padded = (used + 7) / 8 * 8;
  char *out = realloc(text, padded + 1);
  if (!out) return free(text), NULL;
  memset(out + used, ' ', padded - used);
  *num_bytes = padded;
  return out;
}

static zk_status fail_write(const shard *s) { return ZK_FAIL(ZK_IO, "%s: cannot write: %s", s->path, strerror(errno)); }

static zk_status begin_shard(zk_safetensors_writer *w) {
  shard *s = &w->shards[w->shard_idx];
  size_t num_bytes;
  char *text = header_text(w, s, &num_bytes);
  if (!text) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", s->path);
  uint8_t length[8];
  for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)num_bytes >> 8 * i);
  w->file = fopen(s->aside, "wb");
  zk_status status = ZK_OK;
  if (!w->file || fwrite(length, 1, 8, w->file) != 8 || fwrite(text, 1, num_bytes, w->file) != num_bytes)
    status = fail_write(s);
  free(text);
  w->left = s->num_elements;
  return status;
}

static zk_status end_shard(zk_safetensors_writer *w) {
  shard *s = &w->shards[w->shard_idx];
  FILE *file = w->file;
  w->file = NULL;
  int bad = fflush(file) != 0 || fsync(fileno(file)) != 0;
  int error = errno;
  if (fclose(file) != 0 && !bad) bad = 1, error = errno;
  errno = error;
  if (bad) return fail_write(s);
  w->shard_idx++;
  return ZK_OK;
}

static zk_status write_values(zk_safetensors_writer *w, const float *values, int64_t count) {
  const shard *s = &w->shards[w->shard_idx];
  if (w->dtype == ZK_DTYPE_F32)
    return fwrite(values, 4, (size_t)count, w->file) == (size_t)count ? ZK_OK : fail_write(s);
  zk_bf16 halves[4096];
  for (int64_t done = 0; done < count;) {
    size_t n = count - done < 4096 ? (size_t)(count - done) : 4096;
    for (size_t i = 0; i < n; i++) halves[i] = zk_float_to_bf16(values[done + (int64_t)i]);
    if (fwrite(halves, 2, n, w->file) != n) return fail_write(s);
    done += (int64_t)n;
  }
  return ZK_OK;
}

// Ends the current shard once it is full, and begins the next ones until one wants values.
static zk_status advance(zk_safetensors_writer *w) {
  while (w->shard_idx < w->num_shards && w->left == 0) {
    if (w->file) ZK_TRY(end_shard(w));
    if (w->shard_idx < w->num_shards) ZK_TRY(begin_shard(w));
  }
  return ZK_OK;
}

static zk_status append(zk_safetensors_writer *w, const float *values, int64_t count) {
  while (count > 0) {
    if (w->shard_idx == w->num_shards) return ZK_FAIL(ZK_INTERNAL, "%s: more elements than the tensors hold", w->dir);
    int64_t n = count < w->left ? count : w->left;
    ZK_TRY(write_values(w, values, n));
    values += n, count -= n, w->left -= n;
    ZK_TRY(advance(w));
  }
  return ZK_OK;
}

// ---- the folder

static zk_status write_index(const zk_safetensors_writer *w, const char *path) {
  json_t *map = json_object();
  int64_t total = 0;
  for (int k = 0; k < w->num_shards; k++)
    for (int i = 0; i < w->shards[k].num_entries; i++) {
      size_t idx = (size_t)(w->shards[k].first_entry + i);
      json_object_set_new(map, json_string_value(json_array_get(w->names, idx)), json_string(w->shards[k].name));
      total += w->counts[idx] * (int64_t)zk_dtype_bytes(w->dtype);
    }
  json_t *root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
  char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
  json_decref(root);
  if (!text) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", path);
  zk_status status = zk_file_write(path, text, strlen(text));
  free(text);
  return status;
}

// Data first, index last; then the other form, if an older model left it here, goes, so that no reader can take it.
static zk_status put_in_place(zk_safetensors_writer *w, const char *single, const char *index) {
  for (int i = 0; i < w->num_shards; i++)
    if (rename(w->shards[i].aside, w->shards[i].path) != 0) return fail_write(&w->shards[i]);
  if (w->num_shards > 1) ZK_TRY(write_index(w, index));
  const char *stale = w->num_shards > 1 ? single : index;
  if (unlink(stale) != 0 && errno != ENOENT) return ZK_FAIL(ZK_IO, "%s: %s", stale, strerror(errno));
  return zk_file_sync_dir(w->dir);
}

static zk_status finish(zk_safetensors_writer *w) {
  if (w->status != ZK_OK) return w->status;
  if (w->shard_idx < w->num_shards)
    return ZK_FAIL(ZK_INTERNAL, "%s: %lld elements were never written", w->shards[w->shard_idx].path,
                   (long long)w->left);
  char name[64];
  snprintf(name, sizeof name, "%s.safetensors", w->stem);
  char *single = zk_file_join(w->dir, name);
  snprintf(name, sizeof name, "%s.safetensors.index.json", w->stem);
  char *index = zk_file_join(w->dir, name);
  zk_status status =
      single && index ? put_in_place(w, single, index) : ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", w->dir);
  free(single);
  free(index);
  return status;
}

void zk_safetensors_writer_abort(zk_safetensors_writer *w) {
  if (!w) return;
  if (w->file) fclose(w->file);
  for (int i = 0; w->shards && i < w->num_shards; i++) {
    if (w->shards[i].aside) unlink(w->shards[i].aside); // gone already when it was renamed
    free(w->shards[i].aside);
    free(w->shards[i].path);
  }
  json_decref(w->names);
  json_decref(w->shapes);
  free(w->shards);
  free(w->counts);
  free(w->dir);
  free(w);
}

static zk_status start(zk_safetensors_writer *w, const zk_safetensors_entry *entries, int num_entries,
                       int64_t max_shard_bytes) {
  if (!w->dir || !w->names || !w->shapes || !w->counts || !w->shards)
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot write a model: out of memory");
  if (w->dtype != ZK_DTYPE_F32 && w->dtype != ZK_DTYPE_BF16)
    return ZK_FAIL(ZK_UNSUPPORTED, "%s: weights are written as F32 or BF16, not %s", w->dir, zk_dtype_name(w->dtype));
  for (int i = 0; i < num_entries; i++) ZK_TRY(add_entry(w, &entries[i], i ? entries[i - 1].name : NULL));
  plan_shards(w, max_shard_bytes);
  ZK_TRY(name_shards(w));
  return advance(w);
}

zk_status zk_safetensors_writer_open(const char *dir, const zk_safetensors_entry *entries, int num_entries,
                                     zk_dtype dtype, int64_t max_shard_bytes, zk_safetensors_writer **out) {
  return zk_safetensors_writer_open_as(dir, "model", entries, num_entries, dtype, max_shard_bytes, out);
}

zk_status zk_safetensors_writer_open_as(const char *dir, const char *stem, const zk_safetensors_entry *entries, int num_entries,
                                        zk_dtype dtype, int64_t max_shard_bytes, zk_safetensors_writer **out) {
  zk_safetensors_writer *w = calloc(1, sizeof *w);
  if (!w) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", dir);
  *w = (zk_safetensors_writer){.dir = strdup(dir), .stem = stem, .names = json_array(), .shapes = json_array(), .dtype = dtype};
  w->counts = calloc((size_t)num_entries + 1, sizeof *w->counts);
  w->shards = calloc((size_t)num_entries + 1, sizeof *w->shards);
  zk_status status = start(w, entries, num_entries, max_shard_bytes);
  if (status == ZK_OK) *out = w;
  else zk_safetensors_writer_abort(w);
  return status;
}

zk_status zk_safetensors_writer_append(zk_safetensors_writer *w, const float *values, int64_t count) {
  if (w->status == ZK_OK) w->status = append(w, values, count);
  return w->status;
}

zk_status zk_safetensors_writer_close(zk_safetensors_writer *w) {
  zk_status status = finish(w);
  zk_safetensors_writer_abort(w); // frees; after a success there is nothing left to remove
  return status;
}
