// A rank whose device never answers: a kernel that does not end is told by nobody else.
#define _GNU_SOURCE // pthread_setname_np
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/device.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/watch_impl.h"

enum { LIMIT_S = 900, TICK_MS = 500, MOST_TICK_S = 3 };
#define RANK_S 0.5 // of several ranks whose devices stand, the first can speak for all

static struct {
  double limit_s, last_s, waited_s;
  uint64_t number; // of the wait that has lasted for so long
  bool has_warned;
} seen;

void zk_watch_device_begin(void) {
  const char *limit = getenv("ZK_DEVICE_LIMIT_S");
  seen.limit_s = limit && *limit ? atof(limit) : LIMIT_S;
  seen.number = 0;
}

void zk_watch_device_look(double now) {
  char what[480];
  if (seen.limit_s <= 0) return;
  const uint64_t number = zk_device_wait_number(what, sizeof what);
  const double passed = now - seen.last_s < MOST_TICK_S ? now - seen.last_s : MOST_TICK_S; // this process may have been stopped
  seen.last_s = now;
  seen.waited_s = number && number == seen.number ? seen.waited_s + passed : 0;
  if (seen.waited_s == 0) seen.has_warned = false;
  seen.number = number;
  if (seen.waited_s > seen.limit_s + RANK_S * (zk_watch.rank < 40 ? zk_watch.rank : 40)) zk_watch_device_stands(seen.waited_s, what);
  if (seen.has_warned || seen.waited_s < seen.limit_s / 10) return;
  seen.has_warned = seen.waited_s > 0;
  if (seen.has_warned)
    ZK_LOG(WARN, "watch", "rank %d has waited %.0f s for %s; after %.0f s (ZK_DEVICE_LIMIT_S) the job ends", zk_watch.rank, seen.waited_s, what, seen.limit_s);
}

// ---- the thread of a rank that has no others to watch

static struct {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t ends;
  bool is_running, is_leaving;
} alone = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *look_alone(void *arg) {
  (void)arg;
  (void)pthread_setname_np(pthread_self(), "watch");
  pthread_mutex_lock(&alone.lock);
  while (!alone.is_leaving) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L, until.tv_nsec %= 1000000000L;
    if (pthread_cond_timedwait(&alone.ends, &alone.lock, &until) == ETIMEDOUT) zk_watch_device_look(zk_clock_s());
  }
  pthread_mutex_unlock(&alone.lock);
  return NULL;
}

void zk_watch_device_alone(void) {
  pthread_condattr_t attributes;
  sigset_t all, before;
  zk_watch_device_begin();
  if (seen.limit_s <= 0 || alone.is_running) return;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&alone.ends, &attributes);
  pthread_condattr_destroy(&attributes);
  alone.is_leaving = false;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the main thread's
  alone.is_running = !pthread_create(&alone.thread, NULL, look_alone, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!alone.is_running) ZK_LOG(WARN, "watch", "no thread: if the device hangs, the job hangs with it");
}

void zk_watch_device_leave(void) {
  if (!alone.is_running) return;
  pthread_mutex_lock(&alone.lock);
  alone.is_leaving = true;
  pthread_cond_signal(&alone.ends);
  pthread_mutex_unlock(&alone.lock);
  pthread_join(alone.thread, NULL);
  pthread_cond_destroy(&alone.ends);
  alone.is_running = false;
}
