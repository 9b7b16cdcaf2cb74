// MPI behind shared/comm.h: non-blocking calls, polled with a growing sleep, errors as values.
#define _GNU_SOURCE // sched_getaffinity
#include "shared/comm.h"

#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "shared/clock.h"
#include "shared/comm_same.h"
#include "shared/log.h"
#include "shared/watch.h"

#define BUCKET_BYTES ((size_t)256 << 20) // of one MPI message: counts are ints
#define QUICK_S 0.0005 // what a small exchange takes at most when all are there
#define QUICK_BYTES_PER_S 5e8 // and a large one besides, through memory that ranks share
#define SLOW_BYTES_PER_S 1e7 // less is a network that is gone
#define ABORT_S 15 // that MPI and drivers may take to end a process; a signal does after that

struct zk_comm {
  int rank, size, local_rank, local_size;
  int uses_mpi;
  int agreed; // the last failure is one that all ranks know of
  MPI_Comm world;
  uint64_t *sizes; // [size] of a gather's parts, and its [size] counts and [size] places: memory that no gather has to ask for
  int *counts, *places;
  MPI_Win counter_window;
  int64_t *counter;      // rank 0's memory of the window
  int64_t local_counter; // a world of one
};

// A transfer goes on in pieces, each when both sides look. While it may be under way the core is offered to others and not left: who sleeps between two
// looks has some hundred microseconds for every piece. What takes longer is a rank that is late: then an eighth of what this one has waited, between
// 10 us and 1 ms; it must leave its core to those that work, and not sleep long past the end.
static void nap(double since_s, size_t bytes) {
  const double late_s = zk_clock_s() - since_s - QUICK_S - (double)bytes / QUICK_BYTES_PER_S;
  if (late_s < 0) {
    sched_yield();
    return;
  }
  long ns = (long)(late_s * 1.25e8);
  if (ns < 10000L) ns = 10000L;
  if (ns > 1000000L) ns = 1000000L;
  nanosleep(&(struct timespec){0, ns}, NULL);
}

static zk_status fail_mpi(int code, const char *what) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int n = 0;
  MPI_Error_string(code, text, &n);
  return ZK_FAIL(ZK_COMM, "%s failed: %s", what, text);
}

static zk_status wait_request(MPI_Request *request, const char *what, size_t bytes) {
  zk_watch_waiting(what, (double)bytes / SLOW_BYTES_PER_S);
  const double since_s = zk_clock_s();
  for (int done = 0; !done;) {
    int code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) return fail_mpi(code, what);
    if (!done) nap(since_s, bytes);
  }
  zk_watch_waiting(NULL, 0);
  return ZK_OK;
}

// Starts a non-blocking collective that brings so many bytes, and waits until it is done.
#define COLLECTIVE(name, bytes_, call)                                                                                         \
  do {                                                                                                                 \
    MPI_Request request_;                                                                                              \
    MPI_Request *request = &request_;                                                                                  \
    int code_ = (call);                                                                                                \
    if (code_ != MPI_SUCCESS) return fail_mpi(code_, name);                                                            \
    ZK_TRY(wait_request(request, name, bytes_));                                                                       \
  } while (0)

static int launched_by_mpi(void) {
  static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (getenv(names[i])) return 1;
  return 0;
}

static zk_status start_mpi(zk_comm *c) {
  // Debian's Open MPI has no component for windows among several hosts unless it is asked for; the caller's own choice stays.
  (void)setenv("OMPI_MCA_osc", "^ucx", 0);
  int provided = 0, code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
  if (code != MPI_SUCCESS) return fail_mpi(code, "MPI_Init_thread");
  c->uses_mpi = 1;
  (void)prctl(PR_SET_TIMERSLACK, 1000UL); // ns: naps end when they should, not 50 us later
  code = MPI_Comm_dup(MPI_COMM_WORLD, &c->world);
  if (code != MPI_SUCCESS) return fail_mpi(code, "MPI_Comm_dup");
  MPI_Comm_set_errhandler(c->world, MPI_ERRORS_RETURN);
  MPI_Comm_rank(c->world, &c->rank);
  MPI_Comm_size(c->world, &c->size);
  c->sizes = calloc((size_t)c->size, sizeof *c->sizes);
  c->counts = calloc((size_t)c->size, sizeof *c->counts);
  c->places = calloc((size_t)c->size, sizeof *c->places);
  if (!c->sizes || !c->counts || !c->places) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a communicator of %d ranks", c->size);
  MPI_Comm local;
  MPI_Comm_split_type(c->world, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &local);
  MPI_Comm_rank(local, &c->local_rank);
  MPI_Comm_size(local, &c->local_size);
  MPI_Comm_free(&local);
  // MPI_Win_allocate, not _create: on one host its memory is shared, and a busy target need not enter MPI to serve others.
  code = MPI_Win_allocate(c->rank == 0 ? (MPI_Aint)sizeof(int64_t) : 0, sizeof(int64_t), MPI_INFO_NULL, c->world, &c->counter,
                          &c->counter_window);
  if (code != MPI_SUCCESS) return fail_mpi(code, "MPI_Win_allocate");
  MPI_Win_lock_all(0, c->counter_window);
  zk_log_set_rank(c->rank, c->size);
  zk_watch_place place = {0};
  if (c->rank == 0) zk_watch_listen(c->size, &place);
  ZK_TRY(zk_comm_broadcast(c, 0, &place, sizeof place));
  zk_watch_join(c->rank, c->size, &place);
  return ZK_OK;
}

