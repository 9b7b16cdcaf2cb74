// The builder of a metrics line.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/metrics.h"

static void fail(zk_metrics_line *line, zk_status status, const char *key) {
  if (line->status != ZK_OK) return; // the first one counts
  line->status = status;
  snprintf(line->failed_key, sizeof line->failed_key, "%s", key);
}

static void append(zk_metrics_line *line, const char *key, const char *text) {
  size_t n = strlen(text);
  if (line->num_bytes + n + 1 > line->capacity) {
    size_t capacity = 2 * (line->num_bytes + n) + 1024;
    char *grown = realloc(line->text, capacity);
    if (!grown) {
      fail(line, ZK_OUT_OF_MEMORY, key);
      return;
    }
    line->text = grown;
    line->capacity = capacity;
  }
  memcpy(line->text + line->num_bytes, text, n + 1);
  line->num_bytes += n;
}

// Appends a quoted, escaped string.
static void append_quoted(zk_metrics_line *line, const char *key, const char *text) {
  json_t *string = json_string(text); // NULL for what is not UTF-8
  char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
  if (quoted) append(line, key, quoted);
  else fail(line, ZK_INTERNAL, key);
  free(quoted);
  json_decref(string);
}

static void append_key(zk_metrics_line *line, const char *key) {
  append(line, key, ", ");
  append_quoted(line, key, key);
  append(line, key, ": ");
}

void zk_metrics_line_init(zk_metrics_line *line, int64_t step) {
  *line = (zk_metrics_line){.step = step};
  char text[48];
  snprintf(text, sizeof text, "{\"step\": %" PRId64, step);
  append(line, "step", text);
}

void zk_metrics_line_free(zk_metrics_line *line) {
  free(line->text);
  *line = (zk_metrics_line){0};
}

void zk_metrics_put_double(zk_metrics_line *line, const char *key, double value) {
  if (!isfinite(value)) {
    fail(line, ZK_NOT_FINITE, key);
    return;
  }
  char text[40];
  for (int digits = 1; digits <= 17; digits++) { // 17 always suffice
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  append_key(line, key);
  append(line, key, text);
  if (!strpbrk(text, ".e")) append(line, key, ".0"); // a reader sees a real number
}

void zk_metrics_put_int(zk_metrics_line *line, const char *key, int64_t value) {
  char text[24];
  snprintf(text, sizeof text, "%" PRId64, value);
  append_key(line, key);
  append(line, key, text);
}

void zk_metrics_put_hash(zk_metrics_line *line, const char *key, uint64_t value) {
  char text[20];
  snprintf(text, sizeof text, "\"%016" PRIx64 "\"", value);
  append_key(line, key);
  append(line, key, text);
}

void zk_metrics_put_string(zk_metrics_line *line, const char *key, const char *value) {
  append_key(line, key);
  append_quoted(line, key, value);
}

zk_status zk_metrics_line_check(const zk_metrics_line *line) {
  if (line->status == ZK_OK) return ZK_OK;
  return ZK_FAIL(line->status, "metrics of step %" PRId64 ": %s is %s", line->step, line->failed_key, zk_status_text(line->status));
}

zk_status zk_metrics_line_print(const zk_metrics_line *line, FILE *out) {
  ZK_TRY(zk_metrics_line_check(line));
  fprintf(out, "%s}\n", line->text);
  return fflush(out) || ferror(out) ? ZK_FAIL(ZK_IO, "step %" PRId64 " cannot be written to standard output", line->step) : ZK_OK;
}
