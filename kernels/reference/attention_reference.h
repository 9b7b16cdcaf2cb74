// The contract's attention as straight loops over one sequence, for comparing kernels with: no pages, no blocking; rows are shared among threads, which own their outputs.
// Order and formulas: kernels/attention.h. Written from that text alone, it shares no code with the kernels but the mathematics header.
#ifndef ZK_KERNELS_REFERENCE_ATTENTION_H
#define ZK_KERNELS_REFERENCE_ATTENTION_H

#include <stdint.h>

#include "kernels/bf16.h"

typedef struct {
  int32_t num_rows;     // query tokens, T
  int32_t first_pos;    // position of the first of them, P; there are P + T keys
  int32_t num_heads;    // Hq
  int32_t num_kv_heads; // Hkv, divides Hq
  int32_t head_dim;     // D
  float scale;
  // The order itself. The contract's is {ZK_ATTN_TILE, ZK_ATTN_SPLIT, ZK_ATTN_PART}, of bf16
  // {ZK_ATTN_TILE_BF16, ZK_ATTN_SPLIT_BF16, ZK_ATTN_PART}; another one is a negative control.
  int32_t tile, split, part;
} zk_attention_reference;

// out[T,Hq,D], lse[T,Hq] from q[T,Hq,D], k[P+T,Hkv,D], v[P+T,Hkv,D]. All plain host arrays; tile at most 256 keys, D at most 512.
void zk_attention_reference_forward(const zk_attention_reference *desc, const float *q, const float *k, const float *v, float *out,
                                    float *lse);
// dq[T,Hq,D], dk[T,Hkv,D], dv[T,Hkv,D], overwritten; first_pos must be 0.
void zk_attention_reference_backward(const zk_attention_reference *desc, const float *q, const float *k, const float *v,
                                     const float *out, const float *dout, const float *lse, float *dq, float *dk, float *dv);

// The same in numerics bf16; lse is of base 2, part a multiple of 16.
void zk_attention_reference_bf16_forward(const zk_attention_reference *desc, const zk_bf16 *q, const zk_bf16 *k, const zk_bf16 *v,
                                         zk_bf16 *out, float *lse);
void zk_attention_reference_bf16_backward(const zk_attention_reference *desc, const zk_bf16 *q, const zk_bf16 *k, const zk_bf16 *v,
                                          const zk_bf16 *out, const zk_bf16 *dout, const float *lse, zk_bf16 *dq, zk_bf16 *dk,
                                          zk_bf16 *dv);
// One row of it: dq[D] of query row t and head h; dk[D], dv[D] of key j and its KV head.
void zk_attention_reference_bf16_dq(const zk_attention_reference *desc, const zk_bf16 *q, const zk_bf16 *k, const zk_bf16 *v,
                                    const zk_bf16 *out, const zk_bf16 *dout, const float *lse, int32_t t, int32_t h, zk_bf16 *dq);
void zk_attention_reference_bf16_dkv(const zk_attention_reference *desc, const zk_bf16 *q, const zk_bf16 *k, const zk_bf16 *v,
                                     const zk_bf16 *out, const zk_bf16 *dout, const float *lse, int32_t j, int32_t kv_head, zk_bf16 *dk,
                                     zk_bf16 *dv);

#endif
