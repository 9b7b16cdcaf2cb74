// What a decoder is: the fields of a Hugging Face config.json that change the mathematics. One decoder with flags
// serves Llama, Qwen2 and Qwen3; a field that changes the mathematics and is not here is refused by name.
#ifndef ZK_SHARED_MODEL_CONFIG_H
#define ZK_SHARED_MODEL_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/rope.h"
#include "kernels/status.h"

// X(enum, model_type (also the name in model.init), class in `architectures`, qkv_bias, qk_norm)
#define ZK_MODEL_ARCHITECTURES(X)                                                                                      \
  X(LLAMA, "llama", "LlamaForCausalLM", 0, 0)                                                                          \
  X(QWEN2, "qwen2", "Qwen2ForCausalLM", 1, 0)                                                                          \
  X(QWEN3, "qwen3", "Qwen3ForCausalLM", 0, 1)

typedef enum {
#define X(id, type, class_name, qkv_bias, qk_norm) ZK_MODEL_##id,
  ZK_MODEL_ARCHITECTURES(X)
#undef X
      ZK_NUM_MODEL_ARCHITECTURES
} zk_model_architecture;

#define ZK_MODEL_MAX_EOS 8

typedef struct zk_model_config {
  zk_model_architecture architecture;
  int num_layers, hidden, num_heads, num_kv_heads, head_dim, intermediate, vocab;
  int tie_embeddings; // LM head is the embedding
  int qkv_bias;       // q, k, v projections have a bias (Qwen2)
  int qk_norm;        // RMSNorm of each head of q and k before RoPE (Qwen3)
  float rms_eps;
  zk_rope_params rope; // over the whole head; scaling fields are 0 when unused
  int max_position;    // positions the model was made for (max_position_embeddings)
  int bos_id;          // -1 when the model has none
  int num_eos;         // any of the ids below ends a completion; both files' ids, ascending
  int eos_ids[ZK_MODEL_MAX_EOS];
} zk_model_config;

const char *zk_model_architecture_name(zk_model_architecture architecture); // "qwen2"
// Finds the architecture by its short name ("llama"); ZK_UNSUPPORTED names the ones there are.
zk_status zk_model_architecture_parse(const char *name, zk_model_architecture *out);

// All zero but the defaults of an architecture: flags, rms_eps 1e-6, rope theta 10000, max_position 2048, bos_id -1.
zk_model_config zk_model_config_default(zk_model_architecture architecture);
// Checks ranges and relations (heads a multiple of kv_heads, head_dim one of 8, element counts within int64, ids inside the
// vocabulary ...). Every parse and every model.init goes through it. ZK_BAD_INPUT names the field.
zk_status zk_model_config_check(const zk_model_config *config);

// Parses the text of config.json as transformers 4 and 5 write it; `file` stands for the path in messages. Unsupported
// mathematics: ZK_UNSUPPORTED with field and value; malformed: ZK_BAD_INPUT. *out is written only on success.
zk_status zk_model_config_parse(const char *file, const char *text, size_t num_bytes, zk_model_config *out);
// Adds the eos ids of generation_config.json, and its bos id if there is none yet; nothing else in it is used.
zk_status zk_model_config_parse_generation(const char *file, const char *text, size_t num_bytes,
                                           zk_model_config *config);
// Reads DIR/config.json and, when present, DIR/generation_config.json.
zk_status zk_model_config_load(const char *dir, zk_model_config *out);

// Writes DIR/config.json and DIR/generation_config.json so that transformers 4 (rope_theta, rope_scaling, torch_dtype)
// and 5 (rope_parameters, dtype) read the same model. dtype_name: "float32" or "bfloat16". Deterministic bytes; written
// aside, renamed.
zk_status zk_model_config_save(const char *dir, const zk_model_config *config, const char *dtype_name);

#endif
