// Stretches of a stream's operations as recorded graphs (kernels/device.h): what is queued a second time under one key is recorded, and replayed
// from then on.
#ifndef ZK_TRAINER_RECORDINGS_H
#define ZK_TRAINER_RECORDINGS_H

#include "kernels/device.h"

typedef struct zk_recordings zk_recordings;

// Of operations of `stream`, which must outlive it. The caller closes it, before the stream.
zk_status zk_recordings_open(zk_stream *stream, zk_recordings **out);
void zk_recordings_close(zk_recordings *recordings);
// Closes all graphs: an address that they keep is about to change.
void zk_recordings_forget(zk_recordings *recordings);
// Queues what `queue` queues: by calling it, or from a graph. key [num], copied: all that decides which operations those are and what their
// arguments are, but for what zk_recordings_forget is called for. `queue` must queue the same for the same key, and wait for nothing. Where the
// device has no graphs or an operation cannot be recorded, it is called each time. A few dozen keys are remembered, those that were used last.
zk_status zk_recordings_run(zk_recordings *recordings, const int64_t *key, size_t num, zk_status (*queue)(const void *context), const void *context);
// How often operations came from a graph.
uint64_t zk_recordings_replays(const zk_recordings *recordings);

#endif
