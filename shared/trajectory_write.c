// Writes a trajectory file: made whole in memory, so that the disk sees one write of finished bytes.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/file_util.h"
#include "shared/hdf5_util.h"
#include "shared/trajectory_file.h"

enum { CHUNK_ELEMENTS = 1 << 16, DEFLATE_LEVEL = 1 }; // part of the bytes

hid_t zk_trajectory_column_type(int column) {
  const hid_t types[] = {
#define X(member, type, h5, name, extent, text) H5T_##h5,
      ZK_TRAJECTORY_LIST(X)
#undef X
  };
  return types[column];
}

int zk_trajectory_column_dims(const zk_trajectory *t, int column, hsize_t dims[2]) {
  bool table = zk_trajectory_columns[column].extent == ZK_EXTENT_COMPONENTS;
  dims[0] = (hsize_t)(table ? t->num_samples : zk_trajectory_num_elements(t, column));
  dims[1] = (hsize_t)t->num_components;
  return table ? 2 : 1;
}

// Chunked and filtered; an empty dataset has no storage, and HDF5 wants chunks no larger than the dataset.
static hid_t column_creation(int num_dims, const hsize_t dims[2]) {
  hid_t list = H5Pcreate(H5P_DATASET_CREATE);
  if (list < 0 || H5Pset_obj_track_times(list, 0) < 0) return list;
  if (dims[0] == 0 || (num_dims == 2 && dims[1] == 0)) return list;
  hsize_t width = num_dims == 2 ? dims[1] : 1, rows = width < CHUNK_ELEMENTS ? CHUNK_ELEMENTS / width : 1;
  const hsize_t chunk[2] = {rows < dims[0] ? rows : dims[0], width};
  if (H5Pset_chunk(list, num_dims, chunk) < 0 || H5Pset_fill_time(list, H5D_FILL_TIME_NEVER) < 0 ||
      H5Pset_shuffle(list) < 0 || H5Pset_deflate(list, DEFLATE_LEVEL) < 0 || H5Pset_fletcher32(list) < 0) {
    H5Pclose(list);
    return H5I_INVALID_HID;
  }
  return list;
}

static herr_t put_column(hid_t file, const zk_trajectory *t, int column) {
  const zk_trajectory_column *spec = &zk_trajectory_columns[column];
  hsize_t dims[2];
  int num_dims = zk_trajectory_column_dims(t, column, dims);
  hid_t type = zk_trajectory_column_type(column), creation = column_creation(num_dims, dims);
  hid_t space = H5Screate_simple(num_dims, dims, NULL);
  hid_t dataset = H5Dcreate2(file, spec->name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  herr_t result = dataset < 0 ? -1 : zk_h5_put_string(dataset, "description", spec->description);
  if (result >= 0 && spec->extent == ZK_EXTENT_COMPONENTS)
    result = zk_h5_put_strings(dataset, "names", t->component_names, t->num_components);
  if (result >= 0 && zk_trajectory_num_elements(t, column))
    result = H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, zk_trajectory_data(t, column));
  if (dataset >= 0 && H5Dclose(dataset) < 0) result = -1;
  if (space >= 0) H5Sclose(space);
  if (creation >= 0) H5Pclose(creation);
  return result;
}

static herr_t put_hash(hid_t file, const char *name, uint64_t value) {
  char text[17];
  snprintf(text, sizeof text, "%016" PRIx64, value);
  return zk_h5_put_string(file, name, text);
}

