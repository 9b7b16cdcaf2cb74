// The kernels of bf16's attention backward on the GPU. All give the same bits, so the choice is free: the first valid
// one of the list is taken.
#ifndef ZK_KERNELS_CUDA_ATTENTION_BACKWARD_VARIANT_H
#define ZK_KERNELS_CUDA_ATTENTION_BACKWARD_VARIANT_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

// X(enumerator, name), the preferred first.
#define ZK_CUDA_ATTENTION_BACKWARD_LIST(X)                                                                             \
  X(FUSED, "fused") /* one kernel for dq, dk and dv: wgmma, tiles of dq added in their order; D 64, 128 */             \
  X(TILES, "tiles") /* any shape: mma.sync, dq apart from dk and dv */

typedef enum {
#define X(name, text) ZK_CUDA_ATTENTION_BACKWARD_##name,
  ZK_CUDA_ATTENTION_BACKWARD_LIST(X)
#undef X
      ZK_CUDA_NUM_ATTENTION_BACKWARD
} zk_cuda_attention_backward_variant;

const char *zk_cuda_attention_backward_name(zk_cuda_attention_backward_variant variant);
// Checks and tests: from now on this process takes `variant` wherever it is valid, or, given
// ZK_CUDA_NUM_ATTENTION_BACKWARD, what it prefers.
void zk_cuda_attention_backward_force(zk_cuda_attention_backward_variant variant);
// Whether a variant is forced and no call has taken it since.
bool zk_cuda_attention_backward_is_idle(void);

#ifdef __cplusplus
}
#endif
#endif
