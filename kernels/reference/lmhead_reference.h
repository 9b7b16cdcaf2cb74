// The orders of kernels/lmhead.h as straight loops over stored logits: what every fast LM head must equal bit for bit.
// Host memory; slow on purpose.
#ifndef ZK_KERNELS_REFERENCE_LMHEAD_REFERENCE_H
#define ZK_KERNELS_REFERENCE_LMHEAD_REFERENCE_H

#include <stdbool.h>

#include "kernels/bf16.h"
#include "kernels/lmhead.h"

#ifdef __cplusplus
extern "C" {
#endif

// One row: logit[V] from x[K], weight[V,K].
void zk_lmhead_reference_logits(int32_t hidden, int32_t vocab, const float *x, const float *weight, float *logit);

typedef struct {
  float logprob, lse, entropy, kept_logit;
  int32_t kept_id, token;
  uint64_t logits_hash;
} zk_lmhead_reference_row;

// What zk_lmhead_logprob (target >= 0) or zk_lmhead_sample (target -1; the noise named by seed, step, prompt, sample,
// position) gives for a row of logits. kept_logit and kept_id are set with a filter. False when out of memory.
bool zk_lmhead_reference_read(const zk_lmhead_desc *desc, const float *logit, int32_t target, uint64_t seed,
                              uint32_t step, uint32_t prompt, uint32_t sample, uint32_t position,
                              zk_lmhead_reference_row *out);

// One row: dlogit[V] in place of logit[V]; *dentropy: the row's, or dentropy NULL. False when out of memory.
bool zk_lmhead_reference_dlogits(const zk_lmhead_desc *desc, float *logit, int32_t target, float dlogprob, const float *dentropy);

// dx[T,K] overwritten, dweight[V,K] +=. False when out of memory.
bool zk_lmhead_reference_backward(const zk_lmhead_desc *desc, const zk_chunks *chunks, const float *x,
                                  const float *weight, const int32_t *target, const float *dlogprob, const float *dentropy,
                                  float *dx, float *dweight);

// The two that differ in numerics bf16.
void zk_lmhead_reference_bf16_logits(int32_t hidden, int32_t vocab, const zk_bf16 *x, const zk_bf16 *weight, float *logit);
bool zk_lmhead_reference_bf16_backward(const zk_lmhead_desc *desc, const zk_chunks *chunks, const zk_bf16 *x, const zk_bf16 *weight,
                                       const int32_t *target, const float *dlogprob, const float *dentropy, zk_bf16 *dx, float *dweight);

#ifdef __cplusplus
}
#endif
#endif
