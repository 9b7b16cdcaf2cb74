// AdamW: the scalars of one step, in double from kernels/math.h, each rounded once; the update is handed over to the device.
#include "kernels/backend.h"

#include "kernels/math.h"

void zk_adamw_scalars(double lr, double beta1, double beta2, double eps, double weight_decay, int64_t step,
                      float grad_norm, double grad_clip, zk_adamw_params *out) {
  const int clips = grad_clip > 0.0 && (double)grad_norm > grad_clip;
  *out = (zk_adamw_params){
      .lr = (float)lr,
      .beta1 = (float)beta1,
      .one_minus_beta1 = (float)(1.0 - beta1),
      .beta2 = (float)beta2,
      .one_minus_beta2 = (float)(1.0 - beta2),
      .eps = (float)eps,
      .decay = (float)(1.0 - lr * weight_decay),
      .bias1 = (float)(1.0 - zk_powi(beta1, step)),
      .bias2 = (float)(1.0 - zk_powi(beta2, step)),
      .grad_scale = clips ? (float)(grad_clip / (double)grad_norm) : 1.0f,
  };
}

zk_status zk_adamw(zk_stream *stream, zk_numerics numerics, const zk_adamw_params *params, int decays, int64_t num_elements, float *master,
                   float *m, float *v, const float *grad, void *working) {
  zk_stream_count(stream, ZK_OP_ADAMW);
  ZK_TRY(stream->device->kernels->adamw(stream, numerics, params, decays, num_elements, master, m, v, grad, working));
  return zk_stream_fault(stream, ZK_OP_ADAMW, numerics, working, (size_t)num_elements);
}
