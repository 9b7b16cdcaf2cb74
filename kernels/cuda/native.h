// The CUDA stream behind a stream, for libraries that take one (shared/comm_nccl.c).
#ifndef ZK_KERNELS_CUDA_NATIVE_H
#define ZK_KERNELS_CUDA_NATIVE_H

#include <cuda_runtime.h>

#include "kernels/device.h"

#ifdef __cplusplus
extern "C"
#endif
cudaStream_t zk_cuda_stream(zk_stream *stream); // of a device of ZK_DEVICE_CUDA

#endif
