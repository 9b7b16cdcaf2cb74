// A device to compute on, and its memory: what tests share that compute the same on the CPU and on the emulated GPU.
#ifndef ZK_SIMT_PLACE_H
#define ZK_SIMT_PLACE_H

#include "tests/unit/kernel_fixture.h"

typedef struct {
  zk_device *device;
  zk_stream *stream;
  void *memory[32]; // what upload gave, until close_place
  int num_memory;
} place;

static void *upload(place *at, const void *host, size_t bytes) {
  void *memory;
  OK(zk_device_alloc(at->device, bytes, "test", &memory));
  OK(zk_copy_to_device(at->stream, memory, host, bytes));
  OK(zk_stream_wait(at->stream));
  assert_in_range(at->num_memory, 0, 31);
  return at->memory[at->num_memory++] = memory;
}

static void open_place(zk_device_kind kind, place *at) {
  *at = (place){0};
  OK(zk_device_open(kind, 0, &at->device));
  OK(zk_stream_open(at->device, ZK_SIDE_NONE, &at->stream));
}
static void close_place(place *at) {
  while (at->num_memory > 0) zk_device_free(at->device, at->memory[--at->num_memory]);
  zk_stream_close(at->stream);
  zk_device_close(at->device);
}

// n values as the numerics store them.
static void *upload_random(place *at, zk_numerics numerics, size_t n, uint32_t tag) {
  float *x = random_floats(n, tag, 2);
  zk_bf16 *half = to_bf16(x, n);
  void *memory = numerics == ZK_F32 ? upload(at, x, n * sizeof *x) : upload(at, half, n * sizeof *half);
  free(x), free(half);
  return memory;
}

static void *upload_nan(place *at, size_t bytes) {
  void *host = malloc(bytes);
  memset(host, 0xff, bytes);
  void *memory = upload(at, host, bytes);
  free(host);
  return memory;
}

// Appends device memory to a growing result.
static void keep(place *at, const void *memory, size_t bytes, char **result, size_t *size) {
  *result = realloc(*result, *size + bytes);
  OK(zk_copy_to_host(at->stream, *result + *size, memory, bytes));
  OK(zk_stream_wait(at->stream));
  *size += bytes;
}

#endif
