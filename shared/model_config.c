// The decoder's description: defaults, checks, and reading and writing the two JSON files of a folder.
#include "shared/model_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "shared/file.h"

#define MAX_CONFIG_BYTES (16u << 20)
#define MAX_ELEMENTS ((int64_t)1 << 40)

static const struct {
  const char *type, *class_name;
  int qkv_bias, qk_norm;
} architectures[ZK_NUM_MODEL_ARCHITECTURES] = {
#define X(id, type, class_name, qkv_bias, qk_norm) {type, class_name, qkv_bias, qk_norm},
    ZK_MODEL_ARCHITECTURES(X)
#undef X
};

const char *zk_model_architecture_name(zk_model_architecture architecture) { return architectures[architecture].type; }

zk_status zk_model_architecture_parse(const char *name, zk_model_architecture *out) {
  char all[128] = "";
  for (int i = 0; i < ZK_NUM_MODEL_ARCHITECTURES; i++) {
    if (!strcmp(name, architectures[i].type)) return *out = (zk_model_architecture)i, ZK_OK;
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", architectures[i].type);
  }
  return ZK_FAIL(ZK_UNSUPPORTED, "architecture \"%s\" is not supported; there are: %s", name, all);
}

zk_model_config zk_model_config_default(zk_model_architecture architecture) {
  return (zk_model_config){.architecture = architecture,
                           .qkv_bias = architectures[architecture].qkv_bias,
                           .qk_norm = architectures[architecture].qk_norm,
                           .rms_eps = 1e-6f,
                           .rope = {.theta = 10000.0, .scaling = ZK_ROPE_PLAIN},
                           .max_position = 2048,
                           .bos_id = -1};
}

// ---- checks

static zk_status check_range(const char *field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return ZK_OK;
  return ZK_FAIL(ZK_BAD_INPUT, "%s is %lld, must be %lld to %lld", field, (long long)value, (long long)low,
                 (long long)high);
}

static zk_status check_rope(const zk_rope_params *r) {
  if (!(r->theta > 0 && r->theta <= 1e15))
    return ZK_FAIL(ZK_BAD_INPUT, "rope_theta is %g, must be above 0 and at most 1e15", r->theta);
  if (r->scaling == ZK_ROPE_PLAIN) return ZK_OK;
  if (!(r->factor >= 1 && r->factor <= 1e6))
    return ZK_FAIL(ZK_BAD_INPUT, "rope scaling: factor is %g, must be 1 to 1e6", r->factor);
  if (r->scaling == ZK_ROPE_LINEAR) return ZK_OK;
  if (!(r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor && r->high_freq_factor <= 1e6))
    return ZK_FAIL(ZK_BAD_INPUT, "rope scaling: low_freq_factor %g and high_freq_factor %g must be 0 < low < high",
                   r->low_freq_factor, r->high_freq_factor);
  return check_range("rope scaling: original_max_position_embeddings", r->original_max_position, 1, INT32_MAX);
}

static zk_status check_ids(const zk_model_config *c) {
  if (c->bos_id != -1) ZK_TRY(check_range("bos_token_id", c->bos_id, 0, c->vocab - 1));
  ZK_TRY(check_range("number of eos_token_id", c->num_eos, 0, ZK_MODEL_MAX_EOS));
  for (int i = 0; i < c->num_eos; i++) ZK_TRY(check_range("eos_token_id", c->eos_ids[i], 0, c->vocab - 1));
  return ZK_OK;
}

