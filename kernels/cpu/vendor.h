// `numerics: vendor` on the CPU: what bf16 stores, with every matrix product of it widened and left to OpenBLAS. Arguments as in
// kernels/linear.h and kernels/lmhead.h; all else is bf16's kernels.
#ifndef ZK_KERNELS_CPU_VENDOR_H
#define ZK_KERNELS_CPU_VENDOR_H

#include "kernels/bf16.h"
#include "kernels/cpu/lmhead.h"
#include "kernels/linear.h"

// y[i] = x[i] widened, by the device's threads.
void zk_cpu_vendor_widen(const zk_device *device, int64_t n, const zk_bf16 *x, float *y);

// `packed` is the weight widened, [N,K] f32.
zk_status zk_cpu_vendor_linear_forward(zk_stream *stream, const zk_linear_desc *desc, const zk_bf16 *x,
                                       const float *packed, const zk_bf16 *bias, const zk_bf16 *addend, zk_bf16 *y);
zk_status zk_cpu_vendor_linear_backward_input(zk_stream *stream, const zk_linear_desc *desc, const zk_bf16 *dy,
                                              const zk_bf16 *weight, const zk_bf16 *addend, zk_bf16 *dx);
// dweight[N,K] += dy^T x of num_rows rows in one product.
zk_status zk_cpu_vendor_linear_backward_weight(zk_stream *stream, const zk_linear_desc *desc, int64_t num_rows,
                                               const zk_bf16 *dy, const zk_bf16 *x, float *dweight);

// The logits of a forward call's rows [row, row + rows), all ids, into c: zk_lmhead_forward's `product`.
void zk_cpu_vendor_logits(const zk_lmhead_forward *call, int64_t row, int64_t rows, float *x_wide, float *c,
                          int64_t ldc);
zk_status zk_cpu_vendor_lmhead_backward(zk_stream *stream, const zk_lmhead_backward_chunk *call);

#endif
