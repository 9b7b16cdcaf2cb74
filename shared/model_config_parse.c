// config.json to zk_model_config. Every field is looked up in one table: handled, without effect on the mathematics, or
// allowed only at the values that leave the mathematics as it is.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "shared/log.h"
#include "shared/model_config.h"

static const char HANDLED[] = "handled", HARMLESS[] = "harmless";

// Field and what it may be: HANDLED below, HARMLESS, or the allowed values as compact JSON separated by '|'.
// clang-format off
static const struct {
  const char *name, *allowed;
} fields[] = {
    {"architectures", HANDLED}, {"model_type", HANDLED}, {"vocab_size", HANDLED}, {"hidden_size", HANDLED},
    {"intermediate_size", HANDLED}, {"num_hidden_layers", HANDLED}, {"num_attention_heads", HANDLED},
    {"num_key_value_heads", HANDLED}, {"head_dim", HANDLED}, {"max_position_embeddings", HANDLED},
    {"rms_norm_eps", HANDLED}, {"rope_theta", HANDLED}, {"rope_scaling", HANDLED}, {"rope_parameters", HANDLED},
    {"original_max_position_embeddings", HANDLED}, {"tie_word_embeddings", HANDLED}, {"bos_token_id", HANDLED},
    {"eos_token_id", HANDLED}, {"layer_types", HANDLED}, {"sliding_window", HANDLED},
    // the mathematics of these fields is not delivered
    {"hidden_act", "\"silu\"|\"swish\""}, {"attention_bias", "false|null"}, {"mlp_bias", "false|null"},
    {"use_sliding_window", "false|null"}, {"partial_rotary_factor", "1|1.0|null"}, {"rotary_pct", "1|1.0|null"},
    {"pretraining_tp", "1|null"}, {"quantization_config", "null"}, {"compression_config", "null"},
    {"auto_map", "null|{}"},
    {"attn_logit_softcapping", "null"}, {"final_logit_softcapping", "null"}, {"query_pre_attn_scalar", "null"},
    {"attention_multiplier", "null"}, {"embedding_multiplier", "1|1.0|null"}, {"residual_multiplier", "1|1.0|null"},
    {"logits_scaling", "1|1.0|null"}, {"logit_scale", "1|1.0|null"}, {"scale_emb", "1|1.0|null"},
    {"scale_depth", "null"},
    {"dim_model_base", "null"}, {"attention_scale", "null"}, {"clip_qkv", "null"}, {"no_rope_layers", "null|[]"},
    {"no_rope_layer_interval", "null"}, {"nope_layer_interval", "null"}, {"attention_chunk_size", "null"},
    {"num_experts", "null|0"}, {"num_local_experts", "null|0"}, {"n_routed_experts", "null|0"},
    {"use_qk_norm", "false|null"},
    {"qk_layernorm", "false|null"}, {"qkv_bias", "false|null"}, {"bias", "false|null"}, {"use_bias", "false|null"},
    {"lm_head_bias", "false|null"}, {"use_parallel_residual", "false|null"}, {"parallel_attn", "false|null"},
    {"rope_interleaved", "false|null"}, {"use_mrope", "false|null"}, {"norm_before_gate", "false|null"},
    {"is_encoder_decoder", "false|null"}, {"add_cross_attention", "false|null"}, {"pruned_heads", "{}|null"},
    {"per_layer_config", "{}|null"}, {"num_nextn_predict_layers", "0|null"}, {"attention_sink", "false|null"},
    {"vision_config", "null"}, {"text_config", "null"}, {"adapter_config", "null"},
    // training, generation and bookkeeping
    {"torch_dtype", HARMLESS}, {"dtype", HARMLESS}, {"transformers_version", HARMLESS}, {"use_cache", HARMLESS},
    {"initializer_range", HARMLESS}, {"attention_dropout", HARMLESS}, {"hidden_dropout", HARMLESS},
    {"resid_pdrop", HARMLESS}, {"embd_pdrop", HARMLESS}, {"pad_token_id", HARMLESS}, {"unk_token_id", HARMLESS},
    {"sep_token_id", HARMLESS}, {"cls_token_id", HARMLESS}, {"decoder_start_token_id", HARMLESS},
    {"max_window_layers", HARMLESS}, {"max_sequence_length", HARMLESS}, {"is_llama_config", HARMLESS},
    {"name_or_path", HARMLESS}, {"vocab_file", HARMLESS}, {"tokenizer_class", HARMLESS}, {"prefix", HARMLESS},
    {"cache_implementation", HARMLESS}, {"attn_implementation", HARMLESS}, {"transformers.js_config", HARMLESS},
    {"unsloth_version", HARMLESS}, {"unsloth_fixed", HARMLESS}, {"id2label", HARMLESS}, {"label2id", HARMLESS},
    {"num_labels", HARMLESS}, {"problem_type", HARMLESS}, {"finetuning_task", HARMLESS},
    {"task_specific_params", HARMLESS}, {"return_dict", HARMLESS}, {"output_hidden_states", HARMLESS},
    {"output_attentions", HARMLESS}, {"output_scores", HARMLESS}, {"return_dict_in_generate", HARMLESS},
    {"torchscript", HARMLESS}, {"use_bfloat16", HARMLESS}, {"tf_legacy_loss", HARMLESS}, {"is_decoder", HARMLESS},
    {"cross_attention_hidden_size", HARMLESS}, {"chunk_size_feed_forward", HARMLESS}, {"tie_encoder_decoder", HARMLESS},
    {"tie_last_hidden_states", HARMLESS}, {"bad_words_ids", HARMLESS}, {"suppress_tokens", HARMLESS},
    {"begin_suppress_tokens", HARMLESS}, {"forced_bos_token_id", HARMLESS}, {"forced_eos_token_id", HARMLESS},
    {"remove_invalid_values", HARMLESS}, {"exponential_decay_length_penalty", HARMLESS}, {"do_sample", HARMLESS},
    {"temperature", HARMLESS}, {"top_k", HARMLESS}, {"top_p", HARMLESS}, {"typical_p", HARMLESS},
    {"min_length", HARMLESS}, {"max_length", HARMLESS}, {"max_new_tokens", HARMLESS}, {"num_beams", HARMLESS},
    {"num_beam_groups", HARMLESS}, {"num_return_sequences", HARMLESS}, {"early_stopping", HARMLESS},
    {"diversity_penalty", HARMLESS}, {"repetition_penalty", HARMLESS}, {"length_penalty", HARMLESS},
    {"no_repeat_ngram_size", HARMLESS}, {"encoder_no_repeat_ngram_size", HARMLESS}, {"rope_local_base_freq", "null"}};
