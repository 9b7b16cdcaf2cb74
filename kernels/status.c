// The last error of each thread: its message and the frames it passed through.
#include "kernels/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local zk_status_record last;

static void append_frame(const char *file, int line, const char *func) {
  size_t used = strlen(last.frames);
  if (used + 8 < sizeof last.frames) snprintf(last.frames + used, sizeof last.frames - used, "  at %s (%s:%d)\n", func, file, line);
}

zk_status zk_status_fail(zk_status code, const char *file, int line, const char *func, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  char text[sizeof last.message]; // the arguments may point into `last`
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  memcpy(last.message, text, sizeof last.message);
  last.frames[0] = 0;
  append_frame(file, line, func);
  return code;
}

zk_status zk_status_frame(zk_status status, const char *file, int line, const char *func) {
  append_frame(file, line, func);
  return status;
}

zk_status zk_status_context(zk_status status, const char *fmt, ...) {
  char text[2 * sizeof last.message];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof last.message, fmt, args);
  va_end(args);
  if (n < 0) return status;
  size_t used = strlen(text);
  snprintf(text + used, sizeof text - used, ": %s", last.message);
  snprintf(last.message, sizeof last.message, "%.*s", (int)sizeof last.message - 1, text);
  return status;
}

const char *zk_status_message(void) { return last.message; }
const char *zk_status_frames(void) { return last.frames; }
void zk_status_clear(void) { last.message[0] = last.frames[0] = 0; }
void zk_status_save(zk_status_record *out) { *out = last; }
void zk_status_restore(const zk_status_record *record) { last = *record; }

const char *zk_status_text(zk_status status) {
  static const char *const text[] = {
#define X(name, code, what) what,
      ZK_STATUS_LIST(X)
#undef X
  };
  return (unsigned)status < ZK_NUM_STATUS ? text[status] : "unknown status";
}

int zk_status_exit_code(zk_status status) {
  static const int code[] = {
#define X(name, exit_code, what) exit_code,
      ZK_STATUS_LIST(X)
#undef X
  };
  return (unsigned)status < ZK_NUM_STATUS ? code[status] : 1;
}
