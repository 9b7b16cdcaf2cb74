// How long transfers took on the GPU, by its own events: nothing waits for them. Between files that exist only in a build with NCCL.
#ifndef ZK_SHARED_COMM_CLOCK_NCCL_H
#define ZK_SHARED_COMM_CLOCK_NCCL_H

#include <cuda_runtime.h>

#include "shared/comm_device.h"

// A pair of events a transfer, used again once their time has been taken.
typedef struct {
  struct zk_timed {
    cudaEvent_t begin, end;
    zk_comm_kind kind;
  } *timed;
  int num, made, capacity; // pairs in use; that have events; that there is room for
} zk_comm_clock;

void zk_comm_clock_close(zk_comm_clock *clock); // events only: what they are of may still run
// Around what is queued on `stream` for one transfer.
cudaError_t zk_comm_clock_begin(zk_comm_clock *clock, zk_comm_kind kind, cudaStream_t stream);
cudaError_t zk_comm_clock_end(zk_comm_clock *clock, cudaStream_t stream);
// Adds the seconds of all transfers so far, which are done, to traffic [ZK_NUM_COMM_KINDS].
cudaError_t zk_comm_clock_take(zk_comm_clock *clock, zk_comm_traffic *traffic);

#endif