// clang-format on

// ---- the field table

// True if `text` is one of the '|'-separated items of `list`.
static int is_listed(const char *text, const char *list) {
  size_t n = strlen(text);
  for (const char *item = list; *item; item += strcspn(item, "|"), item += *item == '|')
    if (strcspn(item, "|") == n && !strncmp(item, text, n)) return 1;
  return 0;
}

static zk_status fail_value(const char *file, const char *name, const json_t *value, const char *want) {
  char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
  zk_status st =
      ZK_FAIL(ZK_UNSUPPORTED, "%s: %s is %.200s, which is not supported (%s)", file, name, text ? text : "?", want);
  free(text);
  return st;
}

static zk_status check_field(const char *file, const char *name, const json_t *value) {
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    if (strcmp(fields[i].name, name)) continue;
    if (fields[i].allowed == HANDLED || fields[i].allowed == HARMLESS) return ZK_OK;
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    int listed = text && is_listed(text, fields[i].allowed);
    free(text);
    return listed ? ZK_OK : fail_value(file, name, value, fields[i].allowed);
  }
  if (name[0] != '_') ZK_LOG(WARN, "model", "%s: field %s is not known and has no effect here", file, name);
  return ZK_OK;
}

// ---- values

// NULL where the field is absent or null: both mean "the default".
static const json_t *get(const json_t *root, const char *name) {
  const json_t *value = json_object_get(root, name);
  return json_is_null(value) ? NULL : value;
}

// An integer field that fits an int; `*out` keeps its value where the field is absent, unless it is required.
static zk_status get_int(const char *file, const json_t *root, const char *name, int required, int *out) {
  const json_t *value = get(root, name);
  if (!value && required) return ZK_FAIL(ZK_BAD_INPUT, "%s: field %s is missing", file, name);
  if (!value) return ZK_OK;
  if (!json_is_integer(value) || json_integer_value(value) < INT32_MIN || json_integer_value(value) > INT32_MAX)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: %s is not an integer of 32 bits", file, name);
  *out = (int)json_integer_value(value);
  return ZK_OK;
}

