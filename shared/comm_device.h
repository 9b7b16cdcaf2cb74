// Device memory between workers: data moves, nothing is ever added on the way, so that any transport gives the same bits.
//
// Where each worker has a GPU of its own, NCCL moves it from GPU to GPU: point-to-point transfers and gathers, on a stream of the link's own, while
// the workers compute. Nobody waits for a transfer before all have queued theirs: MPI brings the workers together then (zk_comm_device_finish), and
// when they do not end within ZK_COMM_SECONDS from there, and the time that their bytes take at ZK_COMM_LEAST_BYTES_PER_S, a worker or the network is gone. NCCL's failures
// come with its own words, the rank and the operation, and end the job (zk_comm_lost), unless the watch names a lost worker first.
// Elsewhere (CPUs, workers that share a GPU) blocks are staged through host memory and MPI.
#ifndef ZK_SHARED_COMM_DEVICE_H
#define ZK_SHARED_COMM_DEVICE_H

#include "kernels/device.h"
#include "shared/comm.h"

#define ZK_COMM_SLOTS 2    // exchanges under way
#define ZK_COMM_SECONDS 30 // that transfers may take once all workers are at them, besides
#define ZK_COMM_LEAST_BYTES_PER_S 1e8 // what a slow network brings to a worker

typedef struct zk_comm_device zk_comm_device;

// Buffers of `device`, among the ranks of `comm`; both must outlive it. Not collective. NULL is fine to close, after all work on it is done.
zk_status zk_comm_device_open(zk_comm *comm, zk_device *device, zk_comm_device **out);
void zk_comm_device_close(zk_comm_device *link);
// Seconds that calls of this link have waited for other workers so far: none where exchanges go on by themselves.
double zk_comm_device_waited_s(const zk_comm_device *link);
zk_comm *zk_comm_device_comm(const zk_comm_device *link);
// Agrees on the transport and starts it, once: what follows calls it by itself. ZK_UNSUPPORTED when the workers have a GPU each
// and this build has no NCCL. All ranks fail alike, or the job ends. Collective.
zk_status zk_comm_device_connect(zk_comm_device *link);

// `bytes` bytes of device memory that go to, or come from, rank `peer`, which is another.
typedef struct {
  int peer;
  void *data;
  size_t bytes;
} zk_transfer;

// The link's next exchange begins after what is queued on `stream` now.
zk_status zk_comm_device_follow(zk_comm_device *link, zk_stream *stream);
// Queues an all-to-all: it begins when what is queued on `stream` now is done. Between two ranks, the n-th of one's sends to the other meets the n-th of the
// other's receives, of as many bytes; none is empty. Sent memory stays as it is and received memory unread until zk_comm_device_join of the same
// slot, which comes before the slot's next exchange. A rank that has failed by itself still takes part, with whatever it has, in all exchanges that the others
// may be at, and tells zk_comm_device_finish. Through host memory it waits for the others. Collective.
zk_status zk_comm_device_exchange(zk_comm_device *link, zk_stream *stream, int slot, const zk_transfer *sends, int num_sends,
                                  const zk_transfer *recvs, int num_recvs);
// What is queued on `stream` from now on begins after the slot's exchange is done.
zk_status zk_comm_device_join(zk_comm_device *link, zk_stream *stream, int slot);
// Queues a gather in place, in device memory: every rank r holds shard [starts[r], starts[r + 1]) of an array of elements; afterwards all hold all. It begins
// when what is queued on `stream` now is done. `local`: what failed here before, if anything; nothing is moved if any rank has failed, and all ranks
// get the failure of the lowest that has one. Collective.
zk_status zk_comm_device_all_gather_shards(zk_comm_device *link, zk_stream *stream, void *data, const int64_t *starts, size_t element_bytes,
                                           zk_status local);
// Until all that the link has queued is done, on every rank, and what is queued on `stream`. `local` as above; ranks meet first, so that from then on
// every transfer ends soon or never. Collective.
zk_status zk_comm_device_finish(zk_comm_device *link, zk_stream *stream, zk_status local);

// What a rank has received, and the time that its transfers took from when they could begin, waiting for other ranks' data included.
typedef struct {
  uint64_t bytes;
  double seconds;
} zk_comm_traffic;
typedef enum { ZK_COMM_ALL_TO_ALL, ZK_COMM_ALL_GATHER, ZK_NUM_COMM_KINDS } zk_comm_kind;
// Since it was last asked, of transfers that zk_comm_device_finish has seen: out [ZK_NUM_COMM_KINDS].
void zk_comm_device_take_traffic(zk_comm_device *link, zk_comm_traffic *out);

#endif
