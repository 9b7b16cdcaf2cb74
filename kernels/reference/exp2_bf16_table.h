// The definition of W, the weight of a score in bf16's attention: 2^t rounded to bf16, as integers. An f32 in [-126, -64] is a multiple of 2^-17, so
// that there are 2^17 fractions, the same for every exponent.
#ifndef ZK_KERNELS_REFERENCE_EXP2_BF16_TABLE_H
#define ZK_KERNELS_REFERENCE_EXP2_BF16_TABLE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Ascending: the fractions, in units of 2^-17, from which on 2^fraction is 1 + 1/128, 1 + 2/128, .., 2.
extern const int32_t zk_exp2_bf16_table[128];

// W(t) = 2^floor(t) * (1 + k / 128), k the number of entries that are at most (t - floor(t)) * 2^17; +0 below -126, W(-64) above -64, NaN for a NaN.
float zk_exp2_bf16_by_table(float t);

#ifdef __cplusplus
}
#endif
#endif
