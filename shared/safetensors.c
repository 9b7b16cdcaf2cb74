// Opening safetensors files: map, check the whole header before anything is believed, merge shards, sort by name.
#include "shared/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "shared/file.h"

#define MAX_HEADER_BYTES 100000000u // the format's own limit

typedef struct {
  char *path;
  const uint8_t *bytes;
  size_t num_bytes;
  int mapped;     // ours to unmap
  json_t *header; // owns the tensors' names
} shard;

struct zk_safetensors {
  shard *shards;
  int num_shards;
  zk_safetensor *tensors;
  int num_tensors;
};

static const struct {
  const char *name;
  size_t bytes;
} dtypes[ZK_NUM_DTYPES] = {
#define X(name, bytes) {#name, bytes},
    ZK_SAFETENSORS_DTYPES(X)
#undef X
};

const char *zk_dtype_name(zk_dtype dtype) { return (unsigned)dtype < ZK_NUM_DTYPES ? dtypes[dtype].name : "?"; }
size_t zk_dtype_bytes(zk_dtype dtype) { return (unsigned)dtype < ZK_NUM_DTYPES ? dtypes[dtype].bytes : 0; }

// ---- one tensor of a header

static zk_status parse_dtype(const shard *file, const char *name, const json_t *value, zk_dtype *out) {
  const char *text = json_string_value(value);
  if (!text) return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s has no dtype", file->path, name);
  for (int i = 0; i < ZK_NUM_DTYPES; i++)
    if (!strcmp(text, dtypes[i].name)) return *out = (zk_dtype)i, ZK_OK;
  return ZK_FAIL(ZK_UNSUPPORTED, "%s: tensor %s has dtype \"%s\", which is not known", file->path, name, text);
}

// Shape and element count; zero-sized dimensions are legal, a product beyond int64 is not.
static zk_status parse_shape(const shard *file, const json_t *value, zk_safetensor *t) {
  if (!json_is_array(value)) return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s has no shape", file->path, t->name);
  if (json_array_size(value) > ZK_SAFETENSORS_MAX_DIMS)
    return ZK_FAIL(ZK_UNSUPPORTED, "%s: tensor %s has %zu dimensions, at most %d are supported", file->path, t->name,
                   json_array_size(value), ZK_SAFETENSORS_MAX_DIMS);
  t->num_dims = (int)json_array_size(value);
  t->num_elements = 1;
  for (int i = 0; i < t->num_dims; i++) {
    const json_t *dim = json_array_get(value, (size_t)i);
    if (!json_is_integer(dim) || json_integer_value(dim) < 0)
      return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s: dimension %d is not a count", file->path, t->name, i);
    t->shape[i] = json_integer_value(dim);
    if (__builtin_mul_overflow(t->num_elements, t->shape[i], &t->num_elements))
      return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s: the shape's element count overflows", file->path, t->name);
  }
  return ZK_OK;
}

static zk_status parse_offsets(const shard *file, const json_t *value, const uint8_t *data, size_t data_bytes,
                               zk_safetensor *t) {
  const json_t *first = json_array_get(value, 0), *last = json_array_get(value, 1);
  if (json_array_size(value) != 2 || !json_is_integer(first) || !json_is_integer(last))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s: data_offsets is not a pair of integers", file->path, t->name);
  int64_t begin = json_integer_value(first), end = json_integer_value(last), want;
  if (begin < 0 || end < begin)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s: data_offsets [%lld, %lld] is not a range", file->path, t->name,
                   (long long)begin, (long long)end);
  if ((uint64_t)end > data_bytes)
    return ZK_FAIL(ZK_BAD_INPUT,
                   "%s: tensor %s ends at byte %lld of the data, but the file holds %zu: truncated or damaged",
                   file->path, t->name, (long long)end, data_bytes);
  if (__builtin_mul_overflow(t->num_elements, (int64_t)zk_dtype_bytes(t->dtype), &want) || want != end - begin)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s: data_offsets span %lld bytes, but its shape and dtype %s need %lld",
                   file->path, t->name, (long long)(end - begin), zk_dtype_name(t->dtype), (long long)want);
  t->data = data + begin;
  return ZK_OK;
}

