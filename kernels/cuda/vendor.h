// `numerics: vendor` on the GPU: cuBLAS, loaded when it is first asked for, with the heuristics it has. Nothing is linked, so that the
// executable starts where there is none; nothing of the contract ever calls it.
#ifndef ZK_KERNELS_CUDA_VENDOR_H
#define ZK_KERNELS_CUDA_VENDOR_H

#include "kernels/cuda/gemm.h"

#ifdef __cplusplus
extern "C" {
#endif

// Finds the library, once for the process; ZK_UNSUPPORTED says what to install.
zk_status zk_cuda_vendor_load(void);
// The product that `g` describes, of bf16 operands, as one call of the library, which may split k as it likes. A stored c takes bias and
// addend before the product is added to it: by rounding, a different sum from the contract's. addend is stored as c is.
zk_status zk_cuda_vendor_gemm(zk_stream *stream, const zk_cuda_gemm *g);
// Gives back a stream's handle, if it has one.
void zk_cuda_vendor_close(void *handle);

#ifdef __cplusplus
}
#endif
#endif
