// Events in pairs.
#include "shared/comm_clock_nccl.h"

#include <stdlib.h>

void zk_comm_clock_close(zk_comm_clock *c) {
  for (int i = 0; i < c->made; i++) {
    (void)cudaEventDestroy(c->timed[i].begin);
    (void)cudaEventDestroy(c->timed[i].end);
  }
  free(c->timed);
}

static cudaError_t make_pair(zk_comm_clock *c) {
  if (c->made == c->capacity) {
    const int capacity = 2 * c->capacity + 16;
    struct zk_timed *grown = realloc(c->timed, (size_t)capacity * sizeof *grown);
    if (!grown) return cudaErrorMemoryAllocation;
    c->timed = grown, c->capacity = capacity;
  }
  struct zk_timed pair = {0};
  cudaError_t error = cudaEventCreate(&pair.begin);
  if (error == cudaSuccess && (error = cudaEventCreate(&pair.end)) != cudaSuccess) (void)cudaEventDestroy(pair.begin);
  if (error == cudaSuccess) c->timed[c->made++] = pair;
  return error;
}

cudaError_t zk_comm_clock_begin(zk_comm_clock *c, zk_comm_kind kind, cudaStream_t stream) {
  const cudaError_t error = c->num == c->made ? make_pair(c) : cudaSuccess;
  if (error != cudaSuccess) return error;
  c->timed[c->num].kind = kind;
  return cudaEventRecord(c->timed[c->num].begin, stream);
}

cudaError_t zk_comm_clock_end(zk_comm_clock *c, cudaStream_t stream) { return cudaEventRecord(c->timed[c->num++].end, stream); }

cudaError_t zk_comm_clock_take(zk_comm_clock *c, zk_comm_traffic *traffic) {
  cudaError_t error = cudaSuccess;
  for (int i = 0; i < c->num && error == cudaSuccess; i++) {
    float ms = 0;
    error = cudaEventElapsedTime(&ms, c->timed[i].begin, c->timed[i].end);
    traffic[c->timed[i].kind].seconds += (double)ms * 1e-3;
  }
  c->num = 0;
  return error;
}
