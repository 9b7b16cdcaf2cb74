// One thread a rank: hears the others, tells of itself, and speaks when one is lost.
#include "shared/watch.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stop.h"

enum { TICK_MS = 100, LIMIT_S = 30, JOIN_S = 30, HEIR_S = 10 };
#define YIELD_S 2.5 // for what zk_watch_yield is there: a link is torn at once, silence is noticed within one and a half
#define YIELD_RANK_S 0.25
#define FAREWELL_S 0.3 // a launcher that ends us gives a second

typedef struct {
  int fd; // -1: not there yet, or gone
  bool has_ended;
  double heard_s;
  size_t used;
  zk_watch_frame last, next; // the last whole frame, and the one that is coming in
} peer;

static struct {
  bool is_running;
  int rank, size, num_peers, listen_fd; // peers: rank 0 has all others, at [rank - 1]; others have rank 0, at [0]
  double limit_s;
  peer *peers;
  pthread_t thread;
  pthread_mutex_t lock; // of `mine`, and of what peers last said
  zk_watch_frame mine;
  _Atomic(const char *) waiting;
  atomic_int stop_signal, stop_rank, is_leaving, is_ending, has_news;
} watch = {.listen_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

// ---- what a person reads ----------------------------------------------------------------------------------------------

// A last word to everyone.
static void say_farewell(zk_watch_kind kind) {
  pthread_mutex_lock(&watch.lock);
  watch.mine.kind = kind;
  for (int i = 0; i < watch.num_peers; i++)
    if (watch.peers[i].fd >= 0) zk_watch_link_farewell(watch.peers[i].fd, &watch.mine);
  pthread_mutex_unlock(&watch.lock);
  const double until_s = zk_clock_s() + FAREWELL_S;
  for (int i = 0; i < watch.num_peers; i++)
    if (watch.peers[i].fd >= 0) zk_watch_link_drain(watch.peers[i].fd, until_s);
}

// The job's end, as seen from here; the others are told that it has been said. Files are left as a SIGKILL would leave them: what the main thread
// writes just now may hold their locks.
static _Noreturn void give_up(void) {
  say_farewell(ZK_WATCH_FAILED);
  _exit(1);
}

static const char *doing(const zk_watch_frame *f) { return f->doing[0] ? f->doing : "starting"; }

// What to do next. The lock is held.
static void way_on(char *text, size_t room) {
  const char *checkpoint = watch.rank == 0 ? watch.mine.checkpoint : watch.peers[0].last.checkpoint;
  if (checkpoint[0]) snprintf(text, room, "the last good checkpoint is %s: start the same command again, and it goes on from there", checkpoint);
  else snprintf(text, room, "there is no checkpoint yet: start the same command again");
}

static _Noreturn void speak(const peer *lost, const char *what) {
  const zk_watch_frame *f = &lost->last;
  const char *waiting = atomic_load(&watch.waiting);
  char here[160] = "", way[512];
  if (waiting) snprintf(here, sizeof here, " (rank %d waits in %s)", watch.rank, waiting);
  pthread_mutex_lock(&watch.lock);
  way_on(way, sizeof way);
  pthread_mutex_unlock(&watch.lock);
  ZK_LOG(ERROR, "watch", "rank %d (pid %d on %s) %s while %s%s; %s", f->rank, f->pid, f->host, what, doing(f), here, way);
  give_up();
}

// The job ends by another's word: its launcher ends this rank too, by a SIGTERM that is not ignored here, or else the time does.
static void linger(double seconds) {
  const double until_s = zk_clock_s() + seconds;
  while (zk_clock_s() < until_s && zk_stop_caught() != SIGTERM) nanosleep(&(struct timespec){0, 10000000L}, NULL);
}

// Rank 0 speaks of others, rank 1 of rank 0; the rest wait for that, and leave without a word when nobody ended them.
static void lose(peer *p, const char *what) {
  atomic_store(&watch.is_ending, 1);
  if (watch.rank > 1) {
    linger(HEIR_S);
    give_up();
  }
  speak(p, what);
}

// ---- the thread -------------------------------------------------------------------------------------------------------

static void merge_stop(int signal, int rank) {
  int none = 0;
  if (!signal || atomic_load(&watch.stop_signal)) return;
  atomic_store(&watch.stop_rank, rank);
  if (atomic_compare_exchange_strong(&watch.stop_signal, &none, signal)) atomic_store(&watch.has_news, 1);
}

static void take(peer *p) {
  const zk_watch_frame *f = &p->next;
  if (f->token != watch.mine.token) return;
  pthread_mutex_lock(&watch.lock);
  p->last = *f;
  p->last.doing[sizeof f->doing - 1] = p->last.host[sizeof f->host - 1] = p->last.checkpoint[sizeof f->checkpoint - 1] = 0;
  p->last.waiting[sizeof f->waiting - 1] = 0;
  pthread_mutex_unlock(&watch.lock);
  merge_stop(f->stop_signal, f->stop_rank);
  if (f->kind == ZK_WATCH_ENDS) p->has_ended = true;
  if (f->kind != ZK_WATCH_FAILED) return;
  atomic_store(&watch.is_ending, 1);
  close(p->fd);
  p->fd = -1;
  say_farewell(ZK_WATCH_FAILED);
  linger(watch.rank == 0 ? 1 : HEIR_S);
  _exit(1);
}

static void hear(peer *p, double now) {
  for (int got = 1; got > 0 && p->fd >= 0;) {
    size_t before = p->used;
    got = zk_watch_link_receive(p->fd, &p->next, &p->used);
    if (got > 0 || p->used != before) p->heard_s = now;
    if (got > 0) take(p);
    if (got >= 0) continue;
    close(p->fd);
    p->fd = -1;
    if (!p->has_ended && !atomic_load(&watch.is_leaving)) lose(p, "died");
  }
}

static void tell(double now, double *told_s) {
  if (now - *told_s < 1 && !atomic_exchange(&watch.has_news, 0)) return;
  *told_s = now;
  pthread_mutex_lock(&watch.lock);
  watch.mine.stop_signal = atomic_load(&watch.stop_signal), watch.mine.stop_rank = atomic_load(&watch.stop_rank);
  const char *waiting = atomic_load(&watch.waiting);
  snprintf(watch.mine.waiting, sizeof watch.mine.waiting, "%s", waiting ? waiting : "");
  for (int i = 0; i < watch.num_peers; i++)
    if (watch.peers[i].fd >= 0) (void)zk_watch_link_send(watch.peers[i].fd, &watch.mine);
  pthread_mutex_unlock(&watch.lock);
}

static void welcome(int *num_joined, double now) {
  zk_watch_frame hello;
  int fd = zk_watch_link_accept(watch.listen_fd, watch.mine.token, &hello);
  if (fd < 0) return;
  if (hello.rank < 1 || hello.rank >= watch.size || watch.peers[hello.rank - 1].fd >= 0) {
    close(fd);
    return;
  }
  peer *p = &watch.peers[hello.rank - 1];
  p->fd = fd, p->heard_s = now, p->next = hello;
  take(p);
  pthread_mutex_lock(&watch.lock);
  (void)zk_watch_link_send(fd, &watch.mine);
  pthread_mutex_unlock(&watch.lock);
  if (++*num_joined < watch.size - 1) return;
  close(watch.listen_fd);
  watch.listen_fd = -1;
}

static void check_silence(double now, double since_s) {
  char what[64];
  for (int i = 0; i < watch.num_peers && watch.limit_s > 0; i++) {
    peer *p = &watch.peers[i];
    if (p->fd < 0 || p->has_ended || now - p->heard_s < watch.limit_s) continue;
    snprintf(what, sizeof what, "has not answered for %.0f s", now - p->heard_s);
    lose(p, what);
  }
  if (watch.listen_fd < 0 || now - since_s < JOIN_S) return;
  ZK_LOG(WARN, "watch", "some rank has not reached rank %d over TCP in %d s: if it hangs, the job hangs with it", watch.rank, JOIN_S);
  close(watch.listen_fd);
  watch.listen_fd = -1;
}

static void *run(void *arg) {
  struct pollfd *set = arg;
  const double since_s = zk_clock_s();
  double told_s = 0, last_s = since_s;
  for (int num_joined = 0; !atomic_load(&watch.is_leaving);) {
    for (int i = 0; i < watch.num_peers; i++) set[i] = (struct pollfd){.fd = watch.peers[i].fd, .events = POLLIN};
    set[watch.num_peers] = (struct pollfd){.fd = watch.listen_fd, .events = POLLIN};
    (void)poll(set, (nfds_t)watch.num_peers + 1, TICK_MS);
    double now = zk_clock_s();
    if (now - last_s > 3) // it was this rank that was stopped, perhaps with all the others: everyone gets the whole time again
      for (int i = 0; i < watch.num_peers; i++) watch.peers[i].heard_s = now;
    last_s = now;
    if (watch.listen_fd >= 0 && set[watch.num_peers].revents) welcome(&num_joined, now);
    for (int i = 0; i < watch.num_peers; i++)
      if (set[i].revents && watch.peers[i].fd >= 0) hear(&watch.peers[i], now);
    merge_stop(zk_stop_caught(), watch.rank);
    tell(now, &told_s);
    check_silence(now, since_s);
  }
  free(set);
  return NULL;
}

// ---- joining and leaving ----------------------------------------------------------------------------------------------

void zk_watch_listen(int size, zk_watch_place *place) {
  memset(place, 0, sizeof *place);
  if (size > 1 && zk_watch_link_listen(size, place, &watch.listen_fd) != ZK_OK) ZK_LOG(WARN, "watch", "%s", zk_status_message());
}

static bool prepare(int rank, int size, const zk_watch_place *place) {
  const char *limit = getenv("ZK_WATCH_LIMIT_S");
  watch.rank = rank, watch.size = size, watch.num_peers = rank == 0 ? size - 1 : 1;
  watch.limit_s = limit && *limit ? atof(limit) : LIMIT_S;
  watch.mine = (zk_watch_frame){.token = place->token, .kind = ZK_WATCH_ALIVE, .rank = rank, .pid = (int32_t)getpid()};
  gethostname(watch.mine.host, sizeof watch.mine.host - 1);
  watch.peers = calloc((size_t)watch.num_peers, sizeof *watch.peers);
  for (int i = 0; watch.peers && i < watch.num_peers; i++) watch.peers[i].fd = -1;
  if (rank == 0 || !watch.peers) return watch.peers != NULL;
  peer *p = &watch.peers[0];
  if (zk_watch_link_connect(place, &watch.mine, &p->last, &p->fd) != ZK_OK) return false;
  p->heard_s = zk_clock_s();
  return true;
}

// Not watched: a link that is there already is no death.
static void stay_out(void) {
  if (watch.peers) say_farewell(ZK_WATCH_ENDS);
  if (watch.listen_fd >= 0) close(watch.listen_fd);
  watch.listen_fd = -1;
  free(watch.peers);
  watch.peers = NULL;
}

void zk_watch_join(int rank, int size, const zk_watch_place *place) {
  watch.rank = rank;
  if (size < 2 || !place->num_addresses) return;
  sigset_t all, before;
  bool ok = prepare(rank, size, place);
  struct pollfd *set = ok ? calloc((size_t)watch.num_peers + 1, sizeof *set) : NULL;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the main thread's
  watch.is_running = set && !pthread_create(&watch.thread, NULL, run, set);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (watch.is_running) return;
  free(set);
  stay_out();
  ZK_LOG(WARN, "watch", "%s: this rank is not watched; if it hangs, the job hangs with it", ok ? "no thread" : zk_status_message());
}

void zk_watch_leave(bool has_spoken) {
  if (!watch.is_running) return;
  atomic_store(&watch.is_leaving, 1);
  pthread_join(watch.thread, NULL);
  say_farewell(has_spoken ? ZK_WATCH_FAILED : ZK_WATCH_ENDS);
  if (watch.listen_fd >= 0) close(watch.listen_fd);
  free(watch.peers);
  watch.is_running = false;
}

void zk_watch_yield(void) {
  const double until_s = zk_clock_s() + YIELD_S + YIELD_RANK_S * (watch.rank < 40 ? watch.rank : 40);
  while (watch.is_running && (zk_clock_s() < until_s || atomic_load(&watch.is_ending))) nanosleep(&(struct timespec){0, 10000000L}, NULL);
}

void zk_watch_describe(char *text, size_t room) {
  const char *mine = atomic_load(&watch.waiting);
  char other[320] = "", way[512];
  text[0] = 0;
  if (!watch.is_running) return;
  pthread_mutex_lock(&watch.lock);
  for (int i = watch.num_peers - 1; i >= 0 && mine; i--) {
    const zk_watch_frame *f = &watch.peers[i].last;
    if (watch.peers[i].fd < 0 || !strncmp(f->waiting, mine, sizeof f->waiting - 1)) continue;
    snprintf(other, sizeof other, "; rank %d (pid %d on %s) is not in it: %s", f->rank, f->pid, f->host, doing(f));
  }
  way_on(way, sizeof way);
  snprintf(text, room, " while %s%s; %s", doing(&watch.mine), other, way);
  pthread_mutex_unlock(&watch.lock);
}

void zk_watch_doing(const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  pthread_mutex_lock(&watch.lock);
  vsnprintf(watch.mine.doing, sizeof watch.mine.doing, fmt, args);
  pthread_mutex_unlock(&watch.lock);
  va_end(args);
  atomic_store(&watch.has_news, 1);
}

void zk_watch_waiting(const char *operation) { atomic_store(&watch.waiting, operation); }

void zk_watch_checkpoint(const char *path) {
  pthread_mutex_lock(&watch.lock);
  snprintf(watch.mine.checkpoint, sizeof watch.mine.checkpoint, "%s", path);
  pthread_mutex_unlock(&watch.lock);
  atomic_store(&watch.has_news, 1);
}

int zk_watch_stop(int *rank) {
  int signal = atomic_load(&watch.stop_signal);
  *rank = signal ? atomic_load(&watch.stop_rank) : watch.rank;
  return signal ? signal : zk_stop_caught();
}
