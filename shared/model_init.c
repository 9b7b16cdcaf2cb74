// Initial weights of a new model, element by element from a counter: no state, no order, no library function.
#include <math.h>
#include <stdlib.h>

#include "kernels/init.h"
#include "shared/model.h"
#include "shared/weight_source.h"

static int is_residual(zk_param_kind kind) { return kind == ZK_PARAM_O_W || kind == ZK_PARAM_DOWN; }

static int is_bias(zk_param_kind kind) { return kind == ZK_PARAM_Q_B || kind == ZK_PARAM_K_B || kind == ZK_PARAM_V_B; }

// The part of elements [first, first + count) that one tensor has, and what its weights are.
typedef struct {
  int64_t count;
  int is_random;
  float constant; // if not
  double scale;   // if so
} part;

static part part_at(const zk_model_config *config, const zk_param *p, double std, int64_t first, int64_t count) {
  const int64_t left = p->first + p->num_elements - first;
  return (part){left < count ? left : count, p->num_dims > 1, is_bias(p->kind) ? 0.0f : 1.0f,
                is_residual(p->kind) ? std / sqrt(2.0 * config->num_layers) : std};
}

void zk_model_init_range(const zk_model_config *config, const zk_params *params, uint64_t seed, double std,
                         int64_t first, int64_t count, float *out) {
  for (int i = count > 0 ? zk_params_of_element(params, first) : 0; count > 0; i++) {
    const part p = part_at(config, &params->params[i], std, first, count);
    if (p.is_random) zk_init_normal_host(seed, first, p.count, p.scale, out);
    else
      for (int64_t k = 0; k < p.count; k++) out[k] = p.constant;
    first += p.count, out += p.count, count -= p.count;
  }
}

static zk_status copy_constant(zk_stream *stream, zk_numerics numerics, float value, int64_t count, void *device) {
  const size_t bytes = (size_t)count * zk_numerics_bytes(numerics);
  float *constant = malloc((size_t)count * sizeof *constant);
  void *host = malloc(bytes);
  zk_status st = constant && host ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %lld weights", (long long)count);
  if (st == ZK_OK) {
    for (int64_t k = 0; k < count; k++) constant[k] = value;
    zk_weights_round(numerics, constant, count, host);
    st = zk_copy_to_device(stream, device, host, bytes);
  }
  if (st == ZK_OK) st = zk_stream_wait(stream);
  free(constant);
  free(host);
  return st;
}

zk_status zk_model_init_device(zk_stream *stream, zk_numerics numerics, const zk_model_config *config, const zk_params *params, uint64_t seed,
                               double std, int64_t first, int64_t count, void *device) {
  char *out = device;
  for (int i = count > 0 ? zk_params_of_element(params, first) : 0; count > 0; i++) {
    const part p = part_at(config, &params->params[i], std, first, count);
    if (p.is_random) ZK_TRY(zk_init_normal(stream, numerics, seed, first, p.count, p.scale, out));
    else ZK_TRY(copy_constant(stream, numerics, p.constant, p.count, out));
    first += p.count, out += (size_t)p.count * zk_numerics_bytes(numerics), count -= p.count;
  }
  return zk_stream_wait(stream);
}

void zk_model_init(const zk_model_config *config, const zk_params *params, uint64_t seed, double std, float *flat) {
  zk_model_init_range(config, params, seed, std, 0, params->num_elements, flat);
}
