// HDF5 with our manners: its errors become the reason in our message, no times and no library defaults reach the bytes.
//
// The library is not thread-safe in every build: one thread of a process uses these files at a time.
#ifndef ZK_SHARED_HDF5_UTIL_H
#define ZK_SHARED_HDF5_UTIL_H

#include <stddef.h>
#include <stdint.h>

#include <hdf5.h>

#include "kernels/status.h"

// Stops HDF5 from printing errors and from tidying up at exit. Called first by everything that opens a file.
void zk_h5_quiet(void);
// The innermost error of HDF5's stack ("filter returned failure during read"), and empties the stack. Valid until the
// next call.
const char *zk_h5_reason(void);

// Property lists: file access with the format pinned (core driver: in memory), file and group creation without times.
hid_t zk_h5_access_in_memory(void);
hid_t zk_h5_access(void);
hid_t zk_h5_file_creation(void);
hid_t zk_h5_group_creation(void);

// Scalar attributes of an object; strings are fixed-length UTF-8. Negative on failure, as in HDF5.
herr_t zk_h5_put_string(hid_t object, const char *name, const char *value);
herr_t zk_h5_put_int(hid_t object, const char *name, hid_t type,
                     const void *value); // type both in memory and in the file
// A list of strings as one attribute, padded to the longest.
herr_t zk_h5_put_strings(hid_t object, const char *name, char *const *values, int num_values);

// Reading is strict: one element of exactly this type, strings of at most max_bytes. ZK_BAD_ARCHIVE names the
// attribute.
zk_status zk_h5_get_string(hid_t object, const char *name, size_t max_bytes, char **out);
zk_status zk_h5_get_int(hid_t object, const char *name, hid_t type, void *out);
zk_status zk_h5_get_strings(hid_t object, const char *name, size_t max_bytes, char **values, int num_values);

// Opens a dataset that must have this element type and number of dimensions (1 or 2). ZK_BAD_ARCHIVE names it.
zk_status zk_h5_open_dataset(hid_t file, const char *name, hid_t type, int num_dims, hid_t *out, hsize_t *out_dims);

#endif
