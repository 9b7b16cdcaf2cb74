// Counters in device memory, of a stream: by them blocks of one kernel learn which of them is the last to end with
// something that several of them share out. 0 between kernels: the last of each count sets it so.
#ifndef ZK_KERNELS_CUDA_ARRIVALS_H
#define ZK_KERNELS_CUDA_ARRIVALS_H

#include "kernels/backend.h"

#define ZK_CUDA_NUM_ARRIVALS 8192
extern "C" uint32_t *zk_cuda_arrivals(zk_stream *stream);

#endif
