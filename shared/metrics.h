// metrics.jsonl: one JSON object per line and step, line 0 the state before step 1; appended whole and flushed, or not
// at all.
#ifndef ZK_SHARED_METRICS_H
#define ZK_SHARED_METRICS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "kernels/status.h"

// A line in the making: keys in the order they are put. Errors stick and come out of zk_metrics_append.
typedef struct {
  int64_t step;
  char *text; // owned; the object so far, without its closing brace
  size_t num_bytes, capacity;
  zk_status status;
  char failed_key[64];
} zk_metrics_line;

// Begins {"step": N. Call zk_metrics_line_free at the end (also after append).
void zk_metrics_line_init(zk_metrics_line *line, int64_t step);
void zk_metrics_line_free(zk_metrics_line *line);
// A double is written with the fewest digits that read back to the same double; NaN and infinity are ZK_NOT_FINITE.
void zk_metrics_put_double(zk_metrics_line *line, const char *key, double value);
void zk_metrics_put_int(zk_metrics_line *line, const char *key, int64_t value);
// "weights/hash", "state/hash": a string of 16 hex digits, since JSON readers keep 53 bits of a number.
void zk_metrics_put_hash(zk_metrics_line *line, const char *key, uint64_t value);
void zk_metrics_put_string(zk_metrics_line *line, const char *key, const char *value);

// The first error of the puts, with step and key.
zk_status zk_metrics_line_check(const zk_metrics_line *line);
// Prints the object on a line of its own to `out`, for commands whose data it is: those errors, or ZK_IO.
zk_status zk_metrics_line_print(const zk_metrics_line *line, FILE *out);

// The lines of a file, for reading and for appending. Not collective; one writer, who holds the run's lock.
typedef struct zk_metrics zk_metrics;
// Opens for appending (absent: empty). A torn last line is cut off; any other line that is not an object with the step
// that follows its predecessor's is ZK_BAD_ARCHIVE with its number.
zk_status zk_metrics_open(const char *path, zk_metrics **out);
// The same for reading: nothing is changed, a torn last line is passed over, and the file must exist.
zk_status zk_metrics_open_read(const char *path, zk_metrics **out);
void zk_metrics_close(zk_metrics *m);

// Step of the last line, -1 when there is none; the line of a step (borrowed), NULL when there is none.
int64_t zk_metrics_last_step(const zk_metrics *m);
json_t *zk_metrics_find(const zk_metrics *m, int64_t step);
// The hash under `key` of a step's line; ZK_BAD_ARCHIVE when there is no such line, no such key, or it is no hash.
zk_status zk_metrics_get_hash(const zk_metrics *m, int64_t step, const char *key, uint64_t *out);

// Appends a line in one flushed write. A step that has a line already (the run was resumed before it) is not written
// again: its weights/hash and state/hash are compared, and a difference is ZK_MISMATCH with step and both values. A
// step that would leave a gap is ZK_BAD_ARCHIVE.
zk_status zk_metrics_append(zk_metrics *m, const zk_metrics_line *line);

#endif
