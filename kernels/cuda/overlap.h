// Whether kernels of a stream may begin before the one ahead of them has ended (kernels/cuda/cuda.cuh).
#ifndef ZK_KERNELS_CUDA_OVERLAP_H
#define ZK_KERNELS_CUDA_OVERLAP_H

#include <stdbool.h>

#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// For kernels queued from now on (ZK_LAUNCH_DEPENDENT): on for the sampler's and the trainer's streams, off for others. What such a kernel reads before
// it waits, no kernel ahead of it may write without an ordinary launch, copy or wait between.
void zk_cuda_set_overlap(zk_stream *stream, bool overlap);
bool zk_cuda_overlap(zk_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
