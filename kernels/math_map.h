// A function of kernels/math.h over an array, on a device: for zerokl check, which compares what each compiler made of them.
#ifndef ZK_KERNELS_MATH_MAP_H
#define ZK_KERNELS_MATH_MAP_H

#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { ZK_MAP_EXPF, ZK_MAP_LOGF, ZK_MAP_EXP2F, ZK_MAP_EXP2_BF16, ZK_MAP_LOG2F, ZK_MAP_GUMBEL } zk_math_function;

// y[i] = f(x[i]), n values in device memory: x holds floats, or 32-bit random words for ZK_MAP_GUMBEL. ZK_MAP_EXP2_BF16 is computed as attention's kernels
// do, and a fault of attention reaches it.
zk_status zk_math_map(zk_stream *stream, zk_math_function f, int64_t n, const void *x, float *y);

#ifdef __cplusplus
}
#endif
#endif
