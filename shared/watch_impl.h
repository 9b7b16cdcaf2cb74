// What the files of the watch have in common. Between shared/watch.c and shared/watch_words.c.
#ifndef ZK_SHARED_WATCH_IMPL_H
#define ZK_SHARED_WATCH_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "shared/watch.h"

typedef struct {
  int fd; // -1: not there yet, or gone
  bool has_ended;
  double heard_s;
  size_t used;
  zk_watch_frame last, next; // the last whole frame, and the one that is coming in
  zk_watch_rest rest;        // of what goes there
  double moved_s;            // since when it is where it is: in the same wait, or in none
} zk_watch_peer;

typedef struct {
  bool is_running;
  int rank, size, num_peers, listen_fd; // peers: rank 0 has all others, at [rank - 1]; others have rank 0, at [0]
  double limit_s;
  zk_watch_peer *peers;
  pthread_t thread;
  pthread_mutex_t lock; // of `mine`, and of what peers last said
  zk_watch_frame mine;
  _Atomic(const char *) waiting;
  atomic_llong num_waits;
  double moved_s; // as a peer's
  atomic_int allowed_s, stop_signal, stop_rank, is_leaving, is_ending, has_news;
} zk_watch_state;

extern zk_watch_state zk_watch; // of this process

// A last word to everyone: ZK_WATCH_ENDS or ZK_WATCH_FAILED.
void zk_watch_say_farewell(zk_watch_kind kind);
// Rank 0 speaks of others, rank 1 of rank 0; the rest wait for that, and leave without a word when nobody ended them. Does not return.
_Noreturn void zk_watch_lose(const zk_watch_peer *peer, const char *what);
// Rank 0: all ranks wait, and none has moved for so many seconds. Does not return.
_Noreturn void zk_watch_stand_still(double seconds);
// watch_device.c: looks at what the device does, by the thread of the watch at each turn (begin first), or by a thread of its own in a job of one rank.
void zk_watch_device_begin(void);
void zk_watch_device_look(double now);
void zk_watch_device_alone(void);
void zk_watch_device_leave(void);
// This rank's device has not answered for so many seconds. Does not return.
_Noreturn void zk_watch_device_stands(double seconds, const char *what);
// Another rank has spoken: tells those that do not know, and waits for the launcher. Does not return.
_Noreturn void zk_watch_end_quietly(void);

#endif
