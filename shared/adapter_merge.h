// An adapter merged with its base: a model that needs neither. Each target's weights become W + (alpha / rank) B A:
//
//   W'[n][k] = (chain over r of fma(s B[n][r], A[r][k], acc) from +0) + W[n][k],  s B rounded first, all in f32
//
// Its logits are not the factored forward pass's bits: it is for others to load.
#ifndef ZK_SHARED_ADAPTER_MERGE_H
#define ZK_SHARED_ADAPTER_MERGE_H

#include "shared/adapter.h"
#include "shared/model.h"
#include "shared/weight_source.h"

typedef struct {
  const zk_weight_source *base, *factors; // of the model's table and of the adapter's
  zk_lora lora;
  zk_numerics numerics;       // whose working weights' hash
  uint64_t base_hash;         // the base must have: else ZK_BAD_INPUT, and nothing is written
  const char *adapter;        // the adapter's folder, for the message
  const char *tokenizer_dir;  // whose tokenizer files the model gets
  zk_dtype dtype;             // as zk_model_copy's
} zk_adapter_merge;

// Writes the merged model to `dir`, absent or empty, as zk_model_copy does. A tensor at a time is in memory.
zk_status zk_adapter_merge_to(const zk_adapter_merge *merge, const char *dir);

#endif
