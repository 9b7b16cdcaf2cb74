// Addresses whose pages come and go, on a GPU.
#ifndef ZK_KERNELS_CUDA_PAGES_H
#define ZK_KERNELS_CUDA_PAGES_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

zk_status zk_cuda_reserve(zk_device *device, size_t bytes, void **out);
void zk_cuda_release(zk_device *device, void *memory, size_t bytes);
zk_status zk_cuda_map(zk_device *device, void *memory, size_t bytes);
zk_status zk_cuda_unmap(zk_device *device, void *memory, size_t bytes);
// Memory without an address that waits for the next zk_cuda_map: free for it, and for nobody else until it is dropped.
size_t zk_cuda_kept_bytes(const zk_device *device);
void zk_cuda_drop_kept(const zk_device *device);

#ifdef __cplusplus
}
#endif
#endif