// ---- one file

static size_t tensor_bytes(const zk_safetensor *t) { return (size_t)t->num_elements * zk_dtype_bytes(t->dtype); }

static int by_data(const void *a, const void *b) {
  const zk_safetensor *x = a, *y = b;
  if (x->data != y->data) return (const uint8_t *)x->data < (const uint8_t *)y->data ? -1 : 1;
  size_t nx = tensor_bytes(x), ny = tensor_bytes(y); // an empty tensor goes before the one that shares its offset
  if (nx != ny) return nx < ny ? -1 : 1;
  return strcmp(x->name, y->name);
}

// The data must be covered exactly once: no overlap, no hole, nothing left over. Sorts `tensors` by place.
static zk_status check_cover(const shard *file, zk_safetensor *tensors, int num_tensors, const uint8_t *data,
                             size_t data_bytes) {
  if (num_tensors) qsort(tensors, (size_t)num_tensors, sizeof *tensors, by_data);
  const uint8_t *end = data;
  for (int i = 0; i < num_tensors; i++) {
    const uint8_t *begin = tensors[i].data;
    if (begin < end)
      return ZK_FAIL(ZK_BAD_INPUT, "%s: tensors %s and %s overlap", file->path, tensors[i - 1].name, tensors[i].name);
    if (begin > end)
      return ZK_FAIL(ZK_BAD_INPUT, "%s: %td bytes before tensor %s belong to no tensor", file->path, begin - end,
                     tensors[i].name);
    end = begin + tensor_bytes(&tensors[i]);
  }
  if (end != data + data_bytes)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: %td bytes after the last tensor belong to no tensor", file->path,
                   data + data_bytes - end);
  return ZK_OK;
}

static zk_status read_header(shard *file, const uint8_t **data, size_t *data_bytes) {
  if (file->num_bytes < 8)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: %zu bytes, too short for a safetensors file", file->path, file->num_bytes);
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; i--) header_bytes = header_bytes << 8 | file->bytes[i];
  if (header_bytes > MAX_HEADER_BYTES)
    return ZK_FAIL(ZK_BAD_INPUT,
                   "%s: header of %llu bytes, more than the format allows: not a safetensors file, or damaged",
                   file->path, (unsigned long long)header_bytes);
  if (header_bytes > file->num_bytes - 8)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: truncated: header of %llu bytes in a file of %zu", file->path,
                   (unsigned long long)header_bytes, file->num_bytes);
  if (!header_bytes || file->bytes[8] != '{')
    return ZK_FAIL(ZK_BAD_INPUT, "%s: header is not a JSON object", file->path);
  json_error_t error;
  file->header = json_loadb((const char *)file->bytes + 8, (size_t)header_bytes, JSON_REJECT_DUPLICATES, &error);
  if (!file->header) return ZK_FAIL(ZK_BAD_INPUT, "%s: header, byte %d: %s", file->path, error.position, error.text);
  *data = file->bytes + 8 + header_bytes;
  *data_bytes = file->num_bytes - 8 - (size_t)header_bytes;
  return ZK_OK;
}

// Parses the header of a mapped file and appends its tensors to `st`.
static zk_status add_tensors(zk_safetensors *st, shard *file) {
  const uint8_t *data;
  size_t data_bytes;
  ZK_TRY(read_header(file, &data, &data_bytes));
  size_t count = json_object_size(file->header);
  zk_safetensor *grown = count > (size_t)(INT32_MAX - st->num_tensors)
                             ? NULL
                             : realloc(st->tensors, ((size_t)st->num_tensors + count + 1) * sizeof *grown);
  if (!grown) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: cannot hold a table of %zu tensors", file->path, count);
  st->tensors = grown;
  zk_safetensor *mine = grown + st->num_tensors;
  int num_mine = 0;
  const char *name;
  json_t *value;
  json_object_foreach(file->header, name, value) {
    if (!strcmp(name, "__metadata__")) continue;
    zk_safetensor *t = &mine[num_mine];
    *t = (zk_safetensor){.name = name, .file = file->path};
    ZK_TRY(parse_dtype(file, name, json_object_get(value, "dtype"), &t->dtype));
    ZK_TRY(parse_shape(file, json_object_get(value, "shape"), t));
    ZK_TRY(parse_offsets(file, json_object_get(value, "data_offsets"), data, data_bytes, t));
    num_mine++;
  }
  ZK_TRY(check_cover(file, mine, num_mine, data, data_bytes));
  st->num_tensors += num_mine;
  return ZK_OK;
}

