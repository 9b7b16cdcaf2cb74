// HDF5 lays the file out (contiguous datasets, space reserved at once) and says where the elements are; they are then
// written there directly, so that a full disk is an error of write() like any other.
#include "shared/optimizer_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/file_util.h"
#include "shared/hdf5_util.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "elements are stored as they lie in memory");

struct zk_optimizer_file {
  zk_path path, temp_path; // temp_path: "" when reading
  int64_t step, num_elements;
  int fd;                                          // writing; else -1
  off_t offsets[ZK_OPTIMIZER_NUM_DATASETS];        // writing: of element 0
  int64_t num_written[ZK_OPTIMIZER_NUM_DATASETS];  // writing
  hid_t file, datasets[ZK_OPTIMIZER_NUM_DATASETS]; // reading; else invalid
};

static const struct {
  const char *name, *description;
} specs[ZK_OPTIMIZER_NUM_DATASETS] = {
#define X(name, text, description) {text, description},
    ZK_OPTIMIZER_LIST(X)
#undef X
};

static zk_status new_file(const char *path, zk_optimizer_file **out) {
  zk_optimizer_file *f = calloc(1, sizeof *f);
  if (!f) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", path);
  f->path = zk_path_make("%s", path);
  f->fd = -1;
  f->file = H5I_INVALID_HID;
  for (int d = 0; d < ZK_OPTIMIZER_NUM_DATASETS; d++) f->datasets[d] = H5I_INVALID_HID;
  *out = f;
  return ZK_OK;
}

void zk_optimizer_file_close(zk_optimizer_file *f) {
  if (!f) return;
  for (int d = 0; d < ZK_OPTIMIZER_NUM_DATASETS; d++)
    if (f->datasets[d] >= 0) H5Dclose(f->datasets[d]);
  if (f->file >= 0) H5Fclose(f->file);
  if (f->fd >= 0) close(f->fd);
  if (f->temp_path.s[0]) unlink(f->temp_path.s);
  free(f);
}

static zk_status check_range(const zk_optimizer_file *f, int64_t first, int64_t count) {
  if (first >= 0 && count >= 0 && first <= f->num_elements && count <= f->num_elements - first) return ZK_OK;
  return ZK_FAIL(ZK_INTERNAL, "%s: elements %" PRId64 " + %" PRId64 " of %" PRId64, f->path.s, first, count,
                 f->num_elements);
}

int64_t zk_optimizer_file_step(const zk_optimizer_file *f) { return f->step; }
int64_t zk_optimizer_file_num_elements(const zk_optimizer_file *f) { return f->num_elements; }

// ---- writing --------------------------------------------------------------------------------------------------------

// Contiguous, reserved at once, never filled.
static hid_t dataset_creation(void) {
  hid_t list = H5Pcreate(H5P_DATASET_CREATE);
  if (list < 0) return list;
  if (H5Pset_obj_track_times(list, 0) < 0 || H5Pset_layout(list, H5D_CONTIGUOUS) < 0 ||
      H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY) < 0 || H5Pset_fill_time(list, H5D_FILL_TIME_NEVER) < 0) {
    H5Pclose(list);
    return H5I_INVALID_HID;
  }
  return list;
}

