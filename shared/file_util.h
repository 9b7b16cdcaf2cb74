// Files that are either whole or absent: large ones published by rename, appended lines, folders, trees, digests. Every
// short write is an error with path and reason. Whole small files: shared/file.h.
#ifndef ZK_SHARED_FILE_UTIL_H
#define ZK_SHARED_FILE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"
#include "shared/file.h"

// A path by value, so that making one cannot fail in mid-expression. A path that does not fit becomes "" (no file has
// that name, so the next call that uses it fails and says so); run directories are checked for length when opened.
#define ZK_PATH_BYTES 4096
typedef struct {
  char s[ZK_PATH_BYTES];
} zk_path;

// printf into a path: `zk_path_make("%s/config.json", dir).s`.
zk_path zk_path_make(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

bool zk_file_is_directory(const char *path);

// For files written by other means than zk_file_write: the name to write under (path and ZK_FILE_TEMP_SUFFIX; what a
// killed process leaves is known by it), and the publication (fsync, rename to `path`, fsync of the folder). ZK_IO.
#define ZK_FILE_TEMP_SUFFIX ".tmp"
zk_path zk_file_temp_path(const char *path);
zk_status zk_file_publish(const char *temp_path, const char *path);

// Writes all of `data` to `fd` (which is `path`, for the message), continuing after short writes and EINTR.
zk_status zk_file_write_all(int fd, const char *path, const void *data, size_t num_bytes);
// Appends in one write and flushes to the disk; the file is created when absent. What a failed write left behind is cut
// off again.
zk_status zk_file_append(const char *path, const void *data, size_t num_bytes);
// Flushes a file or a folder to the disk.
zk_status zk_file_sync(const char *path);

// mkdir -p.
zk_status zk_file_make_directories(const char *path);
// rm -rf; symbolic links are removed, not followed. No error when absent.
zk_status zk_file_remove_tree(const char *path);

// The regular files under `root`, as paths relative to it, in byte order; symbolic links and ZK_FILE_TEMP_SUFFIX names
// (folders too) are passed over. Freed with zk_file_list_free. ZK_IO when `root` cannot be read.
typedef struct {
  char **paths;
  size_t num_paths;
} zk_file_list;
zk_status zk_file_list_tree(const char *root, zk_file_list *out);
void zk_file_list_free(zk_file_list *list);

// SHA-256 as 64 lowercase hex digits and a NUL; of bytes, and of a file (with its size, when out_bytes is not NULL).
#define ZK_SHA256_HEX 65
zk_status zk_sha256(const void *data, size_t num_bytes, char out_hex[ZK_SHA256_HEX]);
zk_status zk_sha256_file(const char *path, char out_hex[ZK_SHA256_HEX], uint64_t *out_bytes);

#endif