static zk_status map_file(shard *file) {
  int fd = open(file->path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ZK_FAIL(ZK_IO, "%s: %s", file->path, strerror(errno));
  struct stat info;
  zk_status st = ZK_OK;
  if (fstat(fd, &info) != 0) st = ZK_FAIL(ZK_IO, "%s: %s", file->path, strerror(errno));
  else if (!S_ISREG(info.st_mode)) st = ZK_FAIL(ZK_BAD_INPUT, "%s: not a regular file", file->path);
  else if (info.st_size > 0) {
    void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) st = ZK_FAIL(ZK_IO, "%s: cannot map: %s", file->path, strerror(errno));
    else file->bytes = bytes, file->num_bytes = (size_t)info.st_size, file->mapped = 1;
  }
  close(fd);
  return st;
}

// Appends a shard for `path` (copied) and maps it unless `bytes` is given.
static zk_status add_file(zk_safetensors *st, const char *path, const void *bytes, size_t num_bytes) {
  shard *grown = realloc(st->shards, ((size_t)st->num_shards + 1) * sizeof *grown);
  if (grown) st->shards = grown;
  char *copy = grown ? strdup(path) : NULL;
  if (!copy) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", path);
  shard *file = &st->shards[st->num_shards++];
  *file = (shard){.path = copy, .bytes = bytes, .num_bytes = num_bytes};
  if (!bytes) ZK_TRY(map_file(file));
  return add_tensors(st, file);
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const zk_safetensor *)a)->name, ((const zk_safetensor *)b)->name);
}

static zk_status sort_by_name(zk_safetensors *st) {
  if (st->num_tensors) qsort(st->tensors, (size_t)st->num_tensors, sizeof *st->tensors, by_name);
  for (int i = 1; i < st->num_tensors; i++)
    if (!strcmp(st->tensors[i - 1].name, st->tensors[i].name))
      return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s is also in %s", st->tensors[i].file, st->tensors[i].name,
                     st->tensors[i - 1].file);
  return ZK_OK;
}

// ---- folders

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

// A shard's file name comes from the index: it must be a plain name, so that no index reaches outside its folder.
static zk_status add_shards(zk_safetensors *st, const char *dir, const char *index, json_t *map) {
  size_t count = json_object_size(map), num_files = 0;
  const char **files = malloc((count + 1) * sizeof *files);
  if (!files) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", index);
  const char *name;
  json_t *value;
  zk_status status = ZK_OK;
  json_object_foreach(map, name, value) {
    const char *file = json_string_value(value);
    if (!file || !*file || strchr(file, '/') || !strcmp(file, ".") || !strcmp(file, "..")) {
      status = ZK_FAIL(ZK_BAD_INPUT, "%s: weight_map: tensor %s has no plain file name", index, name);
      goto done;
    }
    files[num_files++] = file;
  }
  if (num_files) qsort(files, num_files, sizeof *files, by_text);
  for (size_t i = 0; i < num_files; i++) {
    if (i && !strcmp(files[i - 1], files[i])) continue;
    char *path = zk_file_join(dir, files[i]);
    status = path ? add_file(st, path, NULL, 0) : ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", index);
    free(path);
    if (status != ZK_OK) goto done;
  }
done:
  free(files);
  return status;
}

