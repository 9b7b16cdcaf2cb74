// The CUDA backend's host memory, marks and graphs (queue.cu), for its table in device.cu.
#ifndef ZK_KERNELS_CUDA_QUEUE_H
#define ZK_KERNELS_CUDA_QUEUE_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

zk_status zk_cuda_host_alloc(size_t bytes, void **out);
void zk_cuda_host_free(void *memory);
zk_status zk_cuda_mark_open(zk_mark *mark);
void zk_cuda_mark_close(zk_mark *mark);
zk_status zk_cuda_mark_set(zk_mark *mark);
zk_status zk_cuda_mark_wait(zk_mark *mark);
double zk_cuda_mark_seconds(const zk_mark *from, const zk_mark *to);
zk_status zk_cuda_graph_begin(zk_stream *stream);
zk_status zk_cuda_graph_end(zk_stream *stream, void **state);
void zk_cuda_graph_close(zk_stream *stream, void *state);
zk_status zk_cuda_graph_launch(zk_stream *stream, void *state);

// What kernels of this stream raised and nobody was told yet (device.cu).
zk_status zk_cuda_report_problem(zk_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
