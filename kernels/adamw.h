// AdamW (Loshchilov & Hutter 2019), elementwise on fp32 master weights and moments.
//
// Order: g = grad * grad_scale; m = fma(beta1, m, (1 - beta1) * g); v = fma(beta2, v, ((1 - beta2) * g) * g); mh = m / bias1; vh = v / bias2;
// w = fma(-lr, mh / (sqrtf(vh) + eps), w * decay), decay = 1 - lr * weight_decay (1 where no decay applies, and then no rounding).
// Scalars are computed in double on the host from kernels/math.h and rounded once to f32.
#ifndef ZK_KERNELS_ADAMW_H
#define ZK_KERNELS_ADAMW_H

#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  float lr, beta1, one_minus_beta1, beta2, one_minus_beta2, eps;
  float decay;         // 1 - lr * weight_decay
  float bias1, bias2;  // 1 - beta^step
  float grad_scale;    // clipping; 1 when none
} zk_adamw_params;

// Scalars for optimiser step `step` (from 1). grad_norm: global norm of the gradient; grad_clip 0 = off: grad_scale = clip / norm when norm > clip.
void zk_adamw_scalars(double lr, double beta1, double beta2, double eps, double weight_decay, int64_t step, float grad_norm, double grad_clip,
                      zk_adamw_params *out);

// Updates num_elements of master[], m[], v[] from grad[] (all fp32, device). `decays` says whether weight decay applies to this range.
// `working` gets the working copy in `numerics` (may be the master itself for f32; bf16: the master rounded).
zk_status zk_adamw(zk_stream *stream, zk_numerics numerics, const zk_adamw_params *params, int decays, int64_t num_elements, float *master,
                   float *m, float *v, const float *grad, void *working);

#ifdef __cplusplus
}
#endif
#endif
