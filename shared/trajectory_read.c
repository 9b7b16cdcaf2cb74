// Reads a trajectory file without trusting it: types, shapes and sizes before any allocation, then offsets, then
// content_hash.
#include <stdlib.h>
#include <string.h>

#include "shared/file_util.h"
#include "shared/hdf5_util.h"
#include "shared/trajectory_file.h"

#define MAX_FILE_BYTES ((size_t)1 << 36)
enum { MAX_RATIO = 1100 }; // deflate reaches 1032:1, so a larger dataset has unwritten parts

static zk_status parse_hash(const char *name, const char *text, uint64_t *out) {
  if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
    return ZK_FAIL(ZK_BAD_ARCHIVE, "attribute %s: not 16 hex digits", name);
  *out = strtoull(text, NULL, 16);
  return ZK_OK;
}

static zk_status get_hash(hid_t file, const char *name, uint64_t *out) {
  char *text = NULL;
  zk_status st = zk_h5_get_string(file, name, 64, &text);
  if (st == ZK_OK) st = parse_hash(name, text, out);
  free(text);
  return st;
}

static zk_status get_attributes(hid_t file, size_t file_bytes, zk_trajectory *t) {
  int32_t schema;
  ZK_TRY(zk_h5_get_int(file, "schema_version", H5T_STD_I32LE, &schema));
  if (schema != ZK_TRAJECTORY_SCHEMA_VERSION)
    return ZK_FAIL(ZK_UNSUPPORTED, "schema_version %d; this build reads %d", schema, ZK_TRAJECTORY_SCHEMA_VERSION);
#define X(name, type) ZK_TRY(zk_h5_get_int(file, #name, type, &t->name));
  ZK_TRAJECTORY_INTS(X)
#undef X
#define X(name) ZK_TRY(zk_h5_get_string(file, #name, file_bytes, &t->name));
  ZK_TRAJECTORY_STRINGS(X)
#undef X
  ZK_TRY(get_hash(file, "weights_hash", &t->weights_hash));
  return get_hash(file, "content_hash", &t->content_hash);
}

static zk_status open_column(hid_t file, int column, hid_t *out, hsize_t dims[2]) {
  int num_dims = zk_trajectory_columns[column].extent == ZK_EXTENT_COMPONENTS ? 2 : 1;
  dims[1] = 1;
  return zk_h5_open_dataset(file, zk_trajectory_columns[column].name, zk_trajectory_column_type(column), num_dims, out,
                            dims);
}

static bool is_absent(hid_t file, int column) {
  return zk_trajectory_may_be_left_out(column) && H5Lexists(file, zk_trajectory_columns[column].name, H5P_DEFAULT) <= 0;
}

// The sizes of the step from the shapes of the columns; each within what the file can hold.
static zk_status get_sizes(hid_t file, size_t file_bytes, zk_trajectory *t) {
  for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++) {
    const zk_trajectory_column *spec = &zk_trajectory_columns[c];
    hsize_t dims[2], most = (hsize_t)file_bytes * MAX_RATIO / (hsize_t)spec->element_bytes;
    hid_t dataset;
    if (is_absent(file, c)) continue;
    ZK_TRY(open_column(file, c, &dataset, dims));
    H5Dclose(dataset);
    if (dims[0] > most || (dims[0] ? dims[1] > most / dims[0] : dims[1] > file_bytes))
      return ZK_FAIL(ZK_BAD_ARCHIVE, "dataset %s: larger than its file can hold", spec->name);
    if (spec->extent == ZK_EXTENT_PROMPTS) t->num_prompts = (int64_t)dims[0];
    if (spec->extent == ZK_EXTENT_PROMPT_TOKENS) t->num_prompt_tokens = (int64_t)dims[0];
    if (spec->extent == ZK_EXTENT_SAMPLES) t->num_samples = (int64_t)dims[0];
    if (spec->extent == ZK_EXTENT_SAMPLE_TOKENS) t->num_sample_tokens = (int64_t)dims[0];
    if (spec->extent == ZK_EXTENT_COMPONENTS) t->num_components = dims[1] > INT32_MAX ? -1 : (int32_t)dims[1];
  }
  return ZK_OK;
}

