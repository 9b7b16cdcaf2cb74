// What the watch says at a job's end, who says it, and what a rank that failed has to add.
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stop.h"
#include "shared/watch_impl.h"

enum { HEIR_S = 10 };
#define YIELD_S 2.5 // for what zk_watch_yield is there: a link is torn at once, silence is noticed within one and a half
#define YIELD_RANK_S 0.25
#define FAREWELL_S 0.3 // a launcher that ends us gives a second

void zk_watch_say_farewell(zk_watch_kind kind) {
  pthread_mutex_lock(&zk_watch.lock);
  zk_watch.mine.kind = kind;
  for (int i = 0; i < zk_watch.num_peers; i++)
    if (zk_watch.peers[i].fd >= 0) zk_watch_link_farewell(zk_watch.peers[i].fd, &zk_watch.peers[i].rest, &zk_watch.mine);
  pthread_mutex_unlock(&zk_watch.lock);
  const double until_s = zk_clock_s() + FAREWELL_S;
  for (int i = 0; i < zk_watch.num_peers; i++)
    if (zk_watch.peers[i].fd >= 0) zk_watch_link_drain(zk_watch.peers[i].fd, until_s);
}

// The job's end, as seen from here; the others are told that it has been said. Files are left as a SIGKILL would leave them: what the main thread
// writes just now may hold their locks.
static _Noreturn void give_up(void) {
  zk_watch_say_farewell(ZK_WATCH_FAILED);
  _exit(1);
}

static const char *doing(const zk_watch_frame *f) { return f->doing[0] ? f->doing : "starting"; }

// What to do next. The lock is held.
static void way_on(char *text, size_t room) {
  const char *checkpoint = zk_watch.rank == 0 ? zk_watch.mine.checkpoint : zk_watch.peers[0].last.checkpoint;
  if (checkpoint[0]) snprintf(text, room, "the last good checkpoint is %s: start the same command again, and it goes on from there", checkpoint);
  else snprintf(text, room, "there is no checkpoint yet: start the same command again");
}

static _Noreturn void speak(const zk_watch_peer *lost, const char *what) {
  const zk_watch_frame *f = &lost->last;
  const char *waiting = atomic_load(&zk_watch.waiting);
  char here[160] = "", way[512];
  if (waiting) snprintf(here, sizeof here, " (rank %d waits in %s)", zk_watch.rank, waiting);
  pthread_mutex_lock(&zk_watch.lock);
  way_on(way, sizeof way);
  pthread_mutex_unlock(&zk_watch.lock);
  ZK_LOG(ERROR, "watch", "rank %d (pid %d on %s) %s while %s%s; %s", f->rank, f->pid, f->host, what, doing(f), here, way);
  give_up();
}

// The job ends by another's word: its launcher ends this rank too, by a SIGTERM that is not ignored here (whatever came before it), or else the time does.
static void linger(double seconds) {
  const double until_s = zk_clock_s() + seconds;
  while (zk_clock_s() < until_s && !zk_stop_is_ended()) nanosleep(&(struct timespec){0, 10000000L}, NULL);
}

static const zk_watch_frame *frame_of(int rank) { return rank == 0 ? &zk_watch.mine : &zk_watch.peers[rank - 1].last; }

// How many ranks wait in what this one waits in.
static int num_with(const zk_watch_frame *f) {
  int num = 0;
  for (int r = 0; r < zk_watch.size; r++) num += !strcmp(frame_of(r)->waiting, f->waiting);
  return num;
}

_Noreturn void zk_watch_stand_still(double seconds) {
  const zk_watch_frame *odd = frame_of(0), *rule = odd; // the first of those that fewest and most are with
  char who[480], way[512];
  atomic_store(&zk_watch.is_ending, 1);
  pthread_mutex_lock(&zk_watch.lock);
  for (int r = 1; r < zk_watch.size; r++) {
    const zk_watch_frame *f = frame_of(r);
    if (num_with(f) < num_with(odd)) odd = f;
    if (num_with(f) > num_with(rule)) rule = f;
  }
  if (num_with(rule) == zk_watch.size) snprintf(who, sizeof who, "all %d ranks wait in %s", zk_watch.size, rule->waiting);
  else
    snprintf(who, sizeof who, "rank %d (pid %d on %s) waits in %s, %d of %d ranks in %s", odd->rank, odd->pid, odd->host, odd->waiting, num_with(rule),
             zk_watch.size, rule->waiting);
  way_on(way, sizeof way);
  pthread_mutex_unlock(&zk_watch.lock);
  ZK_LOG(ERROR, "watch", "%s while %s, and nothing has moved for %.0f s: the network between them is gone; %s", who, doing(&zk_watch.mine), seconds, way);
  give_up();
}

_Noreturn void zk_watch_device_stands(double seconds, const char *what) {
  char way[512], host[64] = "";
  atomic_store(&zk_watch.is_ending, 1);
  gethostname(host, sizeof host - 1);
  pthread_mutex_lock(&zk_watch.lock);
  way_on(way, sizeof way);
  pthread_mutex_unlock(&zk_watch.lock);
  ZK_LOG(ERROR, "watch", "rank %d (pid %d on %s) has waited %.0f s for %s while %s: a kernel never ends, or another program has the device to itself; %s", zk_watch.rank,
         (int)getpid(), host, seconds, what, doing(&zk_watch.mine), way);
  give_up();
}

_Noreturn void zk_watch_lose(const zk_watch_peer *p, const char *what) {
  atomic_store(&zk_watch.is_ending, 1);
  if (zk_watch.rank > 1) {
    linger(HEIR_S);
    give_up();
  }
  speak(p, what);
}

_Noreturn void zk_watch_end_quietly(void) {
  atomic_store(&zk_watch.is_ending, 1);
  zk_watch_say_farewell(ZK_WATCH_FAILED);
  linger(zk_watch.rank == 0 ? 1 : HEIR_S);
  _exit(1);
}

void zk_watch_yield(void) {
  const double until_s = zk_clock_s() + YIELD_S + YIELD_RANK_S * (zk_watch.rank < 40 ? zk_watch.rank : 40);
  while (zk_watch.is_running && (zk_clock_s() < until_s || atomic_load(&zk_watch.is_ending))) nanosleep(&(struct timespec){0, 10000000L}, NULL);
}

void zk_watch_describe(char *text, size_t room) {
  const char *mine = atomic_load(&zk_watch.waiting);
  char other[320] = "", way[512];
  text[0] = 0;
  if (!zk_watch.is_running) return;
  pthread_mutex_lock(&zk_watch.lock);
  for (int i = zk_watch.num_peers - 1; i >= 0 && mine; i--) {
    const zk_watch_frame *f = &zk_watch.peers[i].last;
    if (zk_watch.peers[i].fd < 0 || !strncmp(f->waiting, mine, sizeof f->waiting - 1)) continue;
    snprintf(other, sizeof other, "; rank %d (pid %d on %s) is not in it: %s", f->rank, f->pid, f->host, doing(f));
  }
  way_on(way, sizeof way);
  snprintf(text, room, " while %s%s; %s", doing(&zk_watch.mine), other, way);
  pthread_mutex_unlock(&zk_watch.lock);
}