static herr_t put_attributes(hid_t file, const zk_trajectory *t) {
  const int32_t schema = ZK_TRAJECTORY_SCHEMA_VERSION;
  if (zk_h5_put_int(file, "schema_version", H5T_STD_I32LE, &schema) < 0) return -1;
#define X(name, type)                                                                                                  \
  if (zk_h5_put_int(file, #name, type, &t->name) < 0) return -1;
  ZK_TRAJECTORY_INTS(X)
#undef X
#define X(name)                                                                                                        \
  if (zk_h5_put_string(file, #name, t->name ? t->name : "") < 0) return -1;
  ZK_TRAJECTORY_STRINGS(X)
#undef X
  return put_hash(file, "weights_hash", t->weights_hash) < 0 ? -1 : put_hash(file, "content_hash", t->content_hash);
}

static herr_t put_groups(hid_t file) {
  static const char *const groups[] = {"prompt", "sample"};
  herr_t result = 0;
  hid_t creation = zk_h5_group_creation();
  for (int i = 0; result >= 0 && i < 2; i++) {
    hid_t group = H5Gcreate2(file, groups[i], H5P_DEFAULT, creation, H5P_DEFAULT);
    result = group < 0 ? -1 : H5Gclose(group);
  }
  if (creation >= 0) H5Pclose(creation);
  return result;
}

static herr_t put_everything(hid_t file, const zk_trajectory *t) {
  if (put_attributes(file, t) < 0 || put_groups(file) < 0) return -1;
  for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++)
    if (!zk_trajectory_is_left_out(t, c) && put_column(file, t, c) < 0) return -1;
  return H5Fflush(file, H5F_SCOPE_GLOBAL);
}

// HDF5 frees the memory of an in-memory file when it closes it; until then the superblock says "open for writing" (and
// H5Fget_file_image clears that mark but not its checksum). So the last free is caught, and its memory is the file.
typedef struct {
  char *bytes;      // after the close
  size_t allocated; // what lies behind the file's end is zero
} kept_image;

static void *image_malloc(size_t size, H5FD_file_image_op_t op, void *kept) { return malloc(size); }
static void *image_realloc(void *at, size_t size, H5FD_file_image_op_t op, void *udata) {
  kept_image *kept = udata;
  char *grown = realloc(at, size);
  if (grown && size > kept->allocated) memset(grown + kept->allocated, 0, size - kept->allocated);
  if (grown) kept->allocated = size;
  return grown;
}
static void *image_memcpy(void *to, const void *from, size_t size, H5FD_file_image_op_t op, void *kept) {
  return memcpy(to, from, size);
}
static herr_t image_free(void *at, H5FD_file_image_op_t op, void *kept) {
  if (op == H5FD_FILE_IMAGE_OP_FILE_CLOSE) ((kept_image *)kept)->bytes = at;
  else free(at);
  return 0;
}
static void *share_kept(void *kept) { return kept; }
static herr_t leave_kept(void *kept) { return 0; }

// The superblock (version 3, 8-byte addresses) holds the end of the file at byte 28; 0 when this is no such file.
static size_t image_end(const kept_image *image) {
  static const char head[10] = "\x89HDF\r\n\x1a\n\x03\x08";
  uint64_t end;
  if (!image->bytes || image->allocated < 48 || memcmp(image->bytes, head, sizeof head)) return 0;
  memcpy(&end, image->bytes + 28, sizeof end);
  return end <= image->allocated ? (size_t)end : 0;
}

zk_status zk_trajectory_image(const zk_trajectory *t, void **out_bytes, size_t *out_num_bytes) {
  zk_h5_quiet();
  kept_image image = {0};
  H5FD_file_image_callbacks_t callbacks = {image_malloc, image_memcpy, image_realloc, image_free,
                                           share_kept,   leave_kept,   &image};
  hid_t access = zk_h5_access_in_memory(), creation = zk_h5_file_creation(), file = H5I_INVALID_HID;
  if (access >= 0 && creation >= 0 && H5Pset_file_image_callbacks(access, &callbacks) >= 0)
    file = H5Fcreate("trajectory", H5F_ACC_TRUNC, creation, access); // in memory: the name is not used
  herr_t result = file < 0 ? -1 : put_everything(file, t);
  if (file >= 0 && H5Fclose(file) < 0) result = -1;
  if (creation >= 0) H5Pclose(creation);
  if (access >= 0) H5Pclose(access);
  *out_num_bytes = result < 0 ? 0 : image_end(&image);
  *out_bytes = image.bytes;
  if (*out_num_bytes) return ZK_OK;
  free(image.bytes);
  *out_bytes = NULL;
  return ZK_FAIL(ZK_INTERNAL, "HDF5 could not make a trajectory file: %s", zk_h5_reason());
}

static zk_status compare_with_stored(const char *path, const zk_trajectory *t) {
  zk_trajectory stored;
  ZK_TRY(zk_trajectory_read(path, &stored));
  zk_trajectory_difference first;
  bool equal = zk_trajectory_equal(&stored, t, &first);
  zk_trajectory_free(&stored);
  if (equal) return ZK_OK;
  char place[32] = "";
  if (first.index >= 0) snprintf(place, sizeof place, "[%" PRId64 "]", first.index);
  return ZK_FAIL(ZK_MISMATCH, "%s: step %" PRId64 " came out differently: %s%s was %s, is now %s; the file is kept",
                 path, t->step, first.dataset, place, first.a, first.b);
}

zk_status zk_trajectory_write(const char *path, zk_trajectory *t, bool *out_existed) {
  zk_status valid = zk_trajectory_validate(t);
  if (valid != ZK_OK) return zk_status_context(valid, "%s: not written", path);
  t->content_hash = zk_trajectory_content_hash(t);
  bool existed = zk_file_exists(path);
  if (out_existed) *out_existed = existed;
  if (existed) return compare_with_stored(path, t);
  void *bytes;
  size_t num_bytes;
  ZK_TRY(zk_trajectory_image(t, &bytes, &num_bytes));
  zk_status st = zk_file_write(path, bytes, num_bytes);
  free(bytes);
  return st;
}
