// The kernels of bf16's attention forward on the GPU. All give the same bits, so the choice is free: the first valid
// one of the list that suits the batch is taken.
#ifndef ZK_KERNELS_CUDA_ATTENTION_VARIANT_H
#define ZK_KERNELS_CUDA_ATTENTION_VARIANT_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

// X(enumerator, name), the preferred first.
#define ZK_CUDA_ATTENTION_LIST(X)                                                                                      \
  X(CLUSTER, "cluster") /* so few rows that splits outnumber them: each on a cluster of blocks; D 64 and 128 */         \
  X(DECODE, "decode") /* few rows a sequence: K and V in a ring that the copy engine fills; D 64 and 128 */            \
  X(PREFILL,                                                                                                           \
    "prefill")      /* many rows a sequence: wgmma, K and V through rings that the copy engine fills; D 64 and 128 */  \
  X(TILES, "tiles") /* any batch: mma.sync, tiles loaded by the threads that use them */

typedef enum {
#define X(name, text) ZK_CUDA_ATTENTION_##name,
  ZK_CUDA_ATTENTION_LIST(X)
#undef X
      ZK_CUDA_NUM_ATTENTION
} zk_cuda_attention_variant;

const char *zk_cuda_attention_name(zk_cuda_attention_variant variant);
// Checks and tests: from now on this process takes `variant` wherever it is valid, whether it suits or not, or, given
// ZK_CUDA_NUM_ATTENTION, what it prefers.
void zk_cuda_attention_force(zk_cuda_attention_variant variant);
bool zk_cuda_attention_is_forced(void);
// Whether a variant is forced and no call has taken it since: what was computed says nothing about it.
bool zk_cuda_attention_is_idle(void);
// The emulated device alone: whether one token's attention goes by its own kernel wherever that is valid (attention_token.cuh; it does more than
// those of the list). At first not; a GPU takes it unless a variant is forced.
void zk_cuda_attention_want_token(bool wanted);

#ifdef __cplusplus
}
#endif
#endif
