// Linear layers of `numerics: bf16` on the CPU: tensor-core chains on unpacked operands, with the arguments of kernels/linear.h.
#ifndef ZK_KERNELS_CPU_LINEAR_BF16_H
#define ZK_KERNELS_CPU_LINEAR_BF16_H

#include "kernels/bf16.h"
#include "kernels/linear.h"

void zk_cpu_linear_bf16_forward(zk_stream *stream, const zk_linear_desc *desc, const zk_bf16 *x, const zk_bf16 *weight,
                                const zk_bf16 *bias, const zk_bf16 *addend, zk_bf16 *y);
void zk_cpu_linear_bf16_backward_input(zk_stream *stream, const zk_linear_desc *desc, const zk_bf16 *dy,
                                       const zk_bf16 *weight, const zk_bf16 *addend, zk_bf16 *dx);
// One chunk's rows: dweight[N,K] += dy^T x.
void zk_cpu_linear_bf16_backward_weight(zk_stream *stream, const zk_linear_desc *desc, int64_t num_rows,
                                        const zk_bf16 *dy, const zk_bf16 *x, float *dweight);

#endif
