// Complete lines of a growing file; what a kill left of the last one is passed over or cut off.
#include "shared/line_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/file_util.h"
#include "shared/log.h"

#define MAX_FILE_BYTES ((size_t)1 << 32)

static zk_status cut_to(const char *path, size_t num_bytes) {
  if (truncate(path, (off_t)num_bytes))
    return ZK_FAIL(ZK_IO, "%s: cannot cut off a torn last line: %s", path, strerror(errno));
  return zk_file_sync(path);
}

static zk_status split(const char *path, zk_line_file *file, size_t num_bytes) {
  size_t num_lines = 0;
  for (size_t i = 0; i < num_bytes; i++) num_lines += file->text[i] == '\n';
  file->lines = calloc(num_lines + 1, sizeof *file->lines);
  if (!file->lines) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory for %zu lines", path, num_lines);
  for (const char *at = file->text; file->num_lines < num_lines; file->num_lines++) {
    const char *end = memchr(at, '\n', num_bytes - (size_t)(at - file->text));
    file->lines[file->num_lines] = (zk_line){at, (size_t)(end - at)};
    at = end + 1;
  }
  return ZK_OK;
}

zk_status zk_line_file_read(const char *path, bool repair, zk_line_file *out) {
  *out = (zk_line_file){0};
  if (repair && !zk_file_exists(path)) return ZK_OK;
  size_t num_bytes, complete;
  ZK_TRY(zk_file_read(path, MAX_FILE_BYTES, &out->text, &num_bytes));
  for (complete = num_bytes; complete && out->text[complete - 1] != '\n';) complete--;
  zk_status st = split(path, out, complete);
  if (st == ZK_OK && repair && complete < num_bytes) {
    ZK_LOG(INFO, "archive", "%s: the last line was not finished; %zu bytes cut off", path, num_bytes - complete);
    st = cut_to(path, complete);
  }
  if (st != ZK_OK) zk_line_file_free(out);
  return st;
}

void zk_line_file_free(zk_line_file *file) {
  free(file->text);
  free(file->lines);
  *file = (zk_line_file){0};
}
