// Initial weights of a new model, element by element from a counter: no state, no order, no library function.
#include <math.h>

#include "kernels/rng.h"
#include "shared/model.h"

// Twelve uniforms have variance 1 in sum: Irwin and Hall's approximation of the normal distribution, cut at 6
// deviations.
#define NUM_UNIFORMS 12

// Counter: c0 = use << 24 | block, c1 and c2 = global element index, c3 = 0; key = seed. Three blocks of four words per
// element. Each word r stands for (r + 1/2) / 2^32, so that the sum's mean is exactly 6. Sum and result are exact in a
// double.
static double standard_normal(uint64_t seed, int64_t element) {
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  int64_t twice_sum = -(int64_t)NUM_UNIFORMS * ((int64_t)1 << 32); // twice, to keep the halves
  for (uint32_t block = 0; block < NUM_UNIFORMS / 4; block++) {
    const uint32_t counter[4] = {(uint32_t)ZK_RNG_INIT << 24 | block, (uint32_t)element,
                                 (uint32_t)((uint64_t)element >> 32), 0};
    uint32_t words[4];
    zk_philox4x32(counter, key, words);
    for (int i = 0; i < 4; i++) twice_sum += 2 * (int64_t)words[i] + 1;
  }
  return (double)twice_sum * 0x1p-33;
}

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
    else
#pragma omp parallel for schedule(static) if (n > 1 << 16)
      for (int64_t k = 0; k < n; k++) out[k] = (float)(standard_normal(seed, first + k) * scale);
    first += n, out += n, count -= n;
  }
}

void zk_model_init(const zk_model_config *config, const zk_params *params, uint64_t seed, double std, float *flat) {
  zk_model_init_range(config, params, seed, std, 0, params->num_elements, flat);
}
