// NCCL behind shared/comm_device.h: one communicator a link, which never blocks: calls and transfers are polled, each with a time limit.
#include "shared/comm_nccl.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/cuda/native.h"
#include "shared/clock.h"
#include "shared/comm_clock_nccl.h"
#include "shared/comm_transport.h"
#include "shared/watch.h"

typedef struct {
  ncclComm_t comm;
  cudaStream_t stream;            // where exchanges run
  cudaEvent_t ready;              // what is waited for next
  cudaEvent_t done[ZK_COMM_SLOTS]; // after the slot's last exchange
  zk_comm_clock clock;
} nccl_state;

static nccl_state *state_of(const zk_comm_device *l) { return l->state; }
ncclComm_t zk_comm_nccl_handle(const zk_comm_device *l) { return l->transport == &zk_transport_nccl ? state_of(l)->comm : NULL; }

static zk_status fail_nccl(const zk_comm_device *l, ncclResult_t result, const char *what) {
  const char *detail = ncclGetLastError(state_of(l)->comm);
  return ZK_FAIL(ZK_COMM, "NCCL: %s: %s%s%s (NCCL_DEBUG=INFO tells more)", what, ncclGetErrorString(result), detail && *detail ? ": " : "",
                 detail ? detail : "");
}

static zk_status fail_late(const char *what, double seconds) {
  return ZK_FAIL(ZK_COMM, "NCCL: %s did not end within %.0f s: a worker or the network is gone", what, seconds);
}

