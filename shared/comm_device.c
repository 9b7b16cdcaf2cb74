// Staging: down to the host, across by MPI, up to the device, a block at a time.
//
// A copy that fails on one rank must not leave the others waiting for it: it goes on exchanging, and all agree at the end.
#include "shared/comm_device.h"

#include <stdlib.h>

struct zk_comm_device {
  zk_comm *comm;
  zk_device *device;
  char *send, *recv;                                              // host [ZK_COMM_DEVICE_BLOCK], made at first use
  size_t *send_bytes, *send_offsets, *recv_bytes, *recv_offsets;  // of one round, [num_ranks] each
};

zk_status zk_comm_device_open(zk_comm *comm, zk_device *device, zk_comm_device **out) {
  const size_t size = (size_t)zk_comm_size(comm);
  zk_comm_device *l = calloc(1, sizeof *l);
  size_t *counts = calloc(4 * size, sizeof *counts);
  *out = l;
  if (!l || !counts) {
    free(counts);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the exchange among %zu workers", size);
  }
  *l = (zk_comm_device){.comm = comm, .device = device, .send_bytes = counts, .send_offsets = counts + size, .recv_bytes = counts + 2 * size,
                        .recv_offsets = counts + 3 * size};
  if (size == 1) return ZK_OK;
  l->send = malloc(ZK_COMM_DEVICE_BLOCK);
  l->recv = malloc(ZK_COMM_DEVICE_BLOCK);
  return l->send && l->recv ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to exchange device memory through");
}

void zk_comm_device_close(zk_comm_device *l) {
  if (!l) return;
  free(l->send);
  free(l->recv);
  free(l->send_bytes);
  free(l);
}

zk_comm *zk_comm_device_comm(const zk_comm_device *l) { return l->comm; }

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

// The first failure stays.
static void note(zk_status *first, zk_status next) {
  if (*first == ZK_OK) *first = next;
}

// Bytes [at, at + slice) of what goes to and comes from every other rank.
static zk_status run_round(zk_comm_device *l, zk_stream *stream, size_t at, size_t slice, const char *send, const size_t *send_bytes,
                           const size_t *send_offsets, char *recv, const size_t *recv_bytes, const size_t *recv_offsets, zk_status *local) {
  const int size = zk_comm_size(l->comm), rank = zk_comm_rank(l->comm);
  for (int r = 0; r < size; r++) {
    l->send_offsets[r] = l->recv_offsets[r] = (size_t)r * slice;
    l->send_bytes[r] = r == rank || send_bytes[r] <= at ? 0 : least(send_bytes[r] - at, slice);
    l->recv_bytes[r] = r == rank || recv_bytes[r] <= at ? 0 : least(recv_bytes[r] - at, slice);
    if (l->send_bytes[r])
      note(local, zk_copy_to_host(stream, l->send + l->send_offsets[r], send + send_offsets[r] + at, l->send_bytes[r]));
  }
  note(local, zk_stream_wait(stream));
  ZK_TRY(zk_comm_all_to_all(l->comm, l->send, l->send_bytes, l->send_offsets, l->recv, l->recv_bytes, l->recv_offsets));
  for (int r = 0; r < size; r++)
    if (l->recv_bytes[r])
      note(local, zk_copy_to_device(stream, recv + recv_offsets[r] + at, l->recv + l->recv_offsets[r], l->recv_bytes[r]));
  note(local, zk_stream_wait(stream));
  return ZK_OK;
}

zk_status zk_comm_device_all_to_all(zk_comm_device *l, zk_stream *stream, const void *send, const size_t *send_bytes, const size_t *send_offsets,
                                    void *recv, const size_t *recv_bytes, const size_t *recv_offsets) {
  const int size = zk_comm_size(l->comm), rank = zk_comm_rank(l->comm);
  const size_t slice = ZK_COMM_DEVICE_BLOCK / (size_t)size & ~(size_t)63;
  size_t most = 0; // between a pair both sides count the same rounds; the others have none in common beyond theirs
  for (int r = 0; r < size; r++) {
    if (r == rank) continue;
    if (send_bytes[r] > most) most = send_bytes[r];
    if (recv_bytes[r] > most) most = recv_bytes[r];
  }
  zk_status local = zk_copy_on_device(stream, (char *)recv + recv_offsets[rank], (const char *)send + send_offsets[rank], send_bytes[rank]);
  for (size_t at = 0; at < most; at += slice)
    ZK_TRY(run_round(l, stream, at, slice, send, send_bytes, send_offsets, recv, recv_bytes, recv_offsets, &local));
  note(&local, zk_stream_wait(stream));
  return zk_comm_agree(l->comm, local);
}

zk_status zk_comm_device_all_gather_shards(zk_comm_device *l, zk_stream *stream, void *data, const int64_t *starts, size_t element_bytes) {
  const int size = zk_comm_size(l->comm), rank = zk_comm_rank(l->comm);
  zk_status local = ZK_OK;
  for (int r = 0; r < size && size > 1; r++) {
    char *shard = (char *)data + (size_t)starts[r] * element_bytes;
    const size_t bytes = (size_t)(starts[r + 1] - starts[r]) * element_bytes;
    for (size_t at = 0; at < bytes; at += ZK_COMM_DEVICE_BLOCK) {
      const size_t n = least(bytes - at, ZK_COMM_DEVICE_BLOCK);
      if (r == rank) note(&local, zk_copy_to_host(stream, l->send, shard + at, n));
      if (r == rank) note(&local, zk_stream_wait(stream));
      ZK_TRY(zk_comm_broadcast(l->comm, r, l->send, n));
      if (r != rank) note(&local, zk_copy_to_device(stream, shard + at, l->send, n));
      if (r != rank) note(&local, zk_stream_wait(stream));
    }
  }
  return zk_comm_agree(l->comm, local);
}
