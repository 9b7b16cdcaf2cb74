// Small files read whole, and written aside, flushed and renamed.
#include "shared/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static zk_status read_fd(int fd, const char *path, size_t max_bytes, char **out, size_t *num_bytes) {
  struct stat info;
  if (fstat(fd, &info) != 0) return ZK_FAIL(ZK_IO, "%s: %s", path, strerror(errno));
  if (!S_ISREG(info.st_mode)) return ZK_FAIL(ZK_BAD_INPUT, "%s: not a regular file", path);
  if ((uintmax_t)info.st_size > max_bytes)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: %jd bytes, more than the %zu that such a file may have", path,
                   (intmax_t)info.st_size, max_bytes);
  size_t size = (size_t)info.st_size, done = 0;
  char *text = malloc(size + 1);
  if (!text) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: cannot allocate %zu bytes to read it", path, size);
  while (done < size) {
    ssize_t got = read(fd, text + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      zk_status st = ZK_FAIL(ZK_IO, "%s: %s after %zu of %zu bytes", path, got ? strerror(errno) : "ends", done, size);
      free(text);
      return st;
    }
    done += (size_t)got;
  }
  text[size] = 0;
  *out = text;
  *num_bytes = size;
  return ZK_OK;
}

zk_status zk_file_read(const char *path, size_t max_bytes, char **out, size_t *num_bytes) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ZK_FAIL(ZK_IO, "%s: %s", path, strerror(errno));
  zk_status st = read_fd(fd, path, max_bytes, out, num_bytes);
  close(fd);
  return st;
}

static int write_all(int fd, const char *bytes, size_t num_bytes) {
  while (num_bytes) {
    ssize_t put = write(fd, bytes, num_bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return -1;
    bytes += put;
    num_bytes -= (size_t)put;
  }
  return fsync(fd);
}

zk_status zk_file_write(const char *path, const void *bytes, size_t num_bytes) {
  char aside[4096];
  if (snprintf(aside, sizeof aside, "%s.tmp", path) >= (int)sizeof aside)
    return ZK_FAIL(ZK_IO, "%.100s...: path too long", path);
  int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return ZK_FAIL(ZK_IO, "%s: %s", aside, strerror(errno));
  int error = write_all(fd, bytes, num_bytes) ? errno : 0;
  if (close(fd) && !error) error = errno;
  if (!error && rename(aside, path)) error = errno;
  if (!error) return zk_file_sync_parent(path);
  unlink(aside);
  return ZK_FAIL(ZK_IO, "%s: cannot write %zu bytes: %s", path, num_bytes, strerror(error));
}

char *zk_file_join(const char *dir, const char *name) {
  size_t n = strlen(dir) + strlen(name) + 2;
  char *path = malloc(n);
  if (path) snprintf(path, n, "%s/%s", dir, name);
  return path;
}

int zk_file_exists(const char *path) { return access(path, F_OK) == 0; }

zk_status zk_file_sync_dir(const char *dir) {
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ZK_FAIL(ZK_IO, "%s: %s", dir, strerror(errno));
  int error = fsync(fd) ? errno : 0;
  close(fd);
  if (error && error != EINVAL) return ZK_FAIL(ZK_IO, "%s: %s", dir, strerror(error)); // EINVAL: a file system that cannot
  return ZK_OK;
}

zk_status zk_file_sync_parent(const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) return zk_file_sync_dir(".");
  char dir[4096];
  int n = slash == path ? 1 : (int)(slash - path); // "/name" is in "/"
  if (snprintf(dir, sizeof dir, "%.*s", n, path) >= (int)sizeof dir)
    return ZK_FAIL(ZK_IO, "%.100s...: path too long", path);
  return zk_file_sync_dir(dir);
}
