// Initial weights of a new model, element by element from a counter: no state, no order, no library function.
#include <math.h>

#include "kernels/init.h"
#include "shared/model.h"

static int is_residual(zk_param_kind kind) { return kind == ZK_PARAM_O_W || kind == ZK_PARAM_DOWN; }

void zk_model_init_range(const zk_model_config *config, const zk_params *params, uint64_t seed, double std,
                         int64_t first, int64_t count, float *out) {
  if (count <= 0) return;
  double residual_std = std / sqrt(2.0 * config->num_layers);
  for (int i = zk_params_of_element(params, first); count > 0; i++) {
    const zk_param *p = &params->params[i];
    int64_t end = p->first + p->num_elements, n = end - first < count ? end - first : count;
    int is_bias = p->kind == ZK_PARAM_Q_B || p->kind == ZK_PARAM_K_B || p->kind == ZK_PARAM_V_B;
    double scale = is_residual(p->kind) ? residual_std : std;
    if (p->num_dims == 1)
      for (int64_t k = 0; k < n; k++) out[k] = is_bias ? 0.0f : 1.0f;
    else zk_init_normal(seed, first, n, scale, out);
    first += n, out += n, count -= n;
  }
}

void zk_model_init(const zk_model_config *config, const zk_params *params, uint64_t seed, double std, float *flat) {
  zk_model_init_range(config, params, seed, std, 0, params->num_elements, flat);
}