static zk_status fail_cuda(cudaError_t error, const char *what) {
  return ZK_FAIL(ZK_DEVICE, "CUDA: %s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

// A statement in a function that returns zk_status.
#define CUDA(call, what)                                                                                               \
  do {                                                                                                                 \
    const cudaError_t error_ = (call);                                                                                 \
    if (error_ != cudaSuccess) return fail_cuda(error_, what);                                                      \
  } while (0)

// Most waits are short, and the device is idle until the host sees their end; in a long one the core is left to others.
static void nap(double begin_s) {
  if (zk_clock_s() - begin_s < 0.005) sched_yield();
  else nanosleep(&(struct timespec){0, 20000L}, NULL);
}

zk_status zk_comm_nccl_settle(const zk_comm_device *l, ncclResult_t result, const char *what) {
  const double begin = zk_clock_s();
  while (result == ncclInProgress) {
    nap(begin);
    const ncclResult_t asked = ncclCommGetAsyncError(state_of(l)->comm, &result);
    if (asked != ncclSuccess) return fail_nccl(l, asked, what);
    if (result == ncclInProgress && zk_clock_s() - begin > ZK_COMM_SECONDS) return fail_late(what, ZK_COMM_SECONDS);
  }
  return result == ncclSuccess ? ZK_OK : fail_nccl(l, result, what);
}

// Until the event is reached, or NCCL meets an error (a peer that died), or the time is over.
static zk_status watch_event(const zk_comm_device *l, cudaEvent_t event, double seconds, const char *what) {
  const double begin = zk_clock_s();
  for (;;) {
    const cudaError_t error = cudaEventQuery(event);
    if (error == cudaSuccess) return ZK_OK;
    if (error != cudaErrorNotReady) return fail_cuda(error, what);
    ncclResult_t met = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(state_of(l)->comm, &met);
    if (asked != ncclSuccess) return fail_nccl(l, asked, what);
    if (met != ncclSuccess && met != ncclInProgress) return fail_nccl(l, met, what);
    if (zk_clock_s() - begin > seconds) return fail_late(what, seconds);
    nap(begin);
  }
}

static zk_status await(const zk_comm_device *l, cudaEvent_t event, double seconds, const char *what) {
  zk_watch_waiting(what, seconds);
  const zk_status st = watch_event(l, event, seconds, what);
  if (st == ZK_OK) zk_watch_waiting(NULL, 0);
  return st;
}

static zk_status make_queue(zk_comm_device *l) {
  nccl_state *s = l->state = calloc(1, sizeof *s);
  if (!s) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the exchange among workers");
  CUDA(cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking), "a stream for exchanges");
  CUDA(cudaEventCreateWithFlags(&s->ready, cudaEventDisableTiming), "an event of exchanges");
  for (int i = 0; i < ZK_COMM_SLOTS; i++) CUDA(cudaEventCreateWithFlags(&s->done[i], cudaEventDisableTiming), "an event of exchanges");
  return ZK_OK;
}

// Aborted, not finalised: that asks nothing of the other ranks, and all that was queued is done, or never will be.
static void nccl_close(zk_comm_device *l) {
  nccl_state *s = l->state;
  if (!s) return;
  if (s->comm) (void)ncclCommAbort(s->comm);
  if (s->ready) (void)cudaEventDestroy(s->ready);
  for (int i = 0; i < ZK_COMM_SLOTS; i++)
    if (s->done[i]) (void)cudaEventDestroy(s->done[i]);
  zk_comm_clock_close(&s->clock);
  if (s->stream) (void)cudaStreamDestroy(s->stream);
  free(s);
}

// From here on the link's stream is behind all that is queued on `stream`.
static zk_status follow(zk_comm_device *l, zk_stream *stream) {
  nccl_state *s = l->state;
  CUDA(cudaEventRecord(s->ready, zk_cuda_stream(stream)), "an exchange's place in the stream");
  CUDA(cudaStreamWaitEvent(s->stream, s->ready, 0), "an exchange's place in the stream");
  return ZK_OK;
}

// A call in a group; the first that failed stays, and a call that goes on in the background has not.
static void note(ncclResult_t *first, ncclResult_t next) {
  if (*first == ncclSuccess || *first == ncclInProgress) *first = next;
}

// Rank 0 makes NCCL's address, MPI brings it to the others.
static zk_status start(zk_comm_device *l) {
  ZK_TRY(zk_comm_agree(l->comm, make_queue(l)));
  nccl_state *s = l->state;
  ncclUniqueId id = {{0}};
  const ncclResult_t made = zk_comm_rank(l->comm) == 0 ? ncclGetUniqueId(&id) : ncclSuccess;
  ZK_TRY(zk_comm_agree(l->comm, made == ncclSuccess ? ZK_OK : fail_nccl(l, made, "ncclGetUniqueId")));
  ZK_TRY(zk_comm_broadcast(l->comm, 0, &id, sizeof id));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return zk_comm_nccl_settle(l, ncclCommInitRankConfig(&s->comm, zk_comm_size(l->comm), id, zk_comm_rank(l->comm), &config), "starting");
}

// NCCL connects a pair of ranks at their first transfer, which needs both: a byte between all now, so that no later one waits for a rank that computes.
static zk_status connect_pairs(zk_comm_device *l, char *bytes) {
  nccl_state *s = l->state;
  const int size = zk_comm_size(l->comm), rank = zk_comm_rank(l->comm);
  ncclResult_t first = ncclGroupStart();
  for (int r = 0; r < size; r++) {
    if (r == rank) continue;
    note(&first, ncclSend(bytes + size, 1, ncclUint8, r, s->comm, s->stream));
    note(&first, ncclRecv(bytes + r, 1, ncclUint8, r, s->comm, s->stream));
  }
  note(&first, ncclGroupEnd());
  ZK_TRY(zk_comm_nccl_settle(l, first, "connecting"));
  CUDA(cudaEventRecord(s->ready, s->stream), "the end of connecting");
  return await(l, s->ready, ZK_COMM_SECONDS, "connecting");
}

static zk_status nccl_open(zk_comm_device *l) {
  char *bytes = NULL;
  ZK_TRY(zk_comm_agree(l->comm, zk_device_alloc(l->device, (size_t)zk_comm_size(l->comm) + 1, "connecting", (void **)&bytes)));
  zk_status st = start(l);
  if (st == ZK_OK) st = connect_pairs(l, bytes);
  if (st == ZK_OK) zk_device_free(l->device, bytes); // else a transfer may still be at it, and the process ends
  return st;
}

static ncclResult_t queue_transfers(nccl_state *s, const zk_transfer *sends, int num_sends, const zk_transfer *recvs, int num_recvs) {
  ncclResult_t first = ncclGroupStart();
  for (int i = 0; i < num_sends; i++)
    note(&first, ncclSend(sends[i].data, sends[i].bytes, ncclUint8, sends[i].peer, s->comm, s->stream));
  for (int i = 0; i < num_recvs; i++)
    note(&first, ncclRecv(recvs[i].data, recvs[i].bytes, ncclUint8, recvs[i].peer, s->comm, s->stream));
  note(&first, ncclGroupEnd());
  return first;
}

static zk_status nccl_exchange(zk_comm_device *l, zk_stream *stream, int slot, const zk_transfer *sends, int num_sends, const zk_transfer *recvs,
                               int num_recvs) {
  nccl_state *s = l->state;
  ZK_TRY(follow(l, stream));
  CUDA(zk_comm_clock_begin(&s->clock, ZK_COMM_ALL_TO_ALL, s->stream), "an exchange's time");
  ZK_TRY(zk_comm_nccl_settle(l, queue_transfers(s, sends, num_sends, recvs, num_recvs), "all-to-all"));
  CUDA(zk_comm_clock_end(&s->clock, s->stream), "an exchange's time");
  CUDA(cudaEventRecord(s->done[slot], s->stream), "an exchange's end");
  return ZK_OK;
}

static zk_status nccl_join(zk_comm_device *l, zk_stream *stream, int slot) {
  CUDA(cudaStreamWaitEvent(zk_cuda_stream(stream), state_of(l)->done[slot], 0), "waiting for an exchange");
  return ZK_OK;
}

// Shards of one size are NCCL's own all-gather; of several, each rank sends its own to every other, the neighbour first.
static ncclResult_t queue_gather(nccl_state *s, int size, int rank, char *data, const int64_t *starts, size_t element_bytes) {
  bool even = true;
  for (int r = 0; r < size; r++) even = even && starts[r + 1] - starts[r] == starts[1] - starts[0];
  char *own = data + (size_t)starts[rank] * element_bytes;
  const size_t own_bytes = (size_t)(starts[rank + 1] - starts[rank]) * element_bytes;
  if (even) return ncclAllGather(own, data, own_bytes, ncclUint8, s->comm, s->stream);
  ncclResult_t first = ncclGroupStart();
  for (int step = 1; step < size; step++) {
    const int to = (rank + step) % size, from = (rank + size - step) % size;
    const size_t bytes = (size_t)(starts[from + 1] - starts[from]) * element_bytes;
    if (own_bytes > 0) note(&first, ncclSend(own, own_bytes, ncclUint8, to, s->comm, s->stream));
    if (bytes > 0) note(&first, ncclRecv(data + (size_t)starts[from] * element_bytes, bytes, ncclUint8, from, s->comm, s->stream));
  }
  note(&first, ncclGroupEnd());
  return first;
}

static zk_status nccl_all_gather(zk_comm_device *l, zk_stream *stream, char *data, const int64_t *starts, size_t element_bytes) {
  nccl_state *s = l->state;
  ZK_TRY(follow(l, stream));
  CUDA(zk_comm_clock_begin(&s->clock, ZK_COMM_ALL_GATHER, s->stream), "a gather's time");
  const ncclResult_t queued = queue_gather(s, zk_comm_size(l->comm), zk_comm_rank(l->comm), data, starts, element_bytes);
  ZK_TRY(zk_comm_nccl_settle(l, queued, "all-gather"));
  CUDA(zk_comm_clock_end(&s->clock, s->stream), "a gather's time");
  return ZK_OK;
}

static zk_status nccl_finish(zk_comm_device *l, zk_stream *stream, zk_status *local) {
  nccl_state *s = l->state;
  CUDA(cudaEventRecord(s->ready, s->stream), "the end of all exchanges");
  const double bytes = (double)(l->traffic[ZK_COMM_ALL_TO_ALL].bytes + l->traffic[ZK_COMM_ALL_GATHER].bytes);
  ZK_TRY(await(l, s->ready, ZK_COMM_SECONDS + bytes / ZK_COMM_LEAST_BYTES_PER_S, "exchange of device memory"));
  CUDA(zk_comm_clock_take(&s->clock, l->traffic), "the time of exchanges");
  if (*local == ZK_OK) *local = zk_stream_wait(stream);
  return ZK_OK;
}

const zk_transport zk_transport_nccl = {"NCCL", nccl_open, nccl_close, follow, nccl_exchange, nccl_join, nccl_all_gather, nccl_finish};
