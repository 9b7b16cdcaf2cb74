// Which transport the workers have, and what all transports have in common: a failure here ends the job, or becomes everyone's.
#include "shared/comm_device.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "shared/comm_transport.h"
#include "shared/log.h"

zk_status zk_comm_device_open(zk_comm *comm, zk_device *device, zk_comm_device **out) {
  *out = calloc(1, sizeof **out);
  if (!*out) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the exchange among workers");
  **out = (zk_comm_device){.comm = comm, .device = device};
  return ZK_OK;
}

void zk_comm_device_close(zk_comm_device *l) {
  if (!l) return;
  if (l->transport) l->transport->close(l);
  free(l);
}

zk_comm *zk_comm_device_comm(const zk_comm_device *l) { return l->comm; }
double zk_comm_device_waited_s(const zk_comm_device *l) { return l->waited_s; }

// Whether no two workers have the same GPU, and each has one.
static zk_status have_own_gpus(const zk_comm_device *l, bool *out) {
  const uint64_t mine = zk_device_id(l->device);
  const int size = zk_comm_size(l->comm);
  void *gathered;
  ZK_TRY(zk_comm_all_gather(l->comm, &mine, sizeof mine, &gathered, NULL));
  const uint64_t *ids = gathered;
  *out = size > 1;
  for (int r = 0; r < size; r++) {
    if (ids[r] == 0) *out = false;
    for (int q = 0; q < r; q++)
      if (ids[q] == ids[r]) *out = false;
  }
  free(gathered);
  return ZK_OK;
}

static zk_status choose(const zk_comm_device *l, const zk_transport **out) {
  bool own_gpus = false;
  *out = &zk_transport_host;
  ZK_TRY(have_own_gpus(l, &own_gpus));
  if (!own_gpus) return ZK_OK;
#ifdef ZK_WITH_NCCL
  *out = &zk_transport_nccl;
  return ZK_OK;
#else
  return ZK_FAIL(ZK_UNSUPPORTED, "%d workers with a GPU each, and this build has no NCCL: build with libnccl-dev installed, start one worker, or set device: cpu",
                 zk_comm_size(l->comm));
#endif
}

// Other ranks may wait for this one: a failure here is the job's end.
static zk_status settle(const zk_comm_device *l, zk_status st, const char *what) {
  if (st == ZK_OK) return ZK_OK;
  const int rank = zk_comm_rank(l->comm), size = zk_comm_size(l->comm);
  if (size > 1) zk_comm_lost(l->comm, zk_status_context(st, "rank %d of %d: %s", rank, size, what));
  return st;
}

zk_status zk_comm_device_connect(zk_comm_device *l) {
  if (l->transport) return ZK_OK;
  const zk_transport *transport = NULL;
  ZK_TRY(zk_comm_agree(l->comm, choose(l, &transport)));
  l->transport = transport;
  ZK_TRY(settle(l, transport->open(l), "starting the workers' exchange"));
  if (zk_comm_size(l->comm) > 1) ZK_LOG(INFO, "comm", "%d workers exchange device memory by %s", zk_comm_size(l->comm), transport->name);
  return ZK_OK;
}

zk_status zk_comm_device_follow(zk_comm_device *l, zk_stream *stream) {
  ZK_TRY(zk_comm_device_connect(l));
  return settle(l, l->transport->follow(l, stream), "all-to-all");
}

zk_status zk_comm_device_exchange(zk_comm_device *l, zk_stream *stream, int slot, const zk_transfer *sends, int num_sends,
                                  const zk_transfer *recvs, int num_recvs) {
  ZK_TRY(zk_comm_device_connect(l));
  for (int i = 0; i < num_recvs; i++) l->traffic[ZK_COMM_ALL_TO_ALL].bytes += recvs[i].bytes;
  return settle(l, l->transport->exchange(l, stream, slot, sends, num_sends, recvs, num_recvs), "all-to-all");
}

zk_status zk_comm_device_join(zk_comm_device *l, zk_stream *stream, int slot) {
  return settle(l, l->transport->join(l, stream, slot), "all-to-all");
}

zk_status zk_comm_device_all_gather_shards(zk_comm_device *l, zk_stream *stream, void *data, const int64_t *starts, size_t element_bytes,
                                           zk_status local) {
  const int size = zk_comm_size(l->comm), rank = zk_comm_rank(l->comm);
  ZK_TRY(zk_comm_agree(l->comm, local));
  if (size == 1) return ZK_OK;
  ZK_TRY(zk_comm_device_connect(l));
  l->traffic[ZK_COMM_ALL_GATHER].bytes += (uint64_t)(starts[size] - starts[0] - (starts[rank + 1] - starts[rank])) * element_bytes;
  return settle(l, l->transport->all_gather(l, stream, data, starts, element_bytes), "all-gather");
}

zk_status zk_comm_device_finish(zk_comm_device *l, zk_stream *stream, zk_status local) {
  ZK_TRY(zk_comm_device_connect(l));
  ZK_TRY(zk_comm_agree(l->comm, local));
  ZK_TRY(settle(l, l->transport->finish(l, stream, &local), "exchange"));
  return zk_comm_agree(l->comm, local);
}

void zk_comm_device_take_traffic(zk_comm_device *l, zk_comm_traffic *out) {
  memcpy(out, l->traffic, sizeof l->traffic);
  memset(l->traffic, 0, sizeof l->traffic);
}
