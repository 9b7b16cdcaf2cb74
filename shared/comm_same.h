// What must be the same on every rank, compared before anything runs; the odd one out is named.
#ifndef ZK_SHARED_COMM_SAME_H
#define ZK_SHARED_COMM_SAME_H

#include "kernels/device.h"
#include "shared/comm.h"
#include "shared/config.h"

// Compares texts of one line. ZK_BAD_INPUT on all ranks when they differ: the first rank that does not have what most have, its host, its text,
// and what most have; of two equal halves rank 0's is the rule. `mend` says what to do. Collective.
zk_status zk_comm_require_same(zk_comm *comm, const char *what, const char *text, const char *mend);
// The same of hashes.
zk_status zk_comm_require_same_hash(zk_comm *comm, const char *what, uint64_t hash, const char *mend);
// Version, commit and contract, and whether faults are compiled in: builds that differ may exchange other things. Collective.
zk_status zk_comm_require_same_build(zk_comm *comm);
// Every key of the resolved config, schedule too: ranks of other schedules would wait for each other. Names the first key that differs. Collective.
zk_status zk_comm_require_same_config(zk_comm *comm, const zk_config *config);
// "cpu", or the GPU's name. Collective.
zk_status zk_comm_require_same_device(zk_comm *comm, const zk_device *device);

#endif