zk_status zk_comm_open(zk_comm **out) {
  zk_comm *c = calloc(1, sizeof *c);
  if (!c) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the communicator");
  c->size = c->local_size = 1;
  *out = c;
  if (launched_by_mpi()) ZK_TRY(start_mpi(c));
  else zk_watch_join(0, 1, NULL);
  return ZK_OK;
}

void zk_comm_close(zk_comm *c) {
  if (!c) return;
  if (c->uses_mpi) {
    MPI_Win_unlock_all(c->counter_window);
    MPI_Win_free(&c->counter_window);
    MPI_Comm_free(&c->world);
    MPI_Finalize();
  }
  zk_watch_leave(false);
  free(c->sizes);
  free(c->counts);
  free(c->places);
  free(c);
}

static zk_comm *world;

zk_status zk_comm_world(zk_comm **out) {
  bool is_new = !world;
  if (is_new) ZK_TRY(zk_comm_open(&world));
  *out = world;
  return is_new ? zk_comm_require_same_build(world) : ZK_OK;
}

bool zk_comm_speaks(void) { return !world || world->rank == 0 || !world->agreed; }

void zk_comm_check_loss(zk_status st) {
  if ((st == ZK_COMM || st == ZK_DEVICE) && world && world->size > 1 && !world->agreed) zk_comm_lost(world, st);
}

void zk_comm_leave(int exit_code) {
  if (!world) return;
  if (exit_code && !world->agreed && world->size > 1) zk_comm_abort(world, exit_code);
  zk_comm_close(world);
  world = NULL;
}

int zk_comm_rank(const zk_comm *c) { return c->rank; }
int zk_comm_size(const zk_comm *c) { return c->size; }
int zk_comm_local_rank(const zk_comm *c) { return c->local_rank; }
int zk_comm_local_size(const zk_comm *c) { return c->local_size; }

bool zk_comm_cores_are_shared(zk_comm *c) {
  if (c->size == 1) return false;
  cpu_set_t mine, first;
  memset(&mine, 0, sizeof mine);
  sched_getaffinity(0, sizeof mine, &mine);
  first = mine;
  uint64_t differs = zk_comm_broadcast(c, 0, &first, sizeof first) != ZK_OK || memcmp(&first, &mine, sizeof mine) != 0;
  return zk_comm_max_u64(c, &differs, 1) == ZK_OK && !differs;
}

_Noreturn void zk_comm_abort(zk_comm *c, int exit_code) {
  alarm(ABORT_S);
  fflush(NULL);
  zk_watch_leave(true);
  if (c && c->uses_mpi) MPI_Abort(c->world, exit_code);
  _Exit(exit_code);
}

_Noreturn void zk_comm_lost(zk_comm *c, zk_status st) {
  char where[960];
  zk_watch_yield();
  zk_watch_describe(where, sizeof where);
  ZK_LOG(ERROR, "comm", "%s: %s%s", zk_status_text(st), zk_status_message(), where);
  zk_comm_abort(c, zk_status_exit_code(st));
}

zk_status zk_comm_barrier(zk_comm *c) {
  if (!c->uses_mpi) return ZK_OK;
  COLLECTIVE("barrier", 0, MPI_Ibarrier(c->world, request));
  return ZK_OK;
}

zk_status zk_comm_broadcast(zk_comm *c, int root, void *data, size_t bytes) {
  if (!c->uses_mpi) return ZK_OK;
  for (size_t at = 0; at < bytes; at += BUCKET_BYTES) {
    size_t n = bytes - at < BUCKET_BYTES ? bytes - at : BUCKET_BYTES;
    COLLECTIVE("broadcast", n, MPI_Ibcast((char *)data + at, (int)n, MPI_BYTE, root, c->world, request));
  }
  return ZK_OK;
}

zk_status zk_comm_sum_u64(zk_comm *c, uint64_t *values, int n) {
  if (!c->uses_mpi) return ZK_OK;
  COLLECTIVE("integer sum", (size_t)n * 8, MPI_Iallreduce(MPI_IN_PLACE, values, n, MPI_UINT64_T, MPI_SUM, c->world, request));
  return ZK_OK;
}

