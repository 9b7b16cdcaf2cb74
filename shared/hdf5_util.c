// HDF5's errors as messages, property lists without times, strict attributes.
#include "shared/hdf5_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void zk_h5_quiet(void) {
  (void)H5dont_atexit(); // its handler falls over a file that could not be closed (disk full); files are closed here, one by one
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static _Thread_local char reason[256];

// Of a failed system call, which HDF5 describes in lines with time and addresses, only what the system said.
static herr_t take_innermost(unsigned n, const H5E_error2_t *error, void *data) {
  if (n != 0 || !error->desc) return 0;
  static const char mark[] = "error message = '";
  const char *system = strstr(error->desc, mark);
  if (!system) snprintf(reason, sizeof reason, "%s", error->desc);
  else snprintf(reason, sizeof reason, "%.*s", (int)strcspn(system + strlen(mark), "'"), system + strlen(mark));
  return 0;
}

const char *zk_h5_reason(void) {
  snprintf(reason, sizeof reason, "no reason given");
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_innermost, NULL); // upward: from the innermost
  H5Eclear2(H5E_DEFAULT);
  return reason;
}

// ---- property lists -------------------------------------------------------------------------------------------------

static hid_t checked(hid_t list, int failed) {
  if (list >= 0 && !failed) return list;
  if (list >= 0) H5Pclose(list);
  return H5I_INVALID_HID;
}

hid_t zk_h5_access(void) {
  hid_t list = H5Pcreate(H5P_FILE_ACCESS);
  return checked(list, list < 0 || H5Pset_libver_bounds(list, H5F_LIBVER_V110, H5F_LIBVER_V110) < 0 ||
                           H5Pset_fclose_degree(list, H5F_CLOSE_STRONG) < 0 ||
                           H5Pset_file_locking(list, 0, 1) < 0); // the run directory has its own lock
}

hid_t zk_h5_access_in_memory(void) {
  hid_t list = zk_h5_access();
  return checked(list, list < 0 || H5Pset_fapl_core(list, 1 << 20, 0) < 0);
}

hid_t zk_h5_file_creation(void) {
  hid_t list = H5Pcreate(H5P_FILE_CREATE);
  return checked(list, list < 0 || H5Pset_obj_track_times(list, 0) < 0);
}

hid_t zk_h5_group_creation(void) {
  hid_t list = H5Pcreate(H5P_GROUP_CREATE);
  return checked(list, list < 0 || H5Pset_obj_track_times(list, 0) < 0);
}

// ---- attributes, writing --------------------------------------------------------------------------------------------

static hid_t string_type(size_t num_bytes) {
  hid_t type = H5Tcopy(H5T_C_S1);
  return type >= 0 && H5Tset_size(type, num_bytes) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0 &&
                 H5Tset_strpad(type, H5T_STR_NULLTERM) >= 0
             ? type
             : H5I_INVALID_HID;
}

static herr_t put(hid_t object, const char *name, hid_t type, hid_t space, const void *value) {
  hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  herr_t result = attribute < 0 ? -1 : H5Awrite(attribute, type, value);
  if (attribute >= 0 && H5Aclose(attribute) < 0) result = -1;
  H5Sclose(space);
  return result;
}

herr_t zk_h5_put_string(hid_t object, const char *name, const char *value) {
  hid_t type = string_type(strlen(value) + 1);
  herr_t result = type < 0 ? -1 : put(object, name, type, H5Screate(H5S_SCALAR), value);
  if (type >= 0) H5Tclose(type);
  return result;
}

herr_t zk_h5_put_int(hid_t object, const char *name, hid_t type, const void *value) {
  return put(object, name, type, H5Screate(H5S_SCALAR), value);
}

herr_t zk_h5_put_strings(hid_t object, const char *name, char *const *values, int num_values) {
  size_t size = 1;
  for (int i = 0; i < num_values; i++)
    if (strlen(values[i]) + 1 > size) size = strlen(values[i]) + 1;
  char *table = calloc((size_t)num_values + 1, size);
  hid_t type = string_type(size);
  herr_t result = -1;
  if (table && type >= 0) {
    for (int i = 0; i < num_values; i++) memcpy(table + (size_t)i * size, values[i], strlen(values[i]));
    hsize_t dims = (hsize_t)num_values;
    result = put(object, name, type, num_values ? H5Screate_simple(1, &dims, NULL) : H5Screate(H5S_NULL), table);
  }
  if (type >= 0) H5Tclose(type);
  free(table);
  return result;
}

