// The kernel's lock on RUN/lock, and who holds it.
#include "shared/run_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "shared/file_util.h"
#include "shared/log.h"

enum { POLL_MS = 50 };

static zk_status write_holder(int fd, const char *path) {
  char host[256] = "?", text[320];
  gethostname(host, sizeof host - 1);
  int n = snprintf(text, sizeof text, "pid %ld on %s\n", (long)getpid(), host);
  if (ftruncate(fd, 0)) return ZK_FAIL(ZK_IO, "%s: cannot write: %s", path, strerror(errno));
  return zk_file_write_all(fd, path, text, (size_t)n);
}

static zk_status busy(int fd, const char *run_path) {
  char holder[320];
  ssize_t n = pread(fd, holder, sizeof holder - 1, 0);
  holder[n > 0 ? n : 0] = 0;
  holder[strcspn(holder, "\n")] = 0;
  return ZK_FAIL(ZK_BUSY, "%s is being written by %s; wait until it ends, or choose another run.dir", run_path,
                 holder[0] ? holder : "another process");
}

static zk_status wait_for(int fd, const char *run_path, int wait_ms) {
  for (int waited_ms = 0;; waited_ms += POLL_MS) {
    if (!flock(fd, LOCK_EX | LOCK_NB)) return ZK_OK;
    if (errno != EWOULDBLOCK && errno != EINTR) return ZK_FAIL(ZK_IO, "%s: cannot lock: %s", run_path, strerror(errno));
    if (waited_ms >= wait_ms) return busy(fd, run_path);
    if (!waited_ms && wait_ms >= 1000)
      ZK_LOG(INFO, "archive", "%s is held by another process; waiting up to %d s", run_path, wait_ms / 1000);
    nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
  }
}

zk_status zk_run_lock_take(const char *run_path, int wait_ms, int *out_fd) {
  zk_path path = zk_path_make("%s/lock", run_path);
  int fd = open(path.s, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return ZK_FAIL(ZK_IO, "%s: cannot open: %s", path.s, strerror(errno));
  zk_status st = wait_for(fd, run_path, wait_ms);
  if (st == ZK_OK) st = write_holder(fd, path.s);
  if (st == ZK_OK) *out_fd = fd;
  else close(fd);
  return st;
}
