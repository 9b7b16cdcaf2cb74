// What a kind of device (CPU, CUDA) supplies to kernels/device.c, and what every device and stream is made of. For
// kernels/ only.
#ifndef ZK_KERNELS_BACKEND_H
#define ZK_KERNELS_BACKEND_H

#include <pthread.h>
#include "kernels/device.h"

typedef struct {
  zk_status (*open)(zk_device *device, int ordinal); // fills `description` and `state`
  void (*close)(zk_device *device);
  size_t (*memory_free)(const zk_device *device);
  zk_status (*alloc)(zk_device *device, size_t bytes, void **out); // 64-byte aligned, contents unspecified
  void (*free)(zk_device *device, void *memory);
  zk_status (*copy)(zk_stream *stream, void *dst, const void *src,
                    size_t bytes); // any of the two sides may be host memory
  zk_status (*fill_zero)(zk_stream *stream, void *dst, size_t bytes);
  zk_status (*wait)(zk_stream *stream);
  void (*flip)(zk_stream *stream, float *out, size_t n); // the one-ulp fault
} zk_backend;

typedef struct {
  void *memory;
  size_t bytes;
} zk_allocation;

struct zk_device {
  zk_device_kind kind;
  const zk_backend *backend;
  void *state; // the backend's own
  char description[96];
  pthread_mutex_t lock; // guards what follows
  zk_allocation *allocations;
  size_t num_allocations, max_allocations;
  size_t bytes_now, bytes_peak;
};

struct zk_stream {
  zk_device *device;
  zk_side side;
  uint64_t calls[ZK_NUM_OPS];
  void *scratch;
  size_t scratch_bytes;
  zk_op fault; // ZK_NUM_OPS: none
};

extern const zk_backend zk_backend_cpu;

// Parses "side:operation" (ZK_FAULT); *op = ZK_NUM_OPS when it is meant for another side. ZK_BAD_INPUT lists the names.
zk_status zk_fault_parse(const char *text, zk_side side, zk_op *op);

#endif