// ---- attributes, reading --------------------------------------------------------------------------------------------

static zk_status bad(const char *name, const char *what) {
  return ZK_FAIL(ZK_BAD_ARCHIVE, "attribute %s: %s", name, what);
}

static zk_status get_int(hid_t attribute, const char *name, hid_t type, void *out) {
  hid_t space = H5Aget_space(attribute), stored = H5Aget_type(attribute);
  zk_status st = ZK_OK;
  if (space < 0 || H5Sget_simple_extent_npoints(space) != 1) st = bad(name, "not a single value");
  else if (stored < 0 || H5Tequal(stored, type) <= 0) st = bad(name, "wrong type");
  else if (H5Aread(attribute, type, out) < 0) st = bad(name, zk_h5_reason());
  if (stored >= 0) H5Tclose(stored);
  if (space >= 0) H5Sclose(space);
  return st;
}

zk_status zk_h5_get_int(hid_t object, const char *name, hid_t type, void *out) {
  hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
  if (attribute < 0) return bad(name, zk_h5_reason());
  zk_status st = get_int(attribute, name, type, out);
  H5Aclose(attribute);
  return st;
}

// Reads num_values fixed-length strings; each value is malloc'ed, or on failure all are NULL.
static zk_status get_strings(hid_t attribute, const char *name, size_t max_bytes, char **values, int num_values) {
  char *table = NULL;
  zk_status st = ZK_OK;
  hid_t space = H5Aget_space(attribute), stored = H5Aget_type(attribute);
  size_t size =
      stored >= 0 && H5Tget_class(stored) == H5T_STRING && H5Tis_variable_str(stored) == 0 ? H5Tget_size(stored) : 0;
  if (size == 0) st = bad(name, "not a fixed-length string");
  else if (size > max_bytes || (size_t)num_values > max_bytes / size) st = bad(name, "too long for its file");
  else if (space < 0 || H5Sget_simple_extent_npoints(space) != num_values) st = bad(name, "wrong number of strings");
  else if (!(table = calloc((size_t)num_values + 1, size)))
    st = ZK_FAIL(ZK_OUT_OF_MEMORY, "attribute %s: out of memory", name);
  else if (num_values && H5Aread(attribute, stored, table) < 0) st = bad(name, zk_h5_reason());
  for (int i = 0; st == ZK_OK && i < num_values; i++)
    if (!(values[i] = strndup(table + (size_t)i * size, size)))
      st = ZK_FAIL(ZK_OUT_OF_MEMORY, "attribute %s: out of memory", name);
  free(table);
  if (stored >= 0) H5Tclose(stored);
  if (space >= 0) H5Sclose(space);
  return st;
}

zk_status zk_h5_get_strings(hid_t object, const char *name, size_t max_bytes, char **values, int num_values) {
  hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
  if (attribute < 0) return bad(name, zk_h5_reason());
  zk_status st = get_strings(attribute, name, max_bytes, values, num_values);
  H5Aclose(attribute);
  return st;
}

zk_status zk_h5_get_string(hid_t object, const char *name, size_t max_bytes, char **out) {
  return zk_h5_get_strings(object, name, max_bytes, out, 1);
}

// ---- datasets -------------------------------------------------------------------------------------------------------

zk_status zk_h5_open_dataset(hid_t file, const char *name, hid_t type, int num_dims, hid_t *out, hsize_t *out_dims) {
  hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
  if (dataset < 0) return ZK_FAIL(ZK_BAD_ARCHIVE, "dataset %s: %s", name, zk_h5_reason());
  hid_t stored = H5Dget_type(dataset), space = H5Dget_space(dataset);
  zk_status st = ZK_OK;
  if (stored < 0 || H5Tequal(stored, type) <= 0) st = ZK_FAIL(ZK_BAD_ARCHIVE, "dataset %s: wrong element type", name);
  else if (space < 0 || H5Sget_simple_extent_ndims(space) != num_dims ||
           H5Sget_simple_extent_dims(space, out_dims, NULL) != num_dims)
    st = ZK_FAIL(ZK_BAD_ARCHIVE, "dataset %s: not of %d dimension%s", name, num_dims, num_dims == 1 ? "" : "s");
  if (space >= 0) H5Sclose(space);
  if (stored >= 0) H5Tclose(stored);
  if (st != ZK_OK) H5Dclose(dataset);
  else *out = dataset;
  return st;
}
