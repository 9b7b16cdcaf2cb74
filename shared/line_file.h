// A file of lines that only grows. A process killed in mid-append leaves a last line without its newline: such a torn
// line was never promised to anyone, and is passed over or cut off.
#ifndef ZK_SHARED_LINE_FILE_H
#define ZK_SHARED_LINE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/status.h"

typedef struct {
  const char *text; // not terminated; without its newline
  size_t num_bytes;
} zk_line;

typedef struct {
  char *text; // the whole file
  zk_line *lines;
  size_t num_lines;
} zk_line_file;

// Reads the complete lines. When `repair`, an absent file is an empty one and a torn last line is cut off on the disk;
// else an absent file is ZK_IO and nothing is changed.
zk_status zk_line_file_read(const char *path, bool repair, zk_line_file *out);
void zk_line_file_free(zk_line_file *file);

#endif
