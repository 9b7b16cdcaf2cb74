// Tokens times weights, and pairs of tokens.
#include "trainer/flops.h"

double zk_train_flops(const zk_policy *policy, const zk_sequences *seqs) {
  const zk_model_config *c = &policy->config;
  const double table = (double)c->vocab * (double)c->hidden, width = (double)c->num_heads * (double)c->head_dim;
  const double layers = (double)policy->params.num_elements - (c->tie_embeddings ? 1 : 2) * table;
  const double tokens = (double)seqs->offsets[seqs->num_seqs], targets = (double)seqs->target_offsets[seqs->num_seqs];
  double pairs = 0;
  for (int64_t i = 0; i < seqs->num_seqs; i++) {
    const double length = (double)(seqs->offsets[i + 1] - seqs->offsets[i]);
    pairs += length * length / 2;
  }
  if (policy->adapter.lora.rank)
    return 4 * (layers * tokens + table * targets) + 6 * (double)policy->adapter.params.num_elements * tokens + 12 * (double)c->num_layers * width * pairs;
  return 6 * (layers * tokens + table * targets) + 12 * (double)c->num_layers * width * pairs;
}
