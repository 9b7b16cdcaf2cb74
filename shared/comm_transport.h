// What a way of moving device memory between workers supplies to comm_device.c. Between the files shared/comm_*.c.
#ifndef ZK_SHARED_COMM_TRANSPORT_H
#define ZK_SHARED_COMM_TRANSPORT_H

#include "shared/comm_device.h"

// A function that fails may have left the other workers waiting: the caller ends the job (zk_comm_lost). A failure that the others need
// not notice is kept instead, and told by `finish`.
typedef struct {
  const char *name;
  zk_status (*open)(zk_comm_device *link); // fills link->state; collective
  void (*close)(zk_comm_device *link);
  zk_status (*follow)(zk_comm_device *link, zk_stream *stream);
  zk_status (*exchange)(zk_comm_device *link, zk_stream *stream, int slot, const zk_transfer *sends, int num_sends, const zk_transfer *recvs,
                        int num_recvs);
  zk_status (*join)(zk_comm_device *link, zk_stream *stream, int slot);
  zk_status (*all_gather)(zk_comm_device *link, zk_stream *stream, char *data, const int64_t *starts, size_t element_bytes);
  zk_status (*finish)(zk_comm_device *link, zk_stream *stream, zk_status *local); // adds to link->traffic's seconds
} zk_transport;

struct zk_comm_device {
  zk_comm *comm;
  zk_device *device;
  const zk_transport *transport; // NULL until connected
  void *state;                   // the transport's own
  double waited_s;               // in calls, for other workers
  zk_comm_traffic traffic[ZK_NUM_COMM_KINDS]; // the bytes as they are queued, the seconds when they are known
};

extern const zk_transport zk_transport_host; // through host memory and MPI: anywhere
#ifdef ZK_WITH_NCCL
extern const zk_transport zk_transport_nccl; // a GPU for each worker
#endif

#endif
