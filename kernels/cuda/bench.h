// Measuring on a GPU: random inputs made there, and times taken by the GPU's own clock around replays of a captured graph.
#ifndef ZK_KERNELS_CUDA_BENCH_H
#define ZK_KERNELS_CUDA_BENCH_H

#include "kernels/bench.h"

#ifdef __cplusplus
extern "C" {
#endif

// x[i] = scale * u(i, seed) for i < n, u in [-1, 1) and not compressible; f32 or bf16.
zk_status zk_cuda_bench_fill(zk_stream *stream, zk_numerics numerics, int64_t n, float scale, uint64_t seed, void *x);
// Median time of one call in microseconds. Calls are captured into one graph, so that inputs that a call changes from one time to the next
// (weights in rotation) change in it too; a call that waits for the device cannot be captured and is launched. Kernels that can start while
// the one ahead drains do so. The GPU's clock is waited for first, if heavy products have taken it down. About `seconds` are spent, and up to
// 0.2 on that.
zk_status zk_cuda_bench_time(zk_stream *stream, zk_bench_call *call, void *arg, double seconds, double *us);
// The stream's CUDA handle, for a vendor's library; NULL where the device is emulated and no such library can follow.
void *zk_cuda_bench_handle(zk_stream *stream);
// CUDA's versions, 13000 for 13.0: of the runtime linked in, and the newest that the driver knows.
void zk_cuda_bench_versions(int *runtime, int *driver);

#ifdef __cplusplus
}
#endif
#endif