static zk_status get_column(hid_t file, size_t file_bytes, zk_trajectory *t, int column) {
  const zk_trajectory_column *spec = &zk_trajectory_columns[column];
  hsize_t dims[2], expected[2];
  hid_t dataset;
  int num_dims = zk_trajectory_column_dims(t, column, expected);
  ZK_TRY(open_column(file, column, &dataset, dims));
  zk_status st = ZK_OK;
  if (dims[0] != expected[0] || (num_dims == 2 && dims[1] != expected[1]))
    st = ZK_FAIL(ZK_BAD_ARCHIVE, "dataset %s: %llu elements where the others say %llu", spec->name,
                 (unsigned long long)dims[0], (unsigned long long)expected[0]);
  else if (zk_trajectory_num_elements(t, column) && H5Dread(dataset, zk_trajectory_column_type(column), H5S_ALL,
                                                            H5S_ALL, H5P_DEFAULT, zk_trajectory_data(t, column)) < 0)
    st = ZK_FAIL(ZK_BAD_ARCHIVE, "dataset %s: %s", spec->name, zk_h5_reason());
  if (st == ZK_OK && spec->extent == ZK_EXTENT_COMPONENTS)
    st = zk_h5_get_strings(dataset, "names", file_bytes * MAX_RATIO, t->component_names, t->num_components);
  H5Dclose(dataset);
  return st;
}

static zk_status get_everything(hid_t file, size_t file_bytes, zk_trajectory *t) {
  zk_trajectory sizes = {0};
  ZK_TRY(get_sizes(file, file_bytes, &sizes));
  ZK_TRY(zk_trajectory_alloc(t, sizes.num_prompts, sizes.num_prompt_tokens, sizes.num_samples, sizes.num_sample_tokens,
                             sizes.num_components));
  ZK_TRY(get_attributes(file, file_bytes, t));
  for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++)
    if (!is_absent(file, c)) ZK_TRY(get_column(file, file_bytes, t, c));
  return zk_trajectory_validate(t) == ZK_OK ? ZK_OK : ZK_FAIL(ZK_BAD_ARCHIVE, "%s", zk_status_message());
}

static zk_status read_image(void *bytes, size_t num_bytes, zk_trajectory *t) {
  zk_h5_quiet();
  hid_t access = zk_h5_access_in_memory();
  hid_t file = H5I_INVALID_HID;
  if (num_bytes && access >= 0 && H5Pset_file_image(access, bytes, num_bytes) >= 0)
    file = H5Fopen("trajectory", H5F_ACC_RDONLY, access); // in memory: the name is not used
  zk_status st = file < 0
                     ? ZK_FAIL(ZK_BAD_ARCHIVE, "not a whole HDF5 file: %s", num_bytes ? zk_h5_reason() : "it is empty")
                     : get_everything(file, num_bytes, t);
  if (file >= 0) H5Fclose(file);
  if (access >= 0) H5Pclose(access);
  return st;
}

static zk_status parse_unsealed(const char *name, void *bytes, size_t num_bytes, zk_trajectory *out, bool *out_sealed) {
  *out = (zk_trajectory){0};
  zk_status st = read_image(bytes, num_bytes, out);
  if (st != ZK_OK) {
    zk_trajectory_free(out);
    return zk_status_context(st, "%s", name);
  }
  *out_sealed = zk_trajectory_content_hash(out) == out->content_hash;
  return ZK_OK;
}

zk_status zk_trajectory_read_unsealed(const char *path, zk_trajectory *out, bool *out_sealed) {
  *out = (zk_trajectory){0};
  char *bytes;
  size_t num_bytes;
  ZK_TRY(zk_file_read(path, MAX_FILE_BYTES, &bytes, &num_bytes));
  zk_status st = parse_unsealed(path, bytes, num_bytes, out, out_sealed);
  free(bytes);
  return st;
}

static zk_status require_sealed(const char *path, bool sealed, zk_trajectory *out) {
  if (sealed) return ZK_OK;
  zk_trajectory_free(out);
  return ZK_FAIL(ZK_BAD_ARCHIVE, "%s: the values do not match content_hash; the file was altered after it was written",
                 path);
}

zk_status zk_trajectory_parse(const char *name, void *bytes, size_t num_bytes, zk_trajectory *out) {
  bool sealed;
  ZK_TRY(parse_unsealed(name, bytes, num_bytes, out, &sealed));
  return require_sealed(name, sealed, out);
}

zk_status zk_trajectory_read(const char *path, zk_trajectory *out) {
  bool sealed;
  ZK_TRY(zk_trajectory_read_unsealed(path, out, &sealed));
  return require_sealed(path, sealed, out);
}
