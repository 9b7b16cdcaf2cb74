// Paths by value, appends, folders and trees; every short write is an error.
#include "shared/file_util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

zk_path zk_path_make(const char *fmt, ...) {
  zk_path path;
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(path.s, sizeof path.s, fmt, args);
  va_end(args);
  if (n < 0 || (size_t)n >= sizeof path.s) path.s[0] = 0;
  return path;
}

bool zk_file_is_directory(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

// ---- writing --------------------------------------------------------------------------------------------------------
// ---------------------------------------------------------------------------------------------------------

zk_status zk_file_write_all(int fd, const char *path, const void *data, size_t num_bytes) {
  const char *at = data;
  while (num_bytes) {
    ssize_t put = write(fd, at, num_bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ZK_FAIL(ZK_IO, "%s: cannot write: %s", path, strerror(errno));
    at += put;
    num_bytes -= (size_t)put;
  }
  return ZK_OK;
}

zk_status zk_file_sync(const char *path) {
  if (zk_file_is_directory(path)) return zk_file_sync_dir(path);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ZK_FAIL(ZK_IO, "%s: cannot flush: %s", path, strerror(errno));
  int error = fsync(fd) ? errno : 0;
  close(fd);
  return error ? ZK_FAIL(ZK_IO, "%s: cannot flush: %s", path, strerror(error)) : ZK_OK;
}

zk_path zk_file_temp_path(const char *path) { return zk_path_make("%s%s", path, ZK_FILE_TEMP_SUFFIX); }

zk_status zk_file_publish(const char *temp_path, const char *path) {
  ZK_TRY(zk_file_sync(temp_path));
  if (rename(temp_path, path)) return ZK_FAIL(ZK_IO, "%s: cannot rename to %s: %s", temp_path, path, strerror(errno));
  return zk_file_sync_parent(path);
}

zk_status zk_file_append(const char *path, const void *data, size_t num_bytes) {
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) return ZK_FAIL(ZK_IO, "%s: cannot open: %s", path, strerror(errno));
  struct stat before;
  zk_status st = fstat(fd, &before) ? ZK_FAIL(ZK_IO, "%s: %s", path, strerror(errno)) : ZK_OK;
  if (st == ZK_OK) {
    st = zk_file_write_all(fd, path, data, num_bytes);
    if (st == ZK_OK && fsync(fd)) st = ZK_FAIL(ZK_IO, "%s: cannot flush: %s", path, strerror(errno));
    if (st != ZK_OK && ftruncate(fd, before.st_size)) // a torn line is also cut off when the file is next opened
      st = zk_status_context(st, "%s: cannot undo (%s) what failed", path, strerror(errno));
  }
  if (close(fd) && st == ZK_OK) st = ZK_FAIL(ZK_IO, "%s: cannot close: %s", path, strerror(errno));
  return st;
}

// ---- folders --------------------------------------------------------------------------------------------------------
// ---------------------------------------------------------------------------------------------------------

zk_status zk_file_make_directories(const char *path) {
  zk_path part = zk_path_make("%s", path);
  if (!part.s[0]) return ZK_FAIL(ZK_IO, "%.100s: no such name for a folder can be", path);
  for (char *at = part.s + 1;; at++) {
    if (*at && *at != '/') continue;
    char end = *at;
    *at = 0;
    if (mkdir(part.s, 0777) && !(errno == EEXIST && zk_file_is_directory(part.s)))
      return ZK_FAIL(ZK_IO, "%s: cannot make the folder: %s", part.s, strerror(errno == EEXIST ? ENOTDIR : errno));
    *at = end;
    if (!end) return ZK_OK;
  }
}

static zk_status remove_failed(const char *path) {
  return ZK_FAIL(ZK_IO, "%s: cannot remove: %s", path, strerror(errno));
}

zk_status zk_file_remove_tree(const char *path) {
  struct stat info;
  if (lstat(path, &info)) return errno == ENOENT ? ZK_OK : remove_failed(path);
  if (!S_ISDIR(info.st_mode)) return unlink(path) && errno != ENOENT ? remove_failed(path) : ZK_OK;
  DIR *dir = opendir(path);
  if (!dir) return remove_failed(path);
  zk_status st = ZK_OK;
  for (struct dirent *entry; st == ZK_OK && (entry = readdir(dir));) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    st = zk_file_remove_tree(zk_path_make("%s/%s", path, entry->d_name).s);
  }
  closedir(dir);
  if (st == ZK_OK && rmdir(path)) st = remove_failed(path);
  return st;
}

// ---- listing --------------------------------------------------------------------------------------------------------
// ---------------------------------------------------------------------------------------------------------

static int compare_paths(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool is_temporary(const char *name) {
  size_t n = strlen(name), suffix = strlen(ZK_FILE_TEMP_SUFFIX);
  return n >= suffix && !strcmp(name + n - suffix, ZK_FILE_TEMP_SUFFIX);
}

static zk_status list_add(zk_file_list *list, const char *path) {
  if ((list->num_paths & (list->num_paths - 1)) == 0) { // full at each power of two
    char **grown = realloc(list->paths, (list->num_paths ? 2 * list->num_paths : 1) * sizeof *grown);
    if (!grown) return ZK_FAIL(ZK_OUT_OF_MEMORY, "out of memory listing %s", path);
    list->paths = grown;
  }
  char *copy = strdup(path);
  if (!copy) return ZK_FAIL(ZK_OUT_OF_MEMORY, "out of memory listing %s", path);
  list->paths[list->num_paths++] = copy;
  return ZK_OK;
}

// Adds what is under root/below ("" or "folder/").
static zk_status list_below(const char *root, const char *below, zk_file_list *list) {
  DIR *dir = opendir(zk_path_make("%s/%s", root, below).s);
  if (!dir) return ZK_FAIL(ZK_IO, "%s/%s: cannot list: %s", root, below, strerror(errno));
  zk_status st = ZK_OK;
  for (struct dirent *entry; st == ZK_OK && (entry = readdir(dir));) {
    const char *name = entry->d_name;
    if (!strcmp(name, ".") || !strcmp(name, "..") || is_temporary(name)) continue;
    zk_path relative = zk_path_make("%s%s", below, name);
    struct stat info;
    if (!relative.s[0] || lstat(zk_path_make("%s/%s", root, relative.s).s, &info))
      st = ZK_FAIL(ZK_IO, "%s/%s%s: %s", root, below, name, strerror(relative.s[0] ? errno : ENAMETOOLONG));
    else if (S_ISDIR(info.st_mode)) st = list_below(root, zk_path_make("%s/", relative.s).s, list);
    else if (S_ISREG(info.st_mode)) st = list_add(list, relative.s);
  }
  closedir(dir);
  return st;
}

zk_status zk_file_list_tree(const char *root, zk_file_list *out) {
  *out = (zk_file_list){0};
  zk_status st = list_below(root, "", out);
  if (st != ZK_OK) zk_file_list_free(out);
  if (out->num_paths) qsort(out->paths, out->num_paths, sizeof *out->paths, compare_paths);
  return st;
}

void zk_file_list_free(zk_file_list *list) {
  for (size_t i = 0; i < list->num_paths; i++) free(list->paths[i]);
  free(list->paths);
  *list = (zk_file_list){0};
}