static zk_status get_number(const char *file, const json_t *root, const char *name, int required, double *out) {
  const json_t *value = get(root, name);
  if (!value && required) return ZK_FAIL(ZK_BAD_INPUT, "%s: field %s is missing", file, name);
  if (!value) return ZK_OK;
  if (!json_is_number(value)) return ZK_FAIL(ZK_BAD_INPUT, "%s: %s is not a number", file, name);
  *out = json_number_value(value);
  return ZK_OK;
}

static zk_status get_bool(const char *file, const json_t *root, const char *name, int *out) {
  const json_t *value = get(root, name);
  if (!value) return ZK_OK;
  if (!json_is_boolean(value)) return ZK_FAIL(ZK_BAD_INPUT, "%s: %s is not true or false", file, name);
  *out = json_is_true(value);
  return ZK_OK;
}

// ---- architecture, layers

static zk_status parse_architecture(const char *file, const json_t *root, zk_model_config *out) {
  static const char *const classes[] = {
#define X(id, type, class_name, qkv_bias, qk_norm) class_name,
      ZK_MODEL_ARCHITECTURES(X)
#undef X
  };
  const char *type = json_string_value(get(root, "model_type"));
  const json_t *list = get(root, "architectures");
  if (!type) return ZK_FAIL(ZK_BAD_INPUT, "%s: field model_type is missing or not a string", file);
  zk_model_architecture architecture;
  zk_status st = zk_model_architecture_parse(type, &architecture);
  if (st != ZK_OK) return zk_status_context(st, "%s: model_type", file);
  const char *class_name = json_string_value(json_array_get(list, 0));
  if (list && (json_array_size(list) != 1 || !class_name || strcmp(class_name, classes[architecture])))
    return fail_value(file, "architectures", list, classes[architecture]);
  *out = zk_model_config_default(architecture);
  return ZK_OK;
}

// Full attention in every layer; a window that no layer uses is fine.
static zk_status check_attention(const char *file, const json_t *root, const zk_model_config *config) {
  const json_t *window = get(root, "sliding_window"), *types = get(root, "layer_types");
  if (window && config->architecture == ZK_MODEL_LLAMA) return fail_value(file, "sliding_window", window, "null");
  if (!types) return ZK_OK;
  if (!json_is_array(types) || json_array_size(types) != (size_t)config->num_layers)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: layer_types is not a list of %d layers", file, config->num_layers);
  for (size_t i = 0; i < json_array_size(types); i++) {
    const char *type = json_string_value(json_array_get(types, i));
    if (!type || strcmp(type, "full_attention"))
      return ZK_FAIL(ZK_UNSUPPORTED, "%s: layer_types: layer %zu is %s, which is not supported (full_attention)", file,
                     i, type ? type : "not a string");
  }
  return ZK_OK;
}

// ---- RoPE

static zk_status parse_rope_type(const char *file, const char *field, const json_t *rope, zk_rope_scaling *out) {
  const char *modern = json_string_value(get(rope, "rope_type")), *legacy = json_string_value(get(rope, "type"));
  if (modern && legacy && strcmp(modern, legacy))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: %s has rope_type %s and type %s", file, field, modern, legacy);
  const char *type = modern ? modern : legacy ? legacy : "default";
  if (!strcmp(type, "default")) *out = ZK_ROPE_PLAIN;
  else if (!strcmp(type, "linear")) *out = ZK_ROPE_LINEAR;
  else if (!strcmp(type, "llama3")) *out = ZK_ROPE_LLAMA3;
  else
    return ZK_FAIL(ZK_UNSUPPORTED, "%s: %s.rope_type is %s, which is not supported (default, linear, llama3)", file,
                   field, type);
  return ZK_OK;
}

// Every key of a RoPE object changes the mathematics, so one that its type does not use is refused.
static zk_status check_rope_keys(const char *file, const char *field, const json_t *rope, zk_rope_scaling scaling) {
  static const char *const used[] = {[ZK_ROPE_PLAIN] = "rope_type|type|rope_theta",
                                     [ZK_ROPE_LINEAR] = "rope_type|type|rope_theta|factor",
                                     [ZK_ROPE_LLAMA3] =
                                         "rope_type|type|rope_theta|factor|low_freq_factor|high_freq_factor|"
                                         "original_max_position_embeddings"};
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)rope, name, value) {
    if (is_listed(name, used[scaling]) || json_is_null(value)) continue;
    if (!strcmp(name, "partial_rotary_factor") && json_number_value(value) == 1) continue;
    char full[256];
    snprintf(full, sizeof full, "%s.%.100s", field, name);
    return fail_value(file, full, value, "no such key for this rope_type");
  }
  return ZK_OK;
}

