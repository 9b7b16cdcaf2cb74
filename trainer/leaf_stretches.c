// A layer's tensors lie side by side in the flat vector: names of one layer begin alike.
#include "trainer/leaf_stretches.h"

#include <stdbool.h>

static zk_stretch of_param(const zk_params *params, zk_param_kind kind) {
  const zk_param *p = &params->params[zk_params_index(params, kind, 0)];
  return (zk_stretch){p->first, p->first + p->num_elements};
}

static bool is_of_layer(const zk_param *p, int layer) {
  return p->layer == layer && p->kind != ZK_PARAM_EMBED && p->kind != ZK_PARAM_FINAL_NORM && p->kind != ZK_PARAM_LM_HEAD;
}

static zk_stretch of_layer(const zk_params *params, int layer) {
  zk_stretch s = {params->num_elements, 0};
  for (int i = 0; i < params->num_params; i++) {
    const zk_param *p = &params->params[i];
    if (!is_of_layer(p, layer)) continue;
    if (p->first < s.first) s.first = p->first;
    if (p->first + p->num_elements > s.last) s.last = p->first + p->num_elements;
  }
  return s;
}

// Final norm, head and embedding are trained.
static bool has_ends(const zk_params *params) { return !zk_params_is_adapter(params); }

static bool has_own_head(const zk_params *params) {
  return zk_params_index(params, ZK_PARAM_LM_HEAD, 0) != zk_params_index(params, ZK_PARAM_EMBED, 0);
}

int zk_stretches_num(const zk_params *params) { return zk_stretches_done(params, 0) + has_ends(params); }

int zk_stretches_done(const zk_params *params, int layer) { return has_ends(params) + has_own_head(params) + params->num_layers - layer; }

void zk_stretches_fill(const zk_params *params, zk_stretch *out) {
  if (has_ends(params)) *out++ = of_param(params, ZK_PARAM_FINAL_NORM);
  if (has_own_head(params)) *out++ = of_param(params, ZK_PARAM_LM_HEAD);
  for (int layer = params->num_layers - 1; layer >= 0; layer--) *out++ = of_layer(params, layer);
  if (has_ends(params)) *out = of_param(params, ZK_PARAM_EMBED);
}
