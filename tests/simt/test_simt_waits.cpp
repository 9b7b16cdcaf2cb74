// What the emulated GPU says of kernels whose waits are wrong: small kernels with one mistake each, and the same without it. The tests of the real kernels
// are worth what this shows.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/tma.cuh"
#include "order.h"

enum { ROUNDS = 40, SLOTS = 2, WORDS = 64 };
typedef enum { RIGHT, NO_WAIT_FOR_FULL, NO_WAIT_FOR_EMPTY, PHASE_MISSED, ARRIVES_TWICE } mistake;

struct ring {
  uint32_t slot[SLOTS][WORDS];
  uint64_t full[SLOTS], empty[SLOTS], begun;
};

// One thread of warp 1 fetches, warp 0 adds up what comes.
static void sum_rows(const uint32_t *rows, uint32_t *sums, mistake wrong) {
  ZK_DYNAMIC_SHARED(ring, r);
  if (threadIdx.x == 0) {
    for (int i = 0; i < SLOTS; i++) zk_mbar_init(&r->full[i], 1), zk_mbar_init(&r->empty[i], 32);
    zk_mbar_init(&r->begun, 1);
  }
  __syncthreads();
  uint32_t sum = 0;
  for (int i = 0; i < ROUNDS; i++) {
    const int at = i % SLOTS;
    const uint32_t parity = (uint32_t)(i / SLOTS & 1);
    if (threadIdx.x == 32) {
      if (wrong != NO_WAIT_FOR_EMPTY || i < SLOTS) zk_mbar_wait(&r->empty[at], parity ^ 1);
      zk_mbar_arrive_expect(&r->full[at], sizeof r->slot[at]);
      zk_tma_load(r->slot[at], rows + i * WORDS, sizeof r->slot[at], &r->full[at]);
      if (i < 2) zk_mbar_arrive(&r->begun); // twice: who waits for the first phase alone may find the second over
      if (i == 20 && wrong == ARRIVES_TWICE) zk_mbar_arrive(&r->full[at]);
    } else if (threadIdx.x < 32) {
      if (i == 0 && wrong == PHASE_MISSED) zk_mbar_wait(&r->begun, 0);
      if (wrong != NO_WAIT_FOR_FULL) zk_mbar_wait(&r->full[at], parity);
      sum += r->slot[at][threadIdx.x] + r->slot[at][threadIdx.x + 32];
      zk_mbar_arrive(&r->empty[at]);
    }
  }
  if (threadIdx.x < 32) sums[threadIdx.x] = sum;
}

// Whether the sums are right, in one order; the process ends when the emulated GPU ends it.
static bool sums_are_right(mistake wrong, uint64_t order) {
  uint32_t *rows, *sums, host[ROUNDS * WORDS], want[32] = {}, got[32];
  for (int i = 0; i < ROUNDS * WORDS; i++) host[i] = (uint32_t)(i * i + 7), want[i % 32] += host[i];
  zk_simt_set_order(order);
  cudaMalloc(&rows, sizeof host), cudaMalloc(&sums, sizeof got);
  cudaMemcpyAsync(rows, host, sizeof host, cudaMemcpyDefault);
  zk_simt_launch(nullptr, 1, 64, sizeof(ring), zk_simt_kernel_of(sum_rows)(rows, sums, wrong));
  cudaMemcpyAsync(got, sums, sizeof got, cudaMemcpyDefault);
  cudaFree(rows), cudaFree(sums);
  return memcmp(got, want, sizeof got) == 0;
}

// In how many of some orders a process of its own comes to the right sums, to wrong ones, and is ended by the emulated GPU.
static void count(mistake wrong, int outcome[3]) {
  memset(outcome, 0, 3 * sizeof *outcome);
  for (uint64_t order = 0; order < 20; order++) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      if (!freopen("/dev/null", "w", stderr)) _exit(3);
      _exit(sums_are_right(wrong, order) ? 0 : 1);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) abort();
    outcome[WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? 2 : WEXITSTATUS(status)]++;
  }
}

static int failures;
static void expect(const char *what, bool holds, const int outcome[3]) {
  printf("%s: %s (%d right, %d wrong, %d ended)\n", holds ? "ok" : "FAILED", what, outcome[0], outcome[1], outcome[2]);
  failures += !holds;
}

int main(void) {
  int n[3];
  count(RIGHT, n);
  expect("a ring with all of its waits: right in every order", n[0] == 20, n);
  count(NO_WAIT_FOR_FULL, n);
  expect("read before it has come: found in every order", n[0] == 0, n);
  count(NO_WAIT_FOR_EMPTY, n);
  expect("fetched over what is being read: found in some order", n[1] + n[2] > 0, n);
  count(PHASE_MISSED, n);
  expect("a wait for a phase that another may have followed: stands still in some order, not in all", n[2] > 0 && n[0] > 0 && n[1] == 0, n);
  count(ARRIVES_TWICE, n);
  expect("an arrival too many: ended", n[2] == 20, n);
  return failures > 0;
}
