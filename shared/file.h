// Whole small files: read with a size limit, write so that a reader sees the old file or the new one and nothing between.
#ifndef ZK_SHARED_FILE_H
#define ZK_SHARED_FILE_H

#include <stddef.h>

#include "kernels/status.h"

// Reads a regular file of at most max_bytes into a malloc'ed buffer with a NUL behind it. The caller frees *out.
// ZK_IO when it cannot be read, ZK_BAD_INPUT when it is larger.
zk_status zk_file_read(const char *path, size_t max_bytes, char **out, size_t *num_bytes);

// Writes path.tmp, flushes it to disk, renames it to path, flushes the folder. On failure path is untouched and path.tmp gone. ZK_IO.
zk_status zk_file_write(const char *path, const void *bytes, size_t num_bytes);

// "DIR/NAME", malloc'ed; NULL when out of memory.
char *zk_file_join(const char *dir, const char *name);
int zk_file_exists(const char *path);
// Flushes a folder's entries to disk, so that a rename inside survives a power cut. ZK_IO.
zk_status zk_file_sync_dir(const char *dir);
zk_status zk_file_sync_parent(const char *path); // the folder that path is in

#endif
