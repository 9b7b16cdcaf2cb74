// Talk to a person on stderr. stdout is for data. Level x subsystem, chosen by ZK_LOG (e.g. "info", "debug", "warn,comm=debug").
#ifndef ZK_SHARED_LOG_H
#define ZK_SHARED_LOG_H

typedef enum { ZK_LOG_ERROR, ZK_LOG_WARN, ZK_LOG_INFO, ZK_LOG_DEBUG } zk_log_level;

// Rank of this process, shown in lines of level warn and above and in debug; info lines print on rank 0 only.
void zk_log_set_rank(int rank, int num_ranks);
int zk_log_enabled(zk_log_level level, const char *subsystem);
void zk_log_write(zk_log_level level, const char *subsystem, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define ZK_LOG(level, subsystem, ...)                                                                                  \
  do {                                                                                                                 \
    if (zk_log_enabled(ZK_LOG_##level, subsystem)) zk_log_write(ZK_LOG_##level, subsystem, __VA_ARGS__);               \
  } while (0)

// A progress line: redrawn in place when stderr is a terminal, printed as a plain line at most every few seconds elsewhere.
// `done` and `total` count `unit`s; total 0 means unknown. zk_progress_end leaves the cursor on a fresh line.
void zk_progress_set_enabled(int enabled);
void zk_progress_update(const char *what, long done, long total, const char *unit);
void zk_progress_end(void);

#endif
