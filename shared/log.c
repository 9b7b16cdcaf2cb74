// Talk on stderr and the progress line.
#include "shared/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/clock.h"

static int log_rank, log_num_ranks = 1;
static int progress_enabled = 1, progress_open;
static double progress_last;

void zk_log_set_rank(int rank, int num_ranks) {
  log_rank = rank;
  log_num_ranks = num_ranks;
}

static int parse_level(const char *s, size_t n) {
  static const char *const names[] = {"error", "warn", "info", "debug"};
  for (int i = 0; i < 4; i++)
    if (strlen(names[i]) == n && !strncmp(names[i], s, n)) return i;
  return ZK_LOG_INFO;
}

int zk_log_enabled(zk_log_level level, const char *subsystem) {
  const char *env = getenv("ZK_LOG");
  int limit = ZK_LOG_INFO;
  while (env && *env) { // comma-separated "level" or "subsystem=level"
    size_t n = strcspn(env, ","), eq = strcspn(env, "=,");
    if (eq == n) limit = parse_level(env, n);
    else if (strlen(subsystem) == eq && !strncmp(env, subsystem, eq)) return (int)level <= parse_level(env + eq + 1, n - eq - 1);
    env += n + (env[n] == ',');
  }
  return (int)level <= limit;
}

void zk_log_write(zk_log_level level, const char *subsystem, const char *fmt, ...) {
  if (level == ZK_LOG_INFO && log_rank != 0) return;
  static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
  char text[4096];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  char who[32] = "";
  if (log_num_ranks > 1 && level != ZK_LOG_INFO) snprintf(who, sizeof who, "[rank %d] ", log_rank);
  zk_progress_end();
  if (level == ZK_LOG_DEBUG) fprintf(stderr, "%s%s%s: %s\n", who, prefix[level], subsystem, text);
  else fprintf(stderr, "%s%s%s\n", who, prefix[level], text);
}

void zk_progress_set_enabled(int enabled) { progress_enabled = enabled; }

void zk_progress_update(const char *what, long done, long total, const char *unit) {
  if (!progress_enabled || log_rank != 0) return;
  int tty = isatty(STDERR_FILENO);
  double now = zk_clock_s();
  if (now - progress_last < (tty ? 0.1 : 10.0)) return;
  progress_last = now;
  char amount[64];
  if (total > 0) snprintf(amount, sizeof amount, "%ld/%ld %s", done, total, unit);
  else snprintf(amount, sizeof amount, "%ld %s", done, unit);
  if (tty) {
    fprintf(stderr, "\r\033[K%s %s", what, amount);
    progress_open = 1;
  } else fprintf(stderr, "%s %s\n", what, amount);
  fflush(stderr);
}

void zk_progress_end(void) {
  if (progress_open) fprintf(stderr, "\r\033[K");
  progress_open = 0;
}
