// Adds up what session, engine and updater would allocate.
#include "trainer/plan.h"

#include <string.h>

#include "rollout/session.h"
#include "shared/model.h"
#include "trainer/gradient.h"
#include "trainer/leaf_tree.h"

typedef struct {
  const char *what;
  size_t bytes;
} row;

static zk_status count(const zk_config *c, int num_ranks, zk_policy *p, row *rows, int *num_rows) {
  zk_engine_options o = {.max_new_tokens = c->rollout.max_new_tokens, .max_batch = c->rollout.max_batch, .page_tokens = c->rollout.page_tokens,
                         .kv_bytes = c->rollout.kv_bytes, .prefill_chunk = c->rollout.prefill_chunk, .max_sequence = p->num_positions};
  size_t kv, least, weights = (size_t)p->params.num_elements * zk_numerics_bytes(p->numerics);
  zk_engine_kv_bytes(p, &o, &kv, &least);
  zk_gradient_options g = {1, 0, 1, c->trainer.microbatch_tokens, c->trainer.recompute};
  int64_t tokens = c->trainer.microbatch_tokens > ZK_CHUNK_TOKENS ? c->trainer.microbatch_tokens : ZK_CHUNK_TOKENS;
  const row all[] = {
      {"weights (shared by sampler and trainer)", weights},
      {"weights packed for this device, RoPE tables", zk_policy_bytes(p->device, p->numerics, &p->config, &p->params, p->num_positions) - weights},
      {"KV cache", kv},
      {"sampler activations", zk_layer_activations_bytes(p, o.max_batch + o.prefill_chunk, false)},
      {"trainer activations and scratch, full microbatch", zk_gradient_bytes(p, &g, tokens, tokens)},
      {"gradients (tree of leaves)", zk_leaf_tree_bytes(p->params.num_elements, c->trainer.grad_leaves, num_ranks)},
      {"optimiser state and gradient shard", 3 * (size_t)(p->params.num_elements / num_ranks) * sizeof(float)},
  };
  *num_rows = (int)(sizeof all / sizeof *all);
  memcpy(rows, all, sizeof all);
  return ZK_OK;
}

zk_status zk_plan_print(const zk_config *c, int num_ranks, FILE *out) {
  ZK_TRY(zk_config_write_yaml(c, out));
  zk_model_config model;
  ZK_TRY(zk_session_model_config(c, &model));
  zk_policy policy = {.numerics = c->numerics, .config = model, .num_positions = zk_session_positions(&model)};
  ZK_TRY(zk_params_create(&model, &policy.params));
  zk_status st = zk_device_open(c->device == ZK_CONFIG_DEVICE_CUDA ? ZK_DEVICE_CUDA : ZK_DEVICE_CPU, 0, &policy.device);
  row rows[16];
  int n = 0;
  size_t total = 0, available = 0;
  if (st == ZK_OK) st = count(c, num_ranks, &policy, rows, &n);
  if (st == ZK_OK) {
    fprintf(out, "# model: %s, %lld parameters\n# memory of one of %d worker%s, bytes\n", zk_model_architecture_name(model.architecture),
            (long long)policy.params.num_elements, num_ranks, num_ranks == 1 ? "" : "s");
    for (int i = 0; i < n; i++) {
      fprintf(out, "# %16zu  %s\n", rows[i].bytes, rows[i].what);
      total += rows[i].bytes;
    }
    available = zk_device_memory_free(policy.device);
    fprintf(out, "# %16zu  all; %zu free on %s\n", total, available, zk_device_describe(policy.device));
    if (total > available)
      st = ZK_FAIL(ZK_OUT_OF_MEMORY, "the plan needs %zu bytes, %zu are free: lower rollout.max_batch, rollout.kv_bytes or trainer.microbatch_tokens, or set "
                   "trainer.recompute", total, available);
  }
  if (policy.device) zk_device_close(policy.device);
  zk_params_destroy(&policy.params);
  return st;
}