// One RoPE object into `out`, which holds the defaults: theta from outside, original_max_position from max_position.
static zk_status parse_rope_object(const char *file, const char *field, const json_t *rope, zk_rope_params *out) {
  if (!json_is_object(rope)) return ZK_FAIL(ZK_BAD_INPUT, "%s: %s is not an object", file, field);
  ZK_TRY(parse_rope_type(file, field, rope, &out->scaling));
  ZK_TRY(check_rope_keys(file, field, rope, out->scaling));
  ZK_TRY(get_number(file, rope, "rope_theta", 0, &out->theta));
  int original = out->original_max_position;
  out->original_max_position = 0;
  if (out->scaling == ZK_ROPE_PLAIN) return ZK_OK;
  ZK_TRY(get_number(file, rope, "factor", 1, &out->factor));
  if (out->scaling == ZK_ROPE_LINEAR) return ZK_OK;
  ZK_TRY(get_number(file, rope, "low_freq_factor", 1, &out->low_freq_factor));
  ZK_TRY(get_number(file, rope, "high_freq_factor", 1, &out->high_freq_factor));
  ZK_TRY(get_int(file, rope, "original_max_position_embeddings", 0, &original));
  out->original_max_position = original;
  return ZK_OK;
}

static int same_rope(const zk_rope_params *a, const zk_rope_params *b) {
  return a->theta == b->theta && a->scaling == b->scaling && a->factor == b->factor &&
         a->low_freq_factor == b->low_freq_factor && a->high_freq_factor == b->high_freq_factor &&
         a->original_max_position == b->original_max_position;
}

// transformers 4 writes rope_theta and rope_scaling, 5 writes rope_parameters; a file with both must mean one thing.
static zk_status parse_rope(const char *file, const json_t *root, zk_model_config *config) {
  const json_t *theta = get(root, "rope_theta");
  int original = config->max_position;
  ZK_TRY(get_number(file, root, "rope_theta", 0, &config->rope.theta));
  ZK_TRY(get_int(file, root, "original_max_position_embeddings", 0, &original));
  static const char *const names[] = {"rope_scaling", "rope_parameters"};
  int num_found = 0;
  zk_rope_params base = config->rope, found[2];
  for (int i = 0; i < 2; i++) {
    const json_t *rope = get(root, names[i]);
    if (!rope || (json_is_object(rope) && !json_object_size(rope))) continue;
    found[num_found] = base;
    found[num_found].original_max_position = original;
    ZK_TRY(parse_rope_object(file, names[i], rope, &found[num_found]));
    if (theta && found[num_found].theta != base.theta)
      return ZK_FAIL(ZK_BAD_INPUT, "%s: rope_theta is %g, but %s.rope_theta is %g", file, base.theta, names[i],
                     found[num_found].theta);
    num_found++;
  }
  if (num_found == 2 && !same_rope(&found[0], &found[1]))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: rope_scaling and rope_parameters disagree; keep one of them", file);
  if (num_found) config->rope = found[0];
  return ZK_OK;
}

// ---- ids

static zk_status add_eos(const char *file, const json_t *value, zk_model_config *config) {
  if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) >= config->vocab)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: eos_token_id is not an id of the vocabulary of %d", file, config->vocab);
  int id = (int)json_integer_value(value), at = 0;
  while (at < config->num_eos && config->eos_ids[at] < id) at++;
  if (at < config->num_eos && config->eos_ids[at] == id) return ZK_OK;
  if (config->num_eos == ZK_MODEL_MAX_EOS)
    return ZK_FAIL(ZK_UNSUPPORTED, "%s: eos_token_id: more than %d ids", file, ZK_MODEL_MAX_EOS);
  memmove(config->eos_ids + at + 1, config->eos_ids + at, (size_t)(config->num_eos++ - at) * sizeof *config->eos_ids);
  config->eos_ids[at] = id;
  return ZK_OK;
}