zk_status zk_model_config_check(const zk_model_config *c) {
  ZK_TRY(check_range("num_hidden_layers", c->num_layers, 1, 1 << 12));
  ZK_TRY(check_range("hidden_size", c->hidden, 1, 1 << 18));
  ZK_TRY(check_range("num_attention_heads", c->num_heads, 1, 1 << 12));
  ZK_TRY(check_range("num_key_value_heads", c->num_kv_heads, 1, c->num_heads));
  ZK_TRY(check_range("head_dim", c->head_dim, 8, 1024));
  ZK_TRY(check_range("intermediate_size", c->intermediate, 1, 1 << 20));
  ZK_TRY(check_range("vocab_size", c->vocab, 1, 1 << 24)); // ids stay below what the random layout can number
  ZK_TRY(check_range("max_position_embeddings", c->max_position, 1, INT32_MAX));
  if (c->num_heads % c->num_kv_heads)
    return ZK_FAIL(ZK_BAD_INPUT, "num_attention_heads %d is not a multiple of num_key_value_heads %d", c->num_heads,
                   c->num_kv_heads);
  if (c->head_dim % 8) return ZK_FAIL(ZK_UNSUPPORTED, "head_dim %d is not a multiple of 8", c->head_dim);
  if (!(c->rms_eps > 0 && c->rms_eps < 1))
    return ZK_FAIL(ZK_BAD_INPUT, "rms_norm_eps is %g, must be above 0 and below 1", (double)c->rms_eps);
  ZK_TRY(check_rope(&c->rope));
  ZK_TRY(check_ids(c));
  int64_t attention = 2 * ((int64_t)c->num_heads + c->num_kv_heads) * c->head_dim; // every term below 2^41: no overflow
  int64_t layer = (attention + 3 * (int64_t)c->intermediate + 4) * c->hidden + 4 * attention;
  if (layer > MAX_ELEMENTS / c->num_layers || layer * c->num_layers + 2 * (int64_t)c->vocab * c->hidden > MAX_ELEMENTS)
    return ZK_FAIL(ZK_BAD_INPUT, "the model would have more than 2^40 parameters");
  return ZK_OK;
}

// ---- files

zk_status zk_model_config_load(const char *dir, zk_model_config *out) {
  char *path = zk_file_join(dir, "config.json"), *generation = zk_file_join(dir, "generation_config.json"),
       *text = NULL;
  size_t num_bytes;
  zk_status st = path && generation ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", dir);
  if (st != ZK_OK) goto done;
  ZK_TRY_GOTO(st, done, zk_file_read(path, MAX_CONFIG_BYTES, &text, &num_bytes));
  ZK_TRY_GOTO(st, done, zk_model_config_parse(path, text, num_bytes, out));
  if (!zk_file_exists(generation)) goto done;
  free(text);
  text = NULL;
  ZK_TRY_GOTO(st, done, zk_file_read(generation, MAX_CONFIG_BYTES, &text, &num_bytes));
  ZK_TRY_GOTO(st, done, zk_model_config_parse_generation(generation, text, num_bytes, out));
done:
  free(text);
  free(path);
  free(generation);
  return st;
}

static json_t *eos_json(const zk_model_config *c) {
  if (c->num_eos == 0) return json_null();
  if (c->num_eos == 1) return json_integer(c->eos_ids[0]);
  json_t *list = json_array();
  for (int i = 0; i < c->num_eos; i++) json_array_append_new(list, json_integer(c->eos_ids[i]));
  return list;
}

static json_t *bos_json(const zk_model_config *c) { return c->bos_id < 0 ? json_null() : json_integer(c->bos_id); }

// The RoPE object without its theta: transformers 4's rope_scaling; rope_parameters of 5 holds theta too.
static json_t *rope_json(const zk_rope_params *r) {
  static const char *const types[] = {
      [ZK_ROPE_PLAIN] = "default", [ZK_ROPE_LINEAR] = "linear", [ZK_ROPE_LLAMA3] = "llama3"};
  json_t *rope = json_pack("{s:s}", "rope_type", types[r->scaling]);
  if (r->scaling != ZK_ROPE_PLAIN) json_object_set_new(rope, "factor", json_real(r->factor));
  if (r->scaling == ZK_ROPE_LLAMA3) {
    json_object_set_new(rope, "low_freq_factor", json_real(r->low_freq_factor));
    json_object_set_new(rope, "high_freq_factor", json_real(r->high_freq_factor));
    json_object_set_new(rope, "original_max_position_embeddings", json_integer(r->original_max_position));
  }
  return rope;
}

