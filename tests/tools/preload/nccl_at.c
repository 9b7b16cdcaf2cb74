// Preloaded into a worker under test: what can befall it at a chosen group of NCCL's transfers.
//   ZK_NCCL_AT=die:N   SIGKILL instead of queueing the N-th group
//   ZK_NCCL_AT=fail:N  NCCL returns ncclSystemError there
//   ZK_NCCL_AT=lose:N  transfers from that group on are forgotten, and never end for the peers
// ZK_NCCL_RANK=R restricts it to that MPI rank.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char kind[16];
static int countdown = -1, is_there, is_lost, is_set_up;

static void set_up(void) {
  const char *at = getenv("ZK_NCCL_AT"), *rank = getenv("ZK_NCCL_RANK"), *mine = getenv("OMPI_COMM_WORLD_RANK");
  if (is_set_up++ || !at || (rank && mine && strcmp(rank, mine))) return;
  sscanf(at, "%15[^:]:%d", kind, &countdown);
}

int ncclGroupStart(void) {
  set_up();
  is_there = --countdown == 0;
  if (is_there && !strcmp(kind, "lose")) is_lost = 1;
  return ((int (*)(void))dlsym(RTLD_NEXT, "ncclGroupStart"))();
}

int ncclGroupEnd(void) {
  const int now = is_there;
  is_there = 0;
  if (now && !strcmp(kind, "die")) kill(getpid(), SIGKILL);
  if (now && !strcmp(kind, "fail")) return 2;
  return ((int (*)(void))dlsym(RTLD_NEXT, "ncclGroupEnd"))();
}

typedef int transfer(void *, size_t, int, int, void *, void *);
int ncclSend(void *data, size_t count, int type, int peer, void *comm, void *stream) {
  if (is_lost) return 0;
  return ((transfer *)dlsym(RTLD_NEXT, "ncclSend"))(data, count, type, peer, comm, stream);
}
int ncclRecv(void *data, size_t count, int type, int peer, void *comm, void *stream) {
  if (is_lost) return 0;
  return ((transfer *)dlsym(RTLD_NEXT, "ncclRecv"))(data, count, type, peer, comm, stream);
}