static zk_status parse_ids(const char *file, const json_t *root, zk_model_config *config) {
  const json_t *eos = get(root, "eos_token_id"), *bos = get(root, "bos_token_id");
  if (json_is_array(eos))
    for (size_t i = 0; i < json_array_size(eos); i++) ZK_TRY(add_eos(file, json_array_get(eos, i), config));
  else if (eos) ZK_TRY(add_eos(file, eos, config));
  if (!bos || config->bos_id != -1) return ZK_OK;
  if (!json_is_integer(bos) || json_integer_value(bos) < 0 || json_integer_value(bos) >= config->vocab)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: bos_token_id is not an id of the vocabulary of %d", file, config->vocab);
  config->bos_id = (int)json_integer_value(bos);
  return ZK_OK;
}

// ---- the whole file

static zk_status parse_shape(const char *file, const json_t *root, zk_model_config *c) {
  ZK_TRY(get_int(file, root, "num_hidden_layers", 1, &c->num_layers));
  ZK_TRY(get_int(file, root, "hidden_size", 1, &c->hidden));
  ZK_TRY(get_int(file, root, "intermediate_size", 1, &c->intermediate));
  ZK_TRY(get_int(file, root, "num_attention_heads", 1, &c->num_heads));
  ZK_TRY(get_int(file, root, "vocab_size", 1, &c->vocab));
  ZK_TRY(get_int(file, root, "max_position_embeddings", 0, &c->max_position));
  c->num_kv_heads = c->num_heads;
  ZK_TRY(get_int(file, root, "num_key_value_heads", 0, &c->num_kv_heads));
  if (c->vocab < 1) return ZK_FAIL(ZK_BAD_INPUT, "%s: vocab_size is %d", file, c->vocab);
  int derived = c->architecture != ZK_MODEL_QWEN3 && !get(root, "head_dim");
  if (derived && (c->num_heads < 1 || c->hidden % c->num_heads))
    return ZK_FAIL(ZK_BAD_INPUT,
                   "%s: hidden_size %d is not a multiple of num_attention_heads %d, and there is no head_dim", file,
                   c->hidden, c->num_heads);
  c->head_dim = derived ? c->hidden / c->num_heads : 128; // 128 stays only for a Qwen3 that does not say
  return get_int(file, root, "head_dim", 0, &c->head_dim);
}

static zk_status parse_root(const char *file, const json_t *root, zk_model_config *c) {
  if (!json_is_object(root)) return ZK_FAIL(ZK_BAD_INPUT, "%s: not a JSON object", file);
  ZK_TRY(parse_architecture(file, root, c));
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)root, name, value) ZK_TRY(check_field(file, name, value));
  ZK_TRY(parse_shape(file, root, c));
  double eps = c->rms_eps;
  ZK_TRY(get_number(file, root, "rms_norm_eps", 0, &eps));
  if (!(eps > 0 && eps < 1))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: rms_norm_eps is %g, must be above 0 and below 1", file, eps);
  c->rms_eps = (float)eps;
  ZK_TRY(get_bool(file, root, "tie_word_embeddings", &c->tie_embeddings));
  ZK_TRY(check_attention(file, root, c));
  ZK_TRY(parse_rope(file, root, c));
  ZK_TRY(parse_ids(file, root, c));
  zk_status st = zk_model_config_check(c);
  return st == ZK_OK ? st : zk_status_context(st, "%s", file);
}

static zk_status load_json(const char *file, const char *text, size_t num_bytes, json_t **out) {
  json_error_t error;
  *out = json_loadb(text, num_bytes, JSON_REJECT_DUPLICATES, &error);
  if (*out) return ZK_OK;
  return ZK_FAIL(ZK_BAD_INPUT, "%s:%d:%d: %s", file, error.line, error.column, error.text);
}

zk_status zk_model_config_parse(const char *file, const char *text, size_t num_bytes, zk_model_config *out) {
  json_t *root;
  zk_model_config config;
  ZK_TRY(load_json(file, text, num_bytes, &root));
  zk_status st = parse_root(file, root, &config);
  json_decref(root);
  if (st == ZK_OK) *out = config;
  return st;
}

zk_status zk_model_config_parse_generation(const char *file, const char *text, size_t num_bytes,
                                           zk_model_config *config) {
  json_t *root;
  ZK_TRY(load_json(file, text, num_bytes, &root));
  zk_status st =
      json_is_object(root) ? parse_ids(file, root, config) : ZK_FAIL(ZK_BAD_INPUT, "%s: not a JSON object", file);
  json_decref(root);
  return st;
}
