// Device memory between workers: data moves, nothing is ever added on the way, so that any transport gives the same bits.
//
// Here blocks are staged through host memory and MPI: at most ZK_COMM_DEVICE_BLOCK bytes a direction, whatever is sent. A transport that
// reaches device memory itself takes the place of comm_device.c.
#ifndef ZK_SHARED_COMM_DEVICE_H
#define ZK_SHARED_COMM_DEVICE_H

#include "kernels/device.h"
#include "shared/comm.h"

#define ZK_COMM_DEVICE_BLOCK ((size_t)16 << 20)

typedef struct zk_comm_device zk_comm_device;

// Buffers of `device`, among the ranks of `comm`; both must outlive it. Not collective. NULL is fine to close.
zk_status zk_comm_device_open(zk_comm *comm, zk_device *device, zk_comm_device **out);
void zk_comm_device_close(zk_comm_device *link);
zk_comm *zk_comm_device_comm(const zk_comm_device *link);

// Rank r sends send_bytes[q] bytes at send + send_offsets[q] to rank q, itself too; receives into recv likewise. send and recv are device
// memory and do not overlap. Waits for `stream` first, and until all is there. All ranks fail alike. Collective.
zk_status zk_comm_device_all_to_all(zk_comm_device *link, zk_stream *stream, const void *send, const size_t *send_bytes, const size_t *send_offsets,
                                    void *recv, const size_t *recv_bytes, const size_t *recv_offsets);
// In place, device memory: every rank r holds shard [starts[r], starts[r + 1]) of an array of elements; afterwards all hold all. Collective.
zk_status zk_comm_device_all_gather_shards(zk_comm_device *link, zk_stream *stream, void *data, const int64_t *starts, size_t element_bytes);

#endif
