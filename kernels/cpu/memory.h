// How much memory this process can still get.
#ifndef ZK_KERNELS_CPU_MEMORY_H
#define ZK_KERNELS_CPU_MEMORY_H

#include <stddef.h>

// The least of: MemAvailable of /proc/meminfo, and what each memory cgroup (v1 or v2) above this process has left, counting its
// reclaimable file cache as free. SIZE_MAX when nothing can be read.
size_t zk_cpu_memory_free(void);

#endif
