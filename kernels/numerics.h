// The three arithmetics a run can be defined by. Part of a run's identity; which device computes them is not.
#ifndef ZK_KERNELS_NUMERICS_H
#define ZK_KERNELS_NUMERICS_H

#include <stddef.h>

// Raised whenever any bit of any operation may change. Stored in every trajectory file.
#define ZK_CONTRACT_VERSION 3

// X(enumerator, name in configs, bytes of one stored activation or working weight)
#define ZK_NUMERICS_LIST(X)                                                                                            \
  X(F32, "f32", 4)     /* IEEE binary32, explicit fma chains: same bits on every CPU with FMA and every CUDA GPU */    \
  X(BF16, "bf16", 2)   /* bf16 operands, k16 tensor-core chain, fp32 accumulator */                                    \
  X(VENDOR, "vendor", 2) /* whatever the vendor's library picks: the negative control */

typedef enum {
#define X(name, text, bytes) ZK_##name,
  ZK_NUMERICS_LIST(X)
#undef X
      ZK_NUM_NUMERICS
} zk_numerics;

#ifdef __cplusplus
extern "C" {
#endif
const char *zk_numerics_name(zk_numerics numerics); // "f32"
size_t zk_numerics_bytes(zk_numerics numerics); // of one activation element
#ifdef __cplusplus
}
#endif
#endif
