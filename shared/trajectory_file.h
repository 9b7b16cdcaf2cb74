// Between the writer and the reader of trajectory files, and the tool that tampers with them in tests.
#ifndef ZK_SHARED_TRAJECTORY_FILE_H
#define ZK_SHARED_TRAJECTORY_FILE_H

#include <hdf5.h>

#include "shared/trajectory.h"

// X(name): root attributes that are strings and members of zk_trajectory of that name.
#define ZK_TRAJECTORY_STRINGS(X) X(run_name) X(numerics) X(tokenizer_hash) X(template_hash) X(config) X(zerokl_version)
// X(name, HDF5 type): root attributes that are integers and members of that name and size.
#define ZK_TRAJECTORY_INTS(X) X(step, H5T_STD_I64LE) X(seed, H5T_STD_U64LE) X(contract_version, H5T_STD_I32LE)

// The HDF5 type of a column, in the file and in memory; columns are one-dimensional but for reward_component.
hid_t zk_trajectory_column_type(int column);
int zk_trajectory_column_dims(const zk_trajectory *t, int column, hsize_t dims[2]); // returns the number of dimensions

// The bytes of the file for `t`, with t->content_hash as it stands. The caller frees *out_bytes.
zk_status zk_trajectory_image(const zk_trajectory *t, void **out_bytes, size_t *out_num_bytes);

#endif
