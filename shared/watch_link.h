// The sockets under shared/watch.h: rank 0 listens, every other rank has one TCP link to it, and frames of a fixed size go both ways.
#ifndef ZK_SHARED_WATCH_LINK_H
#define ZK_SHARED_WATCH_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

// Where rank 0 listens: plain bytes, for a broadcast. The token keeps strangers out.
typedef struct {
  uint64_t token;
  uint32_t addresses[15]; // IPv4, network order; this host's own first
  uint16_t num_addresses; // 0: nothing listens
  uint16_t port;          // network order
} zk_watch_place;

typedef enum { ZK_WATCH_ALIVE = 1, ZK_WATCH_ENDS, ZK_WATCH_FAILED } zk_watch_kind;

// What a rank tells of itself, and rank 0 of the job.
typedef struct {
  uint64_t token;
  int32_t kind, rank, pid;
  int32_t stop_signal, stop_rank; // a signal that asks the job to stop, and whom it reached; 0: none
  int32_t allowed_s;              // what its wait may take when all are in it
  int64_t num_waits;              // so far, the present one included
  char host[64], doing[96];
  char waiting[32];               // the collective it waits in; "": none
  char checkpoint[328];           // rank 0: the last good one; "": none
} zk_watch_frame;

// Opens a listening socket on all interfaces. ZK_COMM when there is none to be had; place->num_addresses is 0 then.
zk_status zk_watch_link_listen(int backlog, zk_watch_place *place, int *fd);
// Connects to `place`, says hello, and has rank 0's answer. ZK_COMM: no address answers with the token within seconds.
zk_status zk_watch_link_connect(const zk_watch_place *place, const zk_watch_frame *hello, zk_watch_frame *answer, int *fd);
// The next connection and its first frame; -1 for one that does not begin with a frame of this token.
int zk_watch_link_accept(int listen_fd, uint64_t token, zk_watch_frame *hello);
// The end of a frame of which the beginning alone found room: it goes before the next one. All zero at first.
typedef struct {
  zk_watch_frame frame;
  size_t left;
} zk_watch_rest;

// Sends without waiting: a frame that finds no room is skipped. False: the link is of no more use.
bool zk_watch_link_send(int fd, zk_watch_rest *rest, const zk_watch_frame *frame);
// The last frame of a link: sends it, and shuts this direction. Then zk_watch_link_drain, or what is unread here would tear the frame away from
// the other side.
void zk_watch_link_farewell(int fd, zk_watch_rest *rest, const zk_watch_frame *frame);
// Reads and forgets until the other side closes, or the moment `until_s` of zk_clock_s is there; closes.
void zk_watch_link_drain(int fd, double until_s);
// Takes what has come into `buffer`, which holds *used bytes of a frame. 1: the frame is whole; 0: not yet; -1: the other side is gone.
int zk_watch_link_receive(int fd, zk_watch_frame *buffer, size_t *used);

#endif