zk_status zk_comm_max_u64(zk_comm *c, uint64_t *values, int n) {
  if (!c->uses_mpi) return ZK_OK;
  COLLECTIVE("integer maximum", (size_t)n * 8, MPI_Iallreduce(MPI_IN_PLACE, values, n, MPI_UINT64_T, MPI_MAX, c->world, request));
  return ZK_OK;
}

zk_status zk_comm_balance(zk_comm *c, double seconds, double *out) {
  const uint64_t mine = (uint64_t)(seconds * 1e6) + 1;
  uint64_t sum = mine, most = mine;
  ZK_TRY(zk_comm_sum_u64(c, &sum, 1));
  ZK_TRY(zk_comm_max_u64(c, &most, 1));
  *out = (double)sum / ((double)c->size * (double)most);
  return ZK_OK;
}

zk_status zk_comm_agree(zk_comm *c, zk_status local) {
  if (!c->uses_mpi) return local;
  // The lowest failed rank wins: maximum over (size - rank) of the failed ones.
  uint64_t worst = local == ZK_OK ? 0 : (uint64_t)(c->size - c->rank);
  char note[1024] = "";
  snprintf(note, sizeof note, "%s", zk_status_message()); // before another call can touch it
  ZK_TRY(zk_comm_max_u64(c, &worst, 1));
  if (worst == 0) {
    c->agreed = 0; // what was agreed on before has been dealt with
    return ZK_OK;
  }
  int root = c->size - (int)worst;
  c->agreed = 1;
  struct {
    int32_t status;
    char host[64], text[1024];
  } verdict = {0};
  if (c->rank == root) {
    verdict.status = (int32_t)local;
    gethostname(verdict.host, sizeof verdict.host - 1);
    memcpy(verdict.text, note, sizeof note);
  }
  ZK_TRY(zk_comm_broadcast(c, root, &verdict, sizeof verdict));
  if (root == 0) return ZK_FAIL((zk_status)verdict.status, "%s", verdict.text);
  return ZK_FAIL((zk_status)verdict.status, "rank %d on %s: %s", root, verdict.host, verdict.text);
}

// Gathers the sizes, and has memory for them and, where this rank `receives`, for the bytes: on all ranks or on none. *offsets is of `size + 1` elements.
static zk_status gather_sizes(zk_comm *c, size_t bytes, bool receives, size_t **offsets, void **out) {
  uint64_t mine = bytes;
  size_t total = 0;
  COLLECTIVE("gather", 0, MPI_Iallgather(&mine, 1, MPI_UINT64_T, c->sizes, 1, MPI_UINT64_T, c->world, request));
  for (int r = 0; r < c->size; r++) total += c->sizes[r];
  *offsets = calloc((size_t)c->size + 1, sizeof **offsets);
  *out = receives ? malloc(total + 1) : NULL;
  zk_status st = *offsets && (*out || !receives) ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to gather %zu bytes", total);
  st = zk_comm_agree(c, st); // or the others would wait for this one's part
  for (int r = 0; r < c->size && st == ZK_OK; r++) (*offsets)[r + 1] = (*offsets)[r] + c->sizes[r];
  if (st == ZK_OK) return ZK_OK;
  free(*offsets);
  free(*out);
  *offsets = NULL, *out = NULL;
  return st;
}

static zk_status alone(const void *data, size_t bytes, void **out, size_t **offsets) {
  *out = malloc(bytes + 1);
  if (offsets) *offsets = calloc(2, sizeof **offsets);
  if (!*out || (offsets && !*offsets)) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to gather %zu bytes", bytes);
  if (bytes) memcpy(*out, data, bytes);
  if (offsets) (*offsets)[1] = bytes;
  return ZK_OK;
}

// Every rank's part, of which each has its own, to all.
static zk_status gather_at_once(zk_comm *c, char *data, const size_t *starts) {
  for (int r = 0; r < c->size; r++) c->counts[r] = (int)(starts[r + 1] - starts[r]), c->places[r] = (int)starts[r];
  COLLECTIVE("gather", starts[c->size], MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_BYTE, data, c->counts, c->places, MPI_BYTE, c->world, request));
  return ZK_OK;
}

zk_status zk_comm_all_gather(zk_comm *c, const void *data, size_t bytes, void **out, size_t **offsets) {
  *out = NULL;
  if (offsets) *offsets = NULL;
  if (!c->uses_mpi) return alone(data, bytes, out, offsets);
  size_t *starts = NULL;
  zk_status st = gather_sizes(c, bytes, true, &starts, out);
  if (st == ZK_OK && bytes) memcpy((char *)*out + starts[c->rank], data, bytes);
  if (st == ZK_OK && starts[c->size] <= BUCKET_BYTES) st = gather_at_once(c, *out, starts);
  else // too much for one message: a broadcast a rank
    for (int r = 0; r < c->size && st == ZK_OK; r++) st = zk_comm_broadcast(c, r, (char *)*out + starts[r], starts[r + 1] - starts[r]);
  if (offsets) *offsets = starts;
  else free(starts);
  return st;
}

