// A JSON Lines file as an index of its lines: checked once from front to back, read again one line at a time.
#include "rollout/jsonl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

typedef struct {
  uint64_t offset, num_bytes; // without the newline
  uint64_t hash;              // of the line's bytes
  uint64_t identity;          // of its prompt
} line_index;

struct zk_jsonl {
  char *path;
  uint32_t labels;
  int fd;
  uint32_t num_lines, capacity;
  line_index *lines;
  uint64_t hash;
};

static zk_status add_line(zk_jsonl *file, const line_index *line) {
  if (file->num_lines == INT32_MAX) return ZK_FAIL(ZK_BAD_INPUT, "%s has more than 2^31 - 1 lines", file->path);
  if (file->num_lines == file->capacity) {
    uint32_t capacity = file->capacity == 0 ? 1024 : file->capacity * 2;
    line_index *lines = realloc(file->lines, capacity * sizeof *lines);
    if (lines == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the index of %s", file->path);
    file->lines = lines;
    file->capacity = capacity;
  }
  file->lines[file->num_lines++] = *line;
  file->hash = XXH64(&line->hash, sizeof line->hash, file->hash);
  return ZK_OK;
}

// Checks the line of `num_bytes` at `offset` and adds it to the index.
static zk_status check_line(zk_jsonl *file, const char *text, size_t num_bytes, uint64_t offset) {
  zk_task_item item = {0};
  line_index line = {.offset = offset, .num_bytes = num_bytes, .hash = XXH64(text, num_bytes, 0)};
  uint64_t number = (uint64_t)file->num_lines + 1;
  if (strspn(text, " \t\r") >= num_bytes)
    return ZK_FAIL(ZK_BAD_INPUT, "%s:%" PRIu64 ": blank line", file->path, number);
  ZK_TRY(zk_jsonl_parse_line(file->path, number, file->labels, NULL, text, num_bytes, &item, &line.identity));
  zk_task_item_free(&item);
  return add_line(file, &line);
}

// Reads the stream to its end.
static zk_status scan(zk_jsonl *file, FILE *stream) {
  zk_status st = ZK_OK;
  char *text = NULL;
  size_t capacity = 0;
  uint64_t offset = 0;
  ssize_t got;
  while (st == ZK_OK && (errno = 0, got = getline(&text, &capacity, stream)) >= 0) {
    size_t num_bytes = (size_t)got;
    if (text[num_bytes - 1] == '\n') text[--num_bytes] = 0;
    st = check_line(file, text, num_bytes, offset);
    offset += (uint64_t)got;
  }
  if (st == ZK_OK && !feof(stream)) st = ZK_FAIL(ZK_IO, "cannot read %s: %s", file->path, strerror(errno));
  if (st == ZK_OK && file->num_lines == 0) st = ZK_FAIL(ZK_BAD_INPUT, "%s is empty", file->path);
  free(text);
  return st;
}

zk_status zk_jsonl_open(const char *path, uint32_t labels, zk_jsonl **out) {
  zk_status st = ZK_OK;
  struct stat info;
  FILE *stream = NULL;
  *out = NULL;
  zk_jsonl *file = calloc(1, sizeof *file);
  if (file == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %s", path);
  file->labels = labels;
  file->fd = -1;
  file->path = strdup(path);
  if (file->path == NULL) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %s", path);
  else if ((stream = fopen(path, "rbe")) == NULL || (file->fd = open(path, O_RDONLY | O_CLOEXEC)) < 0 ||
           fstat(file->fd, &info) != 0)
    st = ZK_FAIL(ZK_IO, "cannot open %s: %s", path, strerror(errno));
  else if (!S_ISREG(info.st_mode)) st = ZK_FAIL(ZK_IO, "%s is not a regular file", path);
  else st = scan(file, stream);
  if (stream != NULL) fclose(stream);
  if (st == ZK_OK) *out = file;
  else zk_jsonl_close(file);
  return st;
}

void zk_jsonl_close(zk_jsonl *file) {
  if (file == NULL) return;
  if (file->fd >= 0) close(file->fd);
  free(file->path);
  free(file->lines);
  free(file);
}

uint32_t zk_jsonl_num_lines(const zk_jsonl *file) { return file->num_lines; }
uint64_t zk_jsonl_identity(const zk_jsonl *file, uint32_t line_idx) { return file->lines[line_idx].identity; }
uint64_t zk_jsonl_hash(const zk_jsonl *file) { return file->hash; }

// Fills `text` from the file; short reads are continued.
static zk_status read_at(const zk_jsonl *file, const line_index *line, char *text) {
  for (size_t done = 0; done < line->num_bytes;) {
    ssize_t got = pread(file->fd, text + done, line->num_bytes - done, (off_t)(line->offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ZK_FAIL(ZK_IO, "cannot read %s: %s", file->path, strerror(errno));
    if (got == 0) return ZK_FAIL(ZK_BAD_INPUT, "%s became shorter while it was in use", file->path);
    done += (size_t)got;
  }
  return ZK_OK;
}

zk_status zk_jsonl_read(const zk_jsonl *file, uint32_t line_idx, const char *system, zk_task_item *out) {
  zk_status st = ZK_OK;
  const line_index *line = &file->lines[line_idx];
  uint64_t identity;
  char *text = malloc(line->num_bytes + 1);
  if (text == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a line of %" PRIu64 " bytes", line->num_bytes);
  ZK_TRY_GOTO(st, done, read_at(file, line, text));
  if (XXH64(text, line->num_bytes, 0) != line->hash) {
    st = ZK_FAIL(ZK_BAD_INPUT, "%s:%u changed while it was in use", file->path, line_idx + 1);
    goto done;
  }
  ZK_TRY_GOTO(st, done,
              zk_jsonl_parse_line(file->path, (uint64_t)line_idx + 1, file->labels, system, text, line->num_bytes, out,
                                  &identity));
done:
  free(text);
  return st;
}
