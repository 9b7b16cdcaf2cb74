// Ranks that watch each other: a rank that dies or stops ends the job with one message, in place of others that wait for it for ever.
//
// A thread a rank, beside MPI, and a TCP link from every rank to rank 0. A rank says once a second that it is there and what it does. A link that
// closes without a word is a death, noticed at once; silence for ZK_WATCH_LIMIT_S seconds (default 30, 0: for ever) is a rank that hangs, or a host
// that is gone. Rank 0 then says which rank, what it did, and where the last good checkpoint is, and the job ends with exit code 1. If rank 0
// is lost, rank 1 says so. Nor do waits last for ever: when all ranks are in one, and none has left its own for as long, nobody is left to end them (the
// network between them is gone where the links are not), and rank 0 says who waits in what. While one rank works, the others wait as long as it takes:
// a main thread that does not return from a file is not noticed, for its rank still answers. One that waits for its device in one wait for
// ZK_DEVICE_LIMIT_S seconds (default 900, 0: for ever; a warning at a tenth) says so itself, in a job of one rank too, and ends the job.
//
// Signals that ask for a stop (shared/stop.h) go the same way to all ranks.
#ifndef ZK_SHARED_WATCH_H
#define ZK_SHARED_WATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "shared/watch_link.h"

// Before the watch: rank 0 opens its socket; then *place goes to all ranks. Failure: place->num_addresses is 0, and nobody watches.
void zk_watch_listen(int size, zk_watch_place *place);
// Joins, and starts the thread. A rank that cannot join warns and goes on unwatched. Rank 0 does not wait for the others. A job of one rank has nobody
// to join (place may be NULL); its thread looks at its device alone.
void zk_watch_join(int rank, int size, const zk_watch_place *place);
// This rank ends on purpose, or has failed alone and said so itself (has_spoken): nobody else is to speak. Stops the thread.
void zk_watch_leave(bool has_spoken);
// Before this rank says itself that a transfer or its device failed: a lost rank makes those of the others fail, and it is named by the watch
// while this waits some seconds, and does not return. When several ranks fail at once and none is lost, the lowest gets out of here first.
void zk_watch_yield(void);
// For what this rank says then: " while DOING", a rank that is not in the same collective, and the last good checkpoint. "" without a watch.
void zk_watch_describe(char *text, size_t room);

// What this rank does now ("sampling step 7"), for the message. Cheap; a no-op without a watch.
void zk_watch_doing(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
// The collective this rank waits in, a constant text, and what it may take when all are in it, beside ZK_WATCH_LIMIT_S; NULL: in none.
void zk_watch_waiting(const char *operation, double seconds);
// Rank 0: the last good checkpoint.
void zk_watch_checkpoint(const char *path);
// The signal that some rank has caught, and that rank; 0: none. Other ranks know within a second, not at the same moment.
int zk_watch_stop(int *rank);

#endif