static herr_t lay_out_dataset(zk_optimizer_file *f, hid_t file, hid_t creation, int d) {
  hsize_t dims = (hsize_t)f->num_elements;
  hid_t space = H5Screate_simple(1, &dims, NULL);
  hid_t dataset = H5Dcreate2(file, specs[d].name, H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  herr_t result = dataset < 0 ? -1 : zk_h5_put_string(dataset, "description", specs[d].description);
  haddr_t offset = dataset < 0 ? HADDR_UNDEF : H5Dget_offset(dataset);
  if (offset == HADDR_UNDEF) result = -1;
  else f->offsets[d] = (off_t)offset;
  if (dataset >= 0 && H5Dclose(dataset) < 0) result = -1;
  if (space >= 0) H5Sclose(space);
  return result;
}

static herr_t lay_out(zk_optimizer_file *f, hid_t file) {
  const int32_t schema = ZK_OPTIMIZER_SCHEMA_VERSION;
  if (zk_h5_put_int(file, "schema_version", H5T_STD_I32LE, &schema) < 0 ||
      zk_h5_put_int(file, "step", H5T_STD_I64LE, &f->step) < 0 ||
      zk_h5_put_int(file, "num_elements", H5T_STD_I64LE, &f->num_elements) < 0)
    return -1;
  hid_t creation = dataset_creation();
  herr_t result = creation < 0 ? -1 : 0;
  for (int d = 0; result >= 0 && d < ZK_OPTIMIZER_NUM_DATASETS; d++) result = lay_out_dataset(f, file, creation, d);
  if (creation >= 0) H5Pclose(creation);
  return result;
}

// HDF5 recovers badly from a disk that refuses the file's size, so that is tried first.
static zk_status try_size(const char *path, int64_t num_elements) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return ZK_FAIL(ZK_IO, "%s: cannot create: %s", path, strerror(errno));
  off_t num_bytes = (off_t)num_elements * ZK_OPTIMIZER_NUM_DATASETS * (off_t)sizeof(float) + 65536;
  zk_status st = ftruncate(fd, num_bytes) ? ZK_FAIL(ZK_IO, "%s: cannot make it %lld bytes large: %s", path,
                                                    (long long)num_bytes, strerror(errno))
                                          : ZK_OK;
  close(fd);
  if (st != ZK_OK) unlink(path);
  return st;
}

static zk_status fail_create(const zk_optimizer_file *f) { return ZK_FAIL(ZK_IO, "%s: cannot create: %s", f->temp_path.s, zk_h5_reason()); }

static zk_status create_at(zk_optimizer_file *f) {
  ZK_TRY(try_size(f->temp_path.s, f->num_elements));
  zk_h5_quiet();
  hid_t access = zk_h5_access(), creation = zk_h5_file_creation();
  hid_t file = H5Fcreate(f->temp_path.s, H5F_ACC_TRUNC, creation, access);
  herr_t result = file < 0 ? -1 : lay_out(f, file);
  zk_status st = result < 0 ? fail_create(f) : ZK_OK; // at once: the next call empties HDF5's stack of errors
  if (file >= 0 && H5Fclose(file) < 0 && st == ZK_OK) st = fail_create(f);
  if (creation >= 0) H5Pclose(creation);
  if (access >= 0) H5Pclose(access);
  ZK_TRY(st);
  f->fd = open(f->temp_path.s, O_WRONLY | O_CLOEXEC);
  return f->fd >= 0 ? ZK_OK : ZK_FAIL(ZK_IO, "%s: cannot open: %s", f->temp_path.s, strerror(errno));
}

zk_status zk_optimizer_file_create(const char *path, int64_t step, int64_t num_elements, zk_optimizer_file **out) {
  *out = NULL;
  if (num_elements < 1 || num_elements > (INT64_MAX >> 8) || step < 0)
    return ZK_FAIL(ZK_INTERNAL, "%s: %" PRId64 " elements at step %" PRId64, path, num_elements, step);
  zk_optimizer_file *f;
  ZK_TRY(new_file(path, &f));
  f->temp_path = zk_file_temp_path(path);
  f->step = step;
  f->num_elements = num_elements;
  zk_status st = create_at(f);
  if (st == ZK_OK) *out = f;
  else zk_optimizer_file_close(f);
  return st;
}

void zk_optimizer_file_write_zeros(zk_optimizer_file *f) {
  for (int d = 0; d < ZK_OPTIMIZER_NUM_DATASETS; d++) f->num_written[d] = f->num_elements;
}

zk_status zk_optimizer_file_write(zk_optimizer_file *f, zk_optimizer_dataset dataset, int64_t first, int64_t count,
                                  const float *data) {
  ZK_TRY(check_range(f, first, count));
  const char *at = (const char *)data;
  off_t offset = f->offsets[dataset] + (off_t)(first * (int64_t)sizeof(float));
  for (size_t left = (size_t)count * sizeof(float); left;) {
    ssize_t put = pwrite(f->fd, at, left, offset);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ZK_FAIL(ZK_IO, "%s: cannot write: %s", f->temp_path.s, strerror(errno));
    at += put;
    offset += put;
    left -= (size_t)put;
  }
  f->num_written[dataset] += count;
  return ZK_OK;
}

