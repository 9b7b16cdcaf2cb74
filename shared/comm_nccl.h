// NCCL's errors as zerokl's, and its handle, for what else calls it (trainer/bench_workers_nccl.c). Between files that exist only in a build with NCCL.
#ifndef ZK_SHARED_COMM_NCCL_H
#define ZK_SHARED_COMM_NCCL_H

#include <nccl.h>

#include "shared/comm_device.h"

// NULL where a link is not connected, or not by NCCL.
ncclComm_t zk_comm_nccl_handle(const zk_comm_device *link);
// What a call returned: ZK_OK once NCCL has done with it, having waited for that; ZK_COMM with NCCL's words and `what` otherwise.
zk_status zk_comm_nccl_settle(const zk_comm_device *link, ncclResult_t result, const char *what);

#endif