zk_status zk_comm_gather(zk_comm *c, int root, const void *data, size_t bytes, void **out, size_t **offsets) {
  *out = NULL;
  if (offsets) *offsets = NULL;
  if (!c->uses_mpi) return alone(data, bytes, out, offsets);
  size_t *starts = NULL;
  ZK_TRY(gather_sizes(c, bytes, c->rank == root, &starts, out));
  zk_status st = ZK_OK;
  for (int r = 0; r < c->size && st == ZK_OK; r++) {
    size_t total = starts[r + 1] - starts[r];
    if (r == root) {
      if (c->rank == root && bytes) memcpy((char *)*out + starts[r], data, bytes);
      continue;
    }
    for (size_t at = 0; at < total && st == ZK_OK; at += BUCKET_BYTES) {
      int n = (int)(total - at < BUCKET_BYTES ? total - at : BUCKET_BYTES), code = MPI_SUCCESS;
      MPI_Request request;
      if (c->rank == root) code = MPI_Irecv((char *)*out + starts[r] + at, n, MPI_BYTE, r, 1, c->world, &request);
      else if (c->rank == r) code = MPI_Isend((const char *)data + at, n, MPI_BYTE, root, 1, c->world, &request);
      else continue;
      st = code == MPI_SUCCESS ? wait_request(&request, "gather", (size_t)n) : fail_mpi(code, "gather");
    }
  }
  if (offsets && c->rank == root) *offsets = starts;
  else free(starts);
  return st;
}

zk_status zk_comm_all_to_all(zk_comm *c, const void *send, const size_t *send_bytes, const size_t *send_offsets, void *recv,
                             const size_t *recv_bytes, const size_t *recv_offsets) {
  if (!c->uses_mpi) {
    memcpy((char *)recv + recv_offsets[0], (const char *)send + send_offsets[0], send_bytes[0]);
    return ZK_OK;
  }
  MPI_Request *requests = calloc((size_t)c->size * 2, sizeof *requests);
  if (!requests) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for an exchange among %d ranks", c->size);
  zk_status st = ZK_OK;
  size_t bytes = 0;
  int n = 0;
  for (int i = 0; i < c->size && st == ZK_OK; i++) { // start with the neighbour: no rank is everyone's first target
    int q = (c->rank + i) % c->size, code = MPI_SUCCESS;
    if (recv_bytes[q]) code = MPI_Irecv((char *)recv + recv_offsets[q], (int)recv_bytes[q], MPI_BYTE, q, 2, c->world, &requests[n++]);
    if (code == MPI_SUCCESS && send_bytes[q])
      code = MPI_Isend((const char *)send + send_offsets[q], (int)send_bytes[q], MPI_BYTE, q, 2, c->world, &requests[n++]);
    if (code != MPI_SUCCESS) st = fail_mpi(code, "all-to-all");
    bytes += send_bytes[q] + recv_bytes[q];
  }
  zk_watch_waiting("all-to-all", (double)bytes / SLOW_BYTES_PER_S);
  const double since_s = zk_clock_s();
  for (int done = 0; !done && st == ZK_OK;) {
    int code = MPI_Testall(n, requests, &done, MPI_STATUSES_IGNORE);
    if (code != MPI_SUCCESS) st = fail_mpi(code, "all-to-all");
    if (!done) nap(since_s, bytes);
  }
  zk_watch_waiting(NULL, 0);
  free(requests);
  return st;
}

zk_status zk_comm_counter_reset(zk_comm *c) {
  c->local_counter = 0;
  if (!c->uses_mpi) return ZK_OK;
  ZK_TRY(zk_comm_barrier(c));
  if (c->rank == 0) {
    *c->counter = 0;
    MPI_Win_sync(c->counter_window);
  }
  return zk_comm_barrier(c);
}

zk_status zk_comm_counter_next(zk_comm *c, int64_t *value) {
  if (!c->uses_mpi) {
    *value = c->local_counter++;
    return ZK_OK;
  }
  int64_t one = 1;
  int code = MPI_Fetch_and_op(&one, value, MPI_INT64_T, 0, 0, MPI_SUM, c->counter_window);
  if (code == MPI_SUCCESS) code = MPI_Win_flush(0, c->counter_window);
  return code == MPI_SUCCESS ? ZK_OK : fail_mpi(code, "work counter");
}

void zk_comm_counter_progress(zk_comm *c) {
  int flag;
  if (c->uses_mpi && c->size > 1) MPI_Iprobe(MPI_ANY_SOURCE, 99, c->world, &flag, MPI_STATUS_IGNORE);
}
