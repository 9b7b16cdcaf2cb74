// Workers: one MPI process per device or CPU share. Without mpirun there is one rank and MPI is never started.
//
// The layer offers all-to-all, all-gather, broadcast, gather and INTEGER reductions, and no floating-point reduction at all: sums of
// floats are made locally in a written order (trainer/leaf_tree.h). All memory here is the host's; shared/comm_device.h moves device memory. A rank that
// waits longer than its exchange takes sleeps instead of spinning, so that ranks that share cores do not starve each other. Every function marked
// collective must be called by all ranks in the same order.
#ifndef ZK_SHARED_COMM_H
#define ZK_SHARED_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

typedef struct zk_comm zk_comm;

// Starts MPI when the process was launched by mpirun (or srun with PMI), else makes a world of one. Collective.
zk_status zk_comm_open(zk_comm **out);
void zk_comm_close(zk_comm *comm); // collective
// The process's one communicator, opened at first use, among workers of the same build; main closes it through zk_comm_leave. Collective.
zk_status zk_comm_world(zk_comm **out);
// Leaves the world at the end of the process. After a failure that all ranks agreed on (or after success) MPI is finalised, and only rank 0
// should speak: zk_comm_speaks says so. A rank that failed alone speaks, and its zk_comm_leave ends the whole job.
bool zk_comm_speaks(void);
// Before main speaks: a transfer or a device that failed on this rank alone ends the job by zk_comm_lost.
void zk_comm_check_loss(zk_status status);
void zk_comm_leave(int exit_code);
int zk_comm_rank(const zk_comm *comm);
int zk_comm_size(const zk_comm *comm);
int zk_comm_local_rank(const zk_comm *comm); // among the ranks of this host
int zk_comm_local_size(const zk_comm *comm);
// True when all ranks may run on the same cores (mpirun --bind-to none), so that they should divide them. Collective.
bool zk_comm_cores_are_shared(zk_comm *comm);
// Ends the whole job at once with this exit code; for a rank that cannot go on while others wait for it. Does not return.
_Noreturn void zk_comm_abort(zk_comm *comm, int exit_code);
// For a transfer that failed here and perhaps nowhere else: a rank that is lost is named by the watch (shared/watch.h); else this says the last
// error, what was being done and the last good checkpoint. Ends the whole job. Does not return.
_Noreturn void zk_comm_lost(zk_comm *comm, zk_status status);

// All ranks get the status of the lowest rank that failed (with its message, which says which rank), or ZK_OK. Collective.
zk_status zk_comm_agree(zk_comm *comm, zk_status local);

zk_status zk_comm_barrier(zk_comm *comm);                                          // collective
zk_status zk_comm_broadcast(zk_comm *comm, int root, void *data, size_t bytes);    // collective
zk_status zk_comm_sum_u64(zk_comm *comm, uint64_t *values, int n);                 // collective, in place, modulo 2^64
zk_status zk_comm_max_u64(zk_comm *comm, uint64_t *values, int n);                 // collective, in place
// How evenly the ranks were busy: the mean of their seconds over the most; 1 when all are alike. Collective.
zk_status zk_comm_balance(zk_comm *comm, double seconds, double *out);
// Concatenates every rank's `bytes` bytes in rank order into *out (malloc, caller frees); *offsets [size + 1] likewise (may be NULL). Collective.
zk_status zk_comm_all_gather(zk_comm *comm, const void *data, size_t bytes, void **out, size_t **offsets);
// The same to `root` only; elsewhere *out and *offsets are NULL. Collective.
zk_status zk_comm_gather(zk_comm *comm, int root, const void *data, size_t bytes, void **out, size_t **offsets);
// Rank r sends send_bytes[q] bytes at send + send_offsets[q] to rank q; receives into recv likewise. Each count below 2 GiB. A pair that
// exchanges nothing does not wait for each other. Collective among those that exchange something.
zk_status zk_comm_all_to_all(zk_comm *comm, const void *send, const size_t *send_bytes, const size_t *send_offsets, void *recv,
                             const size_t *recv_bytes, const size_t *recv_offsets);

// A shared counter for handing out work: each zk_comm_counter_next returns the next integer from 0 to exactly one rank. Kept
// by rank 0 in a one-sided window; zk_comm_counter_progress lets a busy rank 0 serve others when the network cannot by itself.
zk_status zk_comm_counter_reset(zk_comm *comm); // collective
zk_status zk_comm_counter_next(zk_comm *comm, int64_t *value);
void zk_comm_counter_progress(zk_comm *comm);

#endif
