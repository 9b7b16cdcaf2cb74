// How the row-wise and elementwise operations are shared among threads. No choice here can change a bit: threads own
// outputs.
#ifndef ZK_KERNELS_CPU_PARALLEL_H
#define ZK_KERNELS_CPU_PARALLEL_H

#include "kernels/cpu/isa.h"

#define ZK_CPU_GRAIN 16384 // elements of an elementwise operation done at a time

// All threads, or one when there are too few elements to be worth waking them. Nothing in between: libgomp would end
// the spare ones.
static inline int zk_cpu_threads_for(const zk_device *device, int64_t num_elements) {
  return num_elements < 2 * ZK_CPU_GRAIN ? 1 : zk_device_threads(device);
}

static inline int64_t zk_cpu_min(int64_t a, int64_t b) { return a < b ? a : b; }

#endif
