// One thread a rank: hears the others, tells of itself, and ends the job when one is lost.
#define _GNU_SOURCE // pthread_setname_np
#include "shared/watch.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stop.h"
#include "shared/watch_impl.h"

enum { TICK_MS = 100, LIMIT_S = 30, JOIN_S = 30 }; // LIMIT_S: of silence, and of waits that nobody is left to end

zk_watch_state zk_watch = {.listen_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

// ---- the thread -------------------------------------------------------------------------------------------------------

static void merge_stop(int signal, int rank) {
  int none = 0;
  if (!signal || atomic_load(&zk_watch.stop_signal)) return;
  atomic_store(&zk_watch.stop_rank, rank);
  if (atomic_compare_exchange_strong(&zk_watch.stop_signal, &none, signal)) atomic_store(&zk_watch.has_news, 1);
}

static void take(zk_watch_peer *p) {
  const zk_watch_frame *f = &p->next;
  if (f->token != zk_watch.mine.token) zk_watch_lose(p, "sends what no rank says: its link is torn,"); // whatever it says from here on is lost
  if (p->last.num_waits != f->num_waits || !p->last.waiting[0] != !f->waiting[0]) p->moved_s = zk_clock_s();
  pthread_mutex_lock(&zk_watch.lock);
  p->last = *f;
  p->last.doing[sizeof f->doing - 1] = p->last.host[sizeof f->host - 1] = p->last.checkpoint[sizeof f->checkpoint - 1] = 0;
  p->last.waiting[sizeof f->waiting - 1] = 0;
  pthread_mutex_unlock(&zk_watch.lock);
  merge_stop(f->stop_signal, f->stop_rank);
  if (f->kind == ZK_WATCH_ENDS) p->has_ended = true;
  if (f->kind != ZK_WATCH_FAILED) return;
  close(p->fd);
  p->fd = -1;
  zk_watch_end_quietly();
}

static void hear(zk_watch_peer *p, double now) {
  for (int got = 1; got > 0 && p->fd >= 0;) {
    size_t before = p->used;
    got = zk_watch_link_receive(p->fd, &p->next, &p->used);
    if (got > 0 || p->used != before) p->heard_s = now;
    if (got > 0) take(p);
    if (got >= 0) continue;
    close(p->fd);
    p->fd = -1;
    if (!p->has_ended && !atomic_load(&zk_watch.is_leaving)) zk_watch_lose(p, "died");
  }
}

static void tell(double now, double *told_s) {
  if (now - *told_s < 1 && !atomic_exchange(&zk_watch.has_news, 0)) return;
  *told_s = now;
  pthread_mutex_lock(&zk_watch.lock);
  zk_watch.mine.stop_signal = atomic_load(&zk_watch.stop_signal), zk_watch.mine.stop_rank = atomic_load(&zk_watch.stop_rank);
  const char *waiting = atomic_load(&zk_watch.waiting);
  snprintf(zk_watch.mine.waiting, sizeof zk_watch.mine.waiting, "%s", waiting ? waiting : "");
  const int64_t num_waits = atomic_load(&zk_watch.num_waits);
  if (num_waits != zk_watch.mine.num_waits || !waiting) zk_watch.moved_s = now;
  zk_watch.mine.num_waits = num_waits, zk_watch.mine.allowed_s = atomic_load(&zk_watch.allowed_s);
  for (int i = 0; i < zk_watch.num_peers; i++)
    if (zk_watch.peers[i].fd >= 0) (void)zk_watch_link_send(zk_watch.peers[i].fd, &zk_watch.peers[i].rest, &zk_watch.mine);
  pthread_mutex_unlock(&zk_watch.lock);
}

static void welcome(int *num_joined, double now) {
  zk_watch_frame hello;
  int fd = zk_watch_link_accept(zk_watch.listen_fd, zk_watch.mine.token, &hello);
  if (fd < 0) return;
  if (hello.rank < 1 || hello.rank >= zk_watch.size || zk_watch.peers[hello.rank - 1].fd >= 0) {
    close(fd);
    return;
  }
  zk_watch_peer *p = &zk_watch.peers[hello.rank - 1];
  p->fd = fd, p->heard_s = now, p->next = hello;
  take(p);
  pthread_mutex_lock(&zk_watch.lock);
  (void)zk_watch_link_send(fd, &p->rest, &zk_watch.mine);
  pthread_mutex_unlock(&zk_watch.lock);
  if (++*num_joined < zk_watch.size - 1) return;
  close(zk_watch.listen_fd);
  zk_watch.listen_fd = -1;
}

static void check_silence(double now, double since_s) {
  char what[64];
  for (int i = 0; i < zk_watch.num_peers && zk_watch.limit_s > 0; i++) {
    zk_watch_peer *p = &zk_watch.peers[i];
    if (p->fd < 0 || p->has_ended || now - p->heard_s < zk_watch.limit_s) continue;
    snprintf(what, sizeof what, "has not answered for %.0f s", now - p->heard_s);
    zk_watch_lose(p, what);
  }
  if (zk_watch.listen_fd < 0 || now - since_s < JOIN_S) return;
  ZK_LOG(WARN, "watch", "some rank has not reached rank %d over TCP in %d s: if it hangs, the job hangs with it", zk_watch.rank, JOIN_S);
  close(zk_watch.listen_fd);
  zk_watch.listen_fd = -1;
}

// All ranks wait, each where it was, and longer than the slowest of the waits may take.
static void check_waits(double now) {
  double since_s = zk_watch.moved_s;
  int32_t allowed_s = zk_watch.mine.allowed_s;
  if (zk_watch.rank != 0 || zk_watch.limit_s <= 0 || !zk_watch.mine.waiting[0]) return;
  for (int i = 0; i < zk_watch.num_peers; i++) {
    const zk_watch_peer *p = &zk_watch.peers[i];
    if (p->fd < 0 || !p->last.waiting[0]) return;
    if (p->moved_s > since_s) since_s = p->moved_s;
    if (p->last.allowed_s > allowed_s) allowed_s = p->last.allowed_s;
  }
  if (now - since_s > zk_watch.limit_s + allowed_s) zk_watch_stand_still(now - since_s);
}

static void *run(void *arg) {
  struct pollfd *set = arg;
  (void)pthread_setname_np(pthread_self(), "watch"); // for /proc and debuggers
  const double since_s = zk_clock_s();
  double told_s = 0, last_s = since_s;
  zk_watch_device_begin();
  for (int num_joined = 0; !atomic_load(&zk_watch.is_leaving);) {
    for (int i = 0; i < zk_watch.num_peers; i++) set[i] = (struct pollfd){.fd = zk_watch.peers[i].fd, .events = POLLIN};
    set[zk_watch.num_peers] = (struct pollfd){.fd = zk_watch.listen_fd, .events = POLLIN};
    (void)poll(set, (nfds_t)zk_watch.num_peers + 1, TICK_MS);
    double now = zk_clock_s();
    if (now - last_s > 3) // it was this rank that was stopped, perhaps with all the others: everyone gets the whole time again
      for (int i = 0; i < zk_watch.num_peers; i++) zk_watch.peers[i].heard_s = zk_watch.peers[i].moved_s = now;
    last_s = now;
    if (zk_watch.listen_fd >= 0 && set[zk_watch.num_peers].revents) welcome(&num_joined, now);
    for (int i = 0; i < zk_watch.num_peers; i++)
      if (set[i].revents && zk_watch.peers[i].fd >= 0) hear(&zk_watch.peers[i], now);
    merge_stop(zk_stop_caught(), zk_watch.rank);
    tell(now, &told_s);
    zk_watch_device_look(now);
    check_silence(now, since_s);
    check_waits(now);
  }
  free(set);
  return NULL;
}

// ---- joining and leaving ----------------------------------------------------------------------------------------------

void zk_watch_listen(int size, zk_watch_place *place) {
  memset(place, 0, sizeof *place);
  if (size > 1 && zk_watch_link_listen(size, place, &zk_watch.listen_fd) != ZK_OK) ZK_LOG(WARN, "watch", "%s", zk_status_message());
}

static bool prepare(int rank, int size, const zk_watch_place *place) {
  const char *limit = getenv("ZK_WATCH_LIMIT_S");
  zk_watch.rank = rank, zk_watch.size = size, zk_watch.num_peers = rank == 0 ? size - 1 : 1;
  zk_watch.limit_s = limit && *limit ? atof(limit) : LIMIT_S;
  zk_watch.mine = (zk_watch_frame){.token = place->token, .kind = ZK_WATCH_ALIVE, .rank = rank, .pid = (int32_t)getpid()};
  gethostname(zk_watch.mine.host, sizeof zk_watch.mine.host - 1);
  zk_watch.peers = calloc((size_t)zk_watch.num_peers, sizeof *zk_watch.peers);
  for (int i = 0; zk_watch.peers && i < zk_watch.num_peers; i++) zk_watch.peers[i].fd = -1;
  if (rank == 0 || !zk_watch.peers) return zk_watch.peers != NULL;
  zk_watch_peer *p = &zk_watch.peers[0];
  if (zk_watch_link_connect(place, &zk_watch.mine, &p->last, &p->fd) != ZK_OK) return false;
  p->heard_s = zk_clock_s();
  return true;
}

// Not watched: a link that is there already is no death.
static void stay_out(void) {
  if (zk_watch.peers) zk_watch_say_farewell(ZK_WATCH_ENDS);
  if (zk_watch.listen_fd >= 0) close(zk_watch.listen_fd);
  zk_watch.listen_fd = -1;
  free(zk_watch.peers);
  zk_watch.peers = NULL;
}

void zk_watch_join(int rank, int size, const zk_watch_place *place) {
  zk_watch.rank = rank;
  if (size < 2) zk_watch_device_alone();
  if (size < 2 || !place->num_addresses) return;
  sigset_t all, before;
  bool ok = prepare(rank, size, place);
  struct pollfd *set = ok ? calloc((size_t)zk_watch.num_peers + 1, sizeof *set) : NULL;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the main thread's
  zk_watch.is_running = set && !pthread_create(&zk_watch.thread, NULL, run, set);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (zk_watch.is_running) return;
  free(set);
  stay_out();
  ZK_LOG(WARN, "watch", "%s: this rank is not watched; if it hangs, the job hangs with it", ok ? "no thread" : zk_status_message());
}

void zk_watch_leave(bool has_spoken) {
  zk_watch_device_leave();
  if (!zk_watch.is_running) return;
  atomic_store(&zk_watch.is_leaving, 1);
  pthread_join(zk_watch.thread, NULL);
  zk_watch_say_farewell(has_spoken ? ZK_WATCH_FAILED : ZK_WATCH_ENDS);
  if (zk_watch.listen_fd >= 0) close(zk_watch.listen_fd);
  free(zk_watch.peers);
  zk_watch.is_running = false;
}

void zk_watch_doing(const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  pthread_mutex_lock(&zk_watch.lock);
  vsnprintf(zk_watch.mine.doing, sizeof zk_watch.mine.doing, fmt, args);
  pthread_mutex_unlock(&zk_watch.lock);
  va_end(args);
  atomic_store(&zk_watch.has_news, 1);
}

void zk_watch_waiting(const char *operation, double seconds) {
  atomic_store(&zk_watch.allowed_s, (int)seconds);
  if (operation) atomic_fetch_add(&zk_watch.num_waits, 1);
  atomic_store(&zk_watch.waiting, operation);
}

void zk_watch_checkpoint(const char *path) {
  pthread_mutex_lock(&zk_watch.lock);
  snprintf(zk_watch.mine.checkpoint, sizeof zk_watch.mine.checkpoint, "%s", path);
  pthread_mutex_unlock(&zk_watch.lock);
  atomic_store(&zk_watch.has_news, 1);
}

int zk_watch_stop(int *rank) {
  int signal = atomic_load(&zk_watch.stop_signal);
  *rank = signal ? atomic_load(&zk_watch.stop_rank) : zk_watch.rank;
  return signal ? signal : zk_stop_caught();
}
