// Through host memory: down from the device, across by MPI, up to the device, a block at a time. An exchange is done when its call returns.
//
// A copy that fails on one rank must not leave the others waiting for it: it goes on exchanging, and all agree at the end.
#include <stdbool.h>
#include <stdlib.h>

#include "shared/clock.h"
#include "shared/comm_transport.h"

#define BLOCK_BYTES ((size_t)16 << 20) // a direction

typedef struct {
  char *send, *recv;                                             // host [BLOCK_BYTES]
  size_t *send_bytes, *send_offsets, *recv_bytes, *recv_offsets; // of one round, [num_ranks] each
  zk_status local;                                               // the first copy that failed
} host_state;

static void host_close(zk_comm_device *l) {
  host_state *s = l->state;
  if (!s) return;
  free(s->send);
  free(s->recv);
  free(s->send_bytes);
  free(s);
}

static zk_status host_make(zk_comm_device *l) {
  const size_t size = (size_t)zk_comm_size(l->comm);
  host_state *s = l->state = calloc(1, sizeof *s);
  if (!s) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the exchange among %zu workers", size);
  s->send_bytes = calloc(4 * size, sizeof *s->send_bytes);
  if (!s->send_bytes) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the exchange among %zu workers", size);
  s->send_offsets = s->send_bytes + size, s->recv_bytes = s->send_bytes + 2 * size, s->recv_offsets = s->send_bytes + 3 * size;
  if (size == 1) return ZK_OK;
  s->send = malloc(BLOCK_BYTES);
  s->recv = malloc(BLOCK_BYTES);
  return s->send && s->recv ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to exchange device memory through");
}

static zk_status host_open(zk_comm_device *l) { return zk_comm_agree(l->comm, host_make(l)); }

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

// The first failure stays.
static void note(zk_status *first, zk_status next) {
  if (*first == ZK_OK) *first = next;
}

static size_t total_bytes(const zk_transfer *list, int num, int peer) {
  size_t total = 0;
  for (int i = 0; i < num; i++) total += list[i].peer == peer ? list[i].bytes : 0;
  return total;
}

// Between `host` and bytes [at, at + n) of what the list has for a peer, one transfer after the other.
static zk_status copy_part(zk_stream *stream, const zk_transfer *list, int num, int peer, size_t at, size_t n, char *host, bool to_host) {
  for (int i = 0; i < num && n > 0; i++) {
    if (list[i].peer != peer) continue;
    if (at >= list[i].bytes) {
      at -= list[i].bytes;
      continue;
    }
    const size_t part = least(n, list[i].bytes - at);
    char *device = (char *)list[i].data + at;
    ZK_TRY(to_host ? zk_copy_to_host(stream, host, device, part) : zk_copy_to_device(stream, device, host, part));
    host += part, n -= part, at = 0;
  }
  return ZK_OK;
}

// Bytes [at, at + slice) of what goes to and comes from every other rank.
static zk_status run_round(zk_comm_device *l, zk_stream *stream, size_t at, size_t slice, const zk_transfer *sends, int num_sends,
                           const zk_transfer *recvs, int num_recvs) {
  host_state *s = l->state;
  const int size = zk_comm_size(l->comm);
  for (int r = 0; r < size; r++) {
    const size_t send = total_bytes(sends, num_sends, r), recv = total_bytes(recvs, num_recvs, r);
    s->send_offsets[r] = s->recv_offsets[r] = (size_t)r * slice;
    s->send_bytes[r] = send <= at ? 0 : least(send - at, slice);
    s->recv_bytes[r] = recv <= at ? 0 : least(recv - at, slice);
    note(&s->local, copy_part(stream, sends, num_sends, r, at, s->send_bytes[r], s->send + s->send_offsets[r], true));
  }
  note(&s->local, zk_stream_wait(stream));
  const double begin = zk_clock_s();
  ZK_TRY(zk_comm_all_to_all(l->comm, s->send, s->send_bytes, s->send_offsets, s->recv, s->recv_bytes, s->recv_offsets));
  l->waited_s += zk_clock_s() - begin;
  for (int r = 0; r < size; r++)
    note(&s->local, copy_part(stream, recvs, num_recvs, r, at, s->recv_bytes[r], s->recv + s->recv_offsets[r], false));
  note(&s->local, zk_stream_wait(stream));
  return ZK_OK;
}

static zk_status host_exchange(zk_comm_device *l, zk_stream *stream, int slot, const zk_transfer *sends, int num_sends, const zk_transfer *recvs,
                               int num_recvs) {
  const int size = zk_comm_size(l->comm);
  const size_t slice = BLOCK_BYTES / (size_t)size & ~(size_t)63;
  size_t most = 0; // between a pair both sides count the same rounds; the others have none in common beyond theirs
  for (int r = 0; r < size; r++) {
    const size_t send = total_bytes(sends, num_sends, r), recv = total_bytes(recvs, num_recvs, r);
    if (send > most) most = send;
    if (recv > most) most = recv;
  }
  const double begin = zk_clock_s();
  for (size_t at = 0; at < most; at += slice) ZK_TRY(run_round(l, stream, at, slice, sends, num_sends, recvs, num_recvs));
  l->traffic[ZK_COMM_ALL_TO_ALL].seconds += zk_clock_s() - begin;
  return ZK_OK;
}

static zk_status host_follow(zk_comm_device *l, zk_stream *stream) {
  host_state *s = l->state;
  note(&s->local, zk_stream_wait(stream));
  return ZK_OK;
}

static zk_status host_join(zk_comm_device *l, zk_stream *stream, int slot) { return ZK_OK; }

static zk_status host_all_gather(zk_comm_device *l, zk_stream *stream, char *data, const int64_t *starts, size_t element_bytes) {
  host_state *s = l->state;
  const int size = zk_comm_size(l->comm), rank = zk_comm_rank(l->comm);
  const double begin = zk_clock_s();
  for (int r = 0; r < size; r++) {
    char *shard = data + (size_t)starts[r] * element_bytes;
    const size_t bytes = (size_t)(starts[r + 1] - starts[r]) * element_bytes;
    for (size_t at = 0; at < bytes; at += BLOCK_BYTES) {
      const size_t n = least(bytes - at, BLOCK_BYTES);
      if (r == rank) note(&s->local, zk_copy_to_host(stream, s->send, shard + at, n));
      if (r == rank) note(&s->local, zk_stream_wait(stream));
      ZK_TRY(zk_comm_broadcast(l->comm, r, s->send, n));
      if (r != rank) note(&s->local, zk_copy_to_device(stream, shard + at, s->send, n));
      if (r != rank) note(&s->local, zk_stream_wait(stream));
    }
  }
  l->traffic[ZK_COMM_ALL_GATHER].seconds += zk_clock_s() - begin;
  return ZK_OK;
}

static zk_status host_finish(zk_comm_device *l, zk_stream *stream, zk_status *local) {
  host_state *s = l->state;
  note(local, s->local);
  note(local, zk_stream_wait(stream));
  s->local = ZK_OK;
  return ZK_OK;
}

const zk_transport zk_transport_host = {"MPI, through host memory", host_open, host_close, host_follow, host_exchange, host_join, host_all_gather, host_finish};
