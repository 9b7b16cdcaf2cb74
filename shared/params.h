// The parameter table of a model: every tensor in bytewise order of its Hugging Face name, a tied head once (as the
// embedding).
//
// THE GLOBAL ELEMENT INDEX. Concatenating the tensors in this order, row-major, gives one flat vector of num_elements
// floats. An element's index in it is its global element index: weights/hash, state/hash, the gradient-norm blocks of
// 4,096 elements, optimiser shards, optimizer.h5 and the weight files are all written in terms of it, and shards are
// cut only at multiples of 4,096 of it. It is a function of the config alone. Offsets are plain cumulative sums: no
// padding, no alignment. An adapter's table is a vector of its own; beside its base it begins at the next multiple of 4,096.
#ifndef ZK_SHARED_PARAMS_H
#define ZK_SHARED_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/status.h"
#include "shared/model_config.h"

// clang-format off
// X(enum, Hugging Face name after the layer's prefix)
#define ZK_PARAM_KINDS(X)                                                                                              \
  X(EMBED, "model.embed_tokens.weight")              /* [vocab, hidden]                    */                          \
  X(Q_W, "self_attn.q_proj.weight")                  /* [heads x head_dim, hidden]         */                          \
  X(Q_B, "self_attn.q_proj.bias")                    /* [heads x head_dim]                 */                          \
  X(K_W, "self_attn.k_proj.weight")                  /* [kv_heads x head_dim, hidden]      */                          \
  X(K_B, "self_attn.k_proj.bias")                    /* [kv_heads x head_dim]              */                          \
  X(V_W, "self_attn.v_proj.weight")                  /* [kv_heads x head_dim, hidden]      */                          \
  X(V_B, "self_attn.v_proj.bias")                    /* [kv_heads x head_dim]              */                          \
  X(O_W, "self_attn.o_proj.weight")                  /* [hidden, heads x head_dim]         */                          \
  X(Q_NORM, "self_attn.q_norm.weight")               /* [head_dim]                         */                          \
  X(K_NORM, "self_attn.k_norm.weight")               /* [head_dim]                         */                          \
  X(ATTN_NORM, "input_layernorm.weight")             /* [hidden]                           */                          \
  X(MLP_NORM, "post_attention_layernorm.weight")     /* [hidden]                           */                          \
  X(GATE, "mlp.gate_proj.weight")                    /* [intermediate, hidden]             */                          \
  X(UP, "mlp.up_proj.weight")                        /* [intermediate, hidden]             */                          \
  X(DOWN, "mlp.down_proj.weight")                    /* [hidden, intermediate]             */                          \
  X(FINAL_NORM, "model.norm.weight")                 /* [hidden]                           */                          \
  X(LM_HEAD, "lm_head.weight")                       /* [vocab, hidden], absent when tied  */
// clang-format on

// The linear layers that an adapter (LoRA) may have factors for: X(id, the layer's weights, its name as in PEFT, under mlp or self_attn)
#define ZK_LORA_TARGET_LIST(X)                                                                                         \
  X(Q, Q_W, "self_attn", "q_proj")                                                                                     \
  X(K, K_W, "self_attn", "k_proj")                                                                                     \
  X(V, V_W, "self_attn", "v_proj")                                                                                     \
  X(O, O_W, "self_attn", "o_proj")                                                                                     \
  X(GATE, GATE, "mlp", "gate_proj")                                                                                    \
  X(UP, UP, "mlp", "up_proj")                                                                                          \
  X(DOWN, DOWN, "mlp", "down_proj")

typedef enum {
#define X(id, weight, parent, name) ZK_LORA_##id,
  ZK_LORA_TARGET_LIST(X)
#undef X
      ZK_LORA_NUM_TARGETS
} zk_lora_target;

typedef enum {
#define X(id, suffix) ZK_PARAM_##id,
  ZK_PARAM_KINDS(X)
#undef X
  ZK_PARAM_LORA_A, // of target t: ZK_PARAM_LORA_A + t; [rank, in]
  ZK_PARAM_LORA_B = ZK_PARAM_LORA_A + ZK_LORA_NUM_TARGETS, // [out, rank]
  ZK_NUM_PARAM_KINDS = ZK_PARAM_LORA_B + ZK_LORA_NUM_TARGETS
} zk_param_kind;

typedef struct zk_param {
  char name[80]; // "model.layers.11.mlp.up_proj.weight"
  zk_param_kind kind;
  int layer;            // 0 for EMBED, FINAL_NORM, LM_HEAD
  int num_dims;         // 2 for matrices [rows, cols]; 1 for norms and biases, whose rows = 1
  int64_t rows, cols;   // a linear layer's matrix is [out, in], row-major
  int64_t first;        // global element index of its element 0
  int64_t num_elements; // rows x cols
  int decay;            // weight decay applies: matrices (the embedding too), not norms or biases
} zk_param;

typedef struct zk_params {
  int num_params, num_layers;
  int64_t num_elements;
  zk_param *params; // [num_params], names ascending
  int *lookup;      // private: [ZK_NUM_PARAM_KINDS][num_layers] -> index or -1
} zk_params;

// Builds the table of a checked config. The caller owns *out and destroys it.
zk_status zk_params_create(const zk_model_config *config, zk_params *out);
// The table of an adapter for such a model, a vector of its own: factors A and B of the targets whose bits are set, names as in PEFT's
// adapter_model.safetensors.
zk_status zk_params_create_adapter(const zk_model_config *config, int32_t rank, uint32_t targets_wanted, zk_params *out);
void zk_params_destroy(zk_params *params);
bool zk_params_is_adapter(const zk_params *params);
const char *zk_lora_target_name(zk_lora_target target);          // "q_proj"
zk_param_kind zk_lora_target_weight(zk_lora_target target);      // the weights of its layer

// Index of a tensor, or -1 when this model has none of that kind. A tied LM_HEAD gives the embedding's index.
// `layer` is ignored for EMBED, FINAL_NORM and LM_HEAD.
int zk_params_index(const zk_params *params, zk_param_kind kind, int layer);
int zk_params_find(const zk_params *params, const char *name);      // -1 when absent
int zk_params_of_element(const zk_params *params, int64_t element); // the tensor that holds a global element; -1 beyond

#endif