// The shortest decimal that reads back as the same float, so that 1e-6f is written 1e-06 and not 9.99999997e-07.
static double shortest(float value) {
  char text[32];
  for (int digits = 1; digits <= 9; digits++) {
    snprintf(text, sizeof text, "%.*e", digits - 1, (double)value);
    if ((float)strtod(text, NULL) == value) break;
  }
  return strtod(text, NULL);
}

static json_t *config_json(const zk_model_config *c, const char *dtype_name) {
  json_t *rope = rope_json(&c->rope), *scaling = c->rope.scaling == ZK_ROPE_PLAIN ? json_null() : rope_json(&c->rope);
  json_object_set_new(rope, "rope_theta", json_real(c->rope.theta));
  json_t *root = json_pack("{s:[s], s:s, s:s, s:s, s:s}", "architectures", architectures[c->architecture].class_name,
                           "model_type", architectures[c->architecture].type, "dtype", dtype_name, "torch_dtype",
                           dtype_name, "hidden_act", "silu");
  const struct {
    const char *name;
    int value;
  } counts[] = {{"hidden_size", c->hidden},
                {"intermediate_size", c->intermediate},
                {"num_hidden_layers", c->num_layers},
                {"num_attention_heads", c->num_heads},
                {"num_key_value_heads", c->num_kv_heads},
                {"head_dim", c->head_dim},
                {"vocab_size", c->vocab},
                {"max_position_embeddings", c->max_position}};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    json_object_set_new(root, counts[i].name, json_integer(counts[i].value));
  json_object_set_new(root, "rms_norm_eps", json_real(shortest(c->rms_eps)));
  json_object_set_new(root, "rope_theta", json_real(c->rope.theta));
  json_object_set_new(root, "rope_scaling", scaling);
  json_object_set_new(root, "rope_parameters", rope);
  json_object_set_new(root, "tie_word_embeddings", json_boolean(c->tie_embeddings));
  json_object_set_new(root, "attention_bias", json_false()); // read by Llama and Qwen3 only; Qwen2's bias is built in
  if (c->architecture == ZK_MODEL_LLAMA) {
    json_object_set_new(root, "mlp_bias", json_false());
  } else {
    json_object_set_new(root, "use_sliding_window", json_false());
    json_object_set_new(root, "sliding_window", json_null()); // transformers 4 warns about its default otherwise
  }
  json_object_set_new(root, "attention_dropout", json_real(0));
  json_object_set_new(root, "bos_token_id", bos_json(c));
  json_object_set_new(root, "eos_token_id", eos_json(c));
  json_object_set_new(root, "use_cache", json_true());
  return root;
}

// Digits that write every number exactly: 15 for those a person would type (1e-05 stays 1e-5), 17 for any double.
static size_t real_digits(const zk_rope_params *r) {
  const double reals[] = {r->theta, r->factor, r->low_freq_factor, r->high_freq_factor};
  for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
    char text[32];
    snprintf(text, sizeof text, "%.15g", reals[i]);
    if (strtod(text, NULL) != reals[i]) return 17;
  }
  return 15;
}

// Writes and frees `root`.
static zk_status save_json(const char *dir, const char *name, json_t *root, size_t digits) {
  char *path = zk_file_join(dir, name);
  char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(digits)) : NULL;
  zk_status st;
  if (path && text) {
    size_t n = strlen(text);
    text[n] = '\n'; // in place of the final NUL
    st = zk_file_write(path, text, n + 1);
  } else {
    st = ZK_FAIL(ZK_OUT_OF_MEMORY, "%s/%s: out of memory", dir, name);
  }
  json_decref(root);
  free(text);
  free(path);
  return st;
}

zk_status zk_model_config_save(const char *dir, const zk_model_config *config, const char *dtype_name) {
  ZK_TRY(zk_model_config_check(config));
  ZK_TRY(save_json(dir, "config.json", config_json(config, dtype_name), real_digits(&config->rope)));
  json_t *generation = json_object();
  json_object_set_new(generation, "bos_token_id", bos_json(config));
  json_object_set_new(generation, "eos_token_id", eos_json(config));
  return save_json(dir, "generation_config.json", generation, 15);
}
