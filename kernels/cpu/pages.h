// Addresses whose pages come and go, on the host.
#ifndef ZK_KERNELS_CPU_PAGES_H
#define ZK_KERNELS_CPU_PAGES_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

zk_status zk_cpu_reserve(zk_device *device, size_t bytes, void **out);
void zk_cpu_release(zk_device *device, void *memory, size_t bytes);
zk_status zk_cpu_map(zk_device *device, void *memory, size_t bytes);
zk_status zk_cpu_unmap(zk_device *device, void *memory, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