zk_status zk_optimizer_file_finish(zk_optimizer_file *f) {
  zk_status st = ZK_OK;
  for (int d = 0; st == ZK_OK && d < ZK_OPTIMIZER_NUM_DATASETS; d++)
    if (f->num_written[d] != f->num_elements)
      st = ZK_FAIL(ZK_INTERNAL, "%s: %" PRId64 " of %" PRId64 " elements of %s were written", f->path.s,
                   f->num_written[d], f->num_elements, specs[d].name);
  int fd = f->fd;
  f->fd = -1;
  if (close(fd) && st == ZK_OK) st = ZK_FAIL(ZK_IO, "%s: cannot close: %s", f->temp_path.s, strerror(errno));
  if (st == ZK_OK) st = zk_file_publish(f->temp_path.s, f->path.s);
  if (st == ZK_OK) f->temp_path.s[0] = 0; // renamed
  zk_optimizer_file_close(f);
  return st;
}

// ---- reading --------------------------------------------------------------------------------------------------------

static zk_status open_datasets(zk_optimizer_file *f) {
  int32_t schema;
  ZK_TRY(zk_h5_get_int(f->file, "schema_version", H5T_STD_I32LE, &schema));
  if (schema != ZK_OPTIMIZER_SCHEMA_VERSION)
    return ZK_FAIL(ZK_UNSUPPORTED, "schema_version %d; this build reads %d", schema, ZK_OPTIMIZER_SCHEMA_VERSION);
  ZK_TRY(zk_h5_get_int(f->file, "step", H5T_STD_I64LE, &f->step));
  ZK_TRY(zk_h5_get_int(f->file, "num_elements", H5T_STD_I64LE, &f->num_elements));
  if (f->step < 0 || f->num_elements < 1) return ZK_FAIL(ZK_BAD_ARCHIVE, "step or num_elements is out of range");
  for (int d = 0; d < ZK_OPTIMIZER_NUM_DATASETS; d++) {
    hsize_t num_elements;
    ZK_TRY(zk_h5_open_dataset(f->file, specs[d].name, H5T_IEEE_F32LE, 1, &f->datasets[d], &num_elements));
    if (num_elements != (hsize_t)f->num_elements)
      return ZK_FAIL(ZK_BAD_ARCHIVE, "dataset %s: %llu elements, num_elements says %" PRId64, specs[d].name,
                     (unsigned long long)num_elements, f->num_elements);
    if (H5Dget_storage_size(f->datasets[d]) != num_elements * sizeof(float))
      return ZK_FAIL(ZK_BAD_ARCHIVE, "dataset %s: its elements are not all stored", specs[d].name);
  }
  return ZK_OK;
}

zk_status zk_optimizer_file_open(const char *path, zk_optimizer_file **out) {
  *out = NULL;
  if (!zk_file_exists(path)) return ZK_FAIL(ZK_IO, "%s: no such file", path);
  zk_optimizer_file *f;
  ZK_TRY(new_file(path, &f));
  zk_h5_quiet();
  hid_t access = zk_h5_access();
  f->file = H5Fopen(path, H5F_ACC_RDONLY, access);
  if (access >= 0) H5Pclose(access);
  zk_status st = f->file < 0 ? ZK_FAIL(ZK_BAD_ARCHIVE, "not a whole HDF5 file: %s", zk_h5_reason()) : open_datasets(f);
  if (st != ZK_OK) {
    zk_optimizer_file_close(f);
    return zk_status_context(st, "%s", path);
  }
  *out = f;
  return ZK_OK;
}

zk_status zk_optimizer_file_read(zk_optimizer_file *f, zk_optimizer_dataset dataset, int64_t first, int64_t count,
                                 float *out) {
  ZK_TRY(check_range(f, first, count));
  if (!count) return ZK_OK;
  const hsize_t start = (hsize_t)first, size = (hsize_t)count;
  hid_t memory = H5Screate_simple(1, &size, NULL), space = H5Dget_space(f->datasets[dataset]);
  bool ok = memory >= 0 && space >= 0 && H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &size, NULL) >= 0 &&
            H5Dread(f->datasets[dataset], H5T_IEEE_F32LE, memory, space, H5P_DEFAULT, out) >= 0;
  zk_status st =
      ok ? ZK_OK : ZK_FAIL(ZK_BAD_ARCHIVE, "%s: dataset %s: %s", f->path.s, specs[dataset].name, zk_h5_reason());
  if (space >= 0) H5Sclose(space);
  if (memory >= 0) H5Sclose(memory);
  return st;
}