// Every tensor in the shard that the index says, and no others.
static zk_status check_index(const zk_safetensors *st, const char *index, json_t *map) {
  for (int i = 0; i < st->num_tensors; i++) {
    const zk_safetensor *t = &st->tensors[i];
    const char *file = json_string_value(json_object_get(map, t->name));
    const char *base = strrchr(t->file, '/') + 1; // add_shards joined it
    if (!file || strcmp(file, base))
      return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s is in %s, but weight_map says %s", index, t->name, base,
                     file ? file : "nothing");
  }
  if ((size_t)st->num_tensors == json_object_size(map)) return ZK_OK;
  const char *name;
  json_t *value;
  json_object_foreach(map, name, value) {
    if (!zk_safetensors_find(st, name))
      return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s is not in %s", index, name, json_string_value(value));
  }
  return ZK_OK;
}

static zk_status open_index(zk_safetensors *st, const char *dir, const char *index) {
  char *text;
  size_t num_bytes;
  ZK_TRY(zk_file_read(index, MAX_HEADER_BYTES, &text, &num_bytes));
  json_error_t error;
  json_t *root = json_loadb(text, num_bytes, JSON_REJECT_DUPLICATES, &error);
  free(text);
  if (!root) return ZK_FAIL(ZK_BAD_INPUT, "%s:%d:%d: %s", index, error.line, error.column, error.text);
  json_t *map = json_object_get(root, "weight_map");
  zk_status status = json_is_object(map) ? ZK_OK : ZK_FAIL(ZK_BAD_INPUT, "%s: no object weight_map", index);
  if (status == ZK_OK) status = add_shards(st, dir, index, map);
  if (status == ZK_OK) status = sort_by_name(st);
  if (status == ZK_OK) status = check_index(st, index, map);
  json_decref(root);
  return status;
}

static zk_status open_folder(zk_safetensors *st, const char *dir) {
  char *single = zk_file_join(dir, "model.safetensors"), *index = zk_file_join(dir, "model.safetensors.index.json");
  zk_status status;
  if (!single || !index) status = ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", dir);
  else if (zk_file_exists(single)) status = add_file(st, single, NULL, 0);
  else if (zk_file_exists(index)) status = open_index(st, dir, index);
  else status = ZK_FAIL(ZK_IO, "%s: no model.safetensors and no model.safetensors.index.json", dir);
  free(single);
  free(index);
  return status;
}

// ---- the interface

static zk_status open_any(const char *path, const void *bytes, size_t num_bytes, zk_safetensors **out) {
  zk_safetensors *st = calloc(1, sizeof *st);
  if (!st) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", path);
  struct stat info;
  int is_folder = !bytes && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
  zk_status status = is_folder ? open_folder(st, path) : add_file(st, path, bytes, num_bytes);
  if (status == ZK_OK) status = sort_by_name(st);
  if (status == ZK_OK) *out = st;
  else zk_safetensors_close(st);
  return status;
}

zk_status zk_safetensors_open(const char *path, zk_safetensors **out) { return open_any(path, NULL, 0, out); }

zk_status zk_safetensors_open_memory(const char *name, const void *bytes, size_t num_bytes, zk_safetensors **out) {
  return open_any(name, bytes, num_bytes, out);
}

void zk_safetensors_close(zk_safetensors *st) {
  if (!st) return;
  for (int i = 0; i < st->num_shards; i++) {
    shard *file = &st->shards[i];
    json_decref(file->header);
    if (file->mapped) munmap((void *)file->bytes, file->num_bytes);
    free(file->path);
  }
  free(st->shards);
  free(st->tensors);
  free(st);
}

int zk_safetensors_count(const zk_safetensors *st) { return st->num_tensors; }
const zk_safetensor *zk_safetensors_at(const zk_safetensors *st, int idx) { return &st->tensors[idx]; }

const zk_safetensor *zk_safetensors_find(const zk_safetensors *st, const char *name) {
  zk_safetensor key = {.name = name};
  return st->num_tensors ? bsearch(&key, st->tensors, (size_t)st->num_tensors, sizeof key, by_name) : NULL;
}
