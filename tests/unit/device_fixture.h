// What tests of one device share: it and a stream, open while the group of tests runs, and memory of it.
#ifndef ZK_TESTS_DEVICE_FIXTURE_H
#define ZK_TESTS_DEVICE_FIXTURE_H

#include "tests/unit/kernel_fixture.h"

static zk_device *device;
static zk_stream *stream;

static inline int open_kind(zk_device_kind kind) {
  OK(zk_device_open(kind, 0, &device));
  OK(zk_stream_open(device, ZK_SIDE_NONE, &stream));
  return 0;
}
static inline int open_device(void **state) { return open_kind(ZK_DEVICE_CPU); }
static inline int close_device(void **state) {
  zk_stream_close(stream);
  zk_device_close(device);
  return 0;
}

static inline void *alloc(size_t bytes) {
  void *p;
  OK(zk_device_alloc(device, bytes, "test", &p));
  return p;
}

#endif
