// Qwen3's sizes, SmolLM2's, and policies of them.
#include "trainer/bench_shapes.h"

#include <stdlib.h>

#include "kernels/bench/gpu.h"

static const struct {
  const char *name;
  int32_t layers, hidden, heads, kv_heads, intermediate;
  bool tied;
} qwen3_shapes[ZK_BENCH_NUM_QWEN3] = {{"0.6B", 28, 1024, 16, 8, 3072, true},
                                      {"1.7B", 28, 2048, 16, 8, 6144, true},
                                      {"4B", 36, 2560, 32, 8, 9728, true},
                                      {"8B", 36, 4096, 32, 8, 12288, false}};

const char *zk_bench_qwen3_name(int shape) { return qwen3_shapes[shape].name; }

zk_model_config zk_bench_qwen3(const zk_bench *bench, int shape) {
  zk_model_config m = zk_model_config_default(ZK_MODEL_QWEN3);
  m.num_layers = zk_bench_size(bench, qwen3_shapes[shape].layers, 1), m.hidden = zk_bench_size(bench, qwen3_shapes[shape].hidden, 16);
  m.intermediate = zk_bench_size(bench, qwen3_shapes[shape].intermediate, 16);
  m.num_kv_heads = zk_bench_size(bench, qwen3_shapes[shape].kv_heads, 1);
  m.num_heads = m.num_kv_heads * (qwen3_shapes[shape].heads / qwen3_shapes[shape].kv_heads);
  m.head_dim = 128, m.vocab = zk_bench_size(bench, 151936, 16);
  m.tie_embeddings = qwen3_shapes[shape].tied, m.rms_eps = 1e-6f, m.rope.theta = 1e6, m.max_position = 8192;
  return m;
}

zk_model_config zk_bench_llama_135m(void) {
  zk_model_config m = zk_model_config_default(ZK_MODEL_LLAMA);
  m.num_layers = 30, m.hidden = 576, m.num_heads = 9, m.num_kv_heads = 3, m.head_dim = 64, m.intermediate = 1536, m.vocab = 49152;
  m.tie_embeddings = 1, m.rms_eps = 1e-5f, m.rope.theta = 100000, m.max_position = 2048;
  return m;
}

static zk_status fill_from_host(zk_bench *bench, zk_policy *policy) {
  const size_t n = (size_t)policy->params.num_elements;
  float *random;
  ZK_TRY(zk_bench_floats(bench, n, "weights", &random));
  float *host = malloc(n * sizeof *host);
  zk_status st = host ? zk_copy_to_host(zk_bench_stream(bench), host, random, n * sizeof *host) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a model");
  if (st == ZK_OK) st = zk_stream_wait(zk_bench_stream(bench));
  zk_device_free(zk_bench_device(bench), random);
  for (size_t i = 0; st == ZK_OK && i < n; i++) host[i] *= ZK_BENCH_WEIGHT_SCALE;
  if (st == ZK_OK) st = zk_policy_set_weights(policy, zk_bench_stream(bench), host);
  free(host);
  return st;
}

zk_status zk_bench_policy_open(zk_bench *bench, zk_numerics numerics, const zk_model_config *config, zk_policy *out) {
  ZK_TRY(zk_policy_open(zk_bench_device(bench), numerics, config, config->max_position, out));
  if (zk_device_get_kind(zk_bench_device(bench)) == ZK_DEVICE_CPU) return fill_from_host(bench, out);
  ZK_TRY(zk_bench_fill(bench, numerics, out->params.num_elements, ZK_BENCH_WEIGHT_SCALE, out->weights));
  return zk_policy_changed(out, zk_bench_stream(bench));
}

double zk_bench_layer_flops(const zk_policy *p) { return 2.0 * ((double)p->params.num_elements - (double)p->config.vocab * (double)p->config.hidden * (p->config.tie_embeddings ? 1 : 2)); }
double zk_bench_head_flops(const zk_policy *p) { return 2.0 * (double)p->config.vocab * (double)p->config.hidden; }
