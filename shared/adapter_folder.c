// PEFT's adapter_config.json, and our note of the base.
#include "shared/adapter_folder.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "shared/file_util.h"

#define MAX_BYTES ((size_t)1 << 20)

static zk_status write_json(const char *dir, const char *name, json_t *root) {
  const zk_path path = zk_path_make("%s/%s", dir, name);
  char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
  json_decref(root);
  if (!text) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", path.s);
  const size_t n = strlen(text);
  text[n] = '\n'; // in the place of the NUL
  const zk_status st = zk_file_write(path.s, text, n + 1);
  free(text);
  return st;
}

static json_t *config_json(const zk_lora *lora, const char *base) {
  json_t *modules = json_array();
  for (int t = 0; t < ZK_LORA_NUM_TARGETS; t++)
    if (lora->targets >> t & 1) json_array_append_new(modules, json_string(zk_lora_target_name((zk_lora_target)t)));
  return json_pack("{s:s, s:s, s:s?, s:i, s:i, s:f, s:o, s:s, s:b, s:b, s:b, s:b, s:b, s:{}, s:{}, s:n}", "peft_type", "LORA", "task_type", "CAUSAL_LM",
                   "base_model_name_or_path", base[0] ? base : NULL, "r", (int)lora->rank, "lora_alpha", (int)lora->alpha, "lora_dropout", 0.0, "target_modules",
                   modules, "bias", "none", "fan_in_fan_out", 0, "inference_mode", 1, "init_lora_weights", 1, "use_dora", 0, "use_rslora", 0, "rank_pattern",
                   "alpha_pattern", "modules_to_save");
}

zk_status zk_adapter_folder_write(const char *dir, const zk_lora *lora, const char *base, zk_numerics numerics, uint64_t base_hash) {
  char hash[17];
  snprintf(hash, sizeof hash, "%016" PRIx64, base_hash);
  ZK_TRY(zk_file_make_directories(dir));
  ZK_TRY(write_json(dir, "adapter_config.json", config_json(lora, base)));
  return write_json(dir, "zerokl_base.json", json_pack("{s:s, s:s}", "numerics", zk_numerics_name(numerics), "weights/hash", hash));
}

static zk_status parse_json(const char *name, const char *text, size_t num_bytes, json_t **out) {
  json_error_t error;
  *out = json_loadb(text, num_bytes, JSON_REJECT_DUPLICATES, &error);
  if (json_is_object(*out)) return ZK_OK;
  const int line = *out ? 1 : error.line;
  json_decref(*out);
  return ZK_FAIL(ZK_BAD_INPUT, "%s: line %d: not a JSON object", name, line);
}

static zk_status read_json(const char *path, json_t **out) {
  char *text = NULL;
  size_t bytes = 0;
  ZK_TRY(zk_file_read(path, MAX_BYTES, &text, &bytes));
  const zk_status st = parse_json(path, text, bytes, out);
  free(text);
  return st;
}

// What a plain LoRA leaves at its default: absent, null, false, empty, or "none".
static bool is_nothing(const json_t *value) {
  if (json_is_string(value)) return !strcmp(json_string_value(value), "none") || !json_string_length(value);
  return !value || json_is_null(value) || json_is_false(value) || ((json_is_object(value) || json_is_array(value)) && json_object_size(value) + json_array_size(value) == 0);
}

// First values that PEFT takes out of the base, which it changes again whenever it loads such a folder: the factors do not fit the base as it is.
static const char *find_changed_base(const json_t *root) {
  static const char *const prefixes[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
  const char *init = json_string_value(json_object_get(root, "init_lora_weights"));
  for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes && init; i++)
    if (!strncasecmp(init, prefixes[i], strlen(prefixes[i]))) return init;
  return NULL;
}

static zk_status check_plain(const char *path, const json_t *root) {
  static const char *const refused[] = {"use_dora", "use_rslora", "use_bdlora", "use_qalora", "fan_in_fan_out", "lora_bias", "bias", "rank_pattern", "alpha_pattern",
                                        "modules_to_save", "layers_to_transform", "layer_replication", "trainable_token_indices", "target_parameters",
                                        "alora_invocation_tokens", "arrow_config", "kasa_config"};
  const char *type = json_string_value(json_object_get(root, "peft_type"));
  if (!type || strcmp(type, "LORA")) return ZK_FAIL(ZK_UNSUPPORTED, "%s: peft_type is %s; LORA is what can be loaded", path, type ? type : "not given");
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    if (!is_nothing(json_object_get(root, refused[i])))
      return ZK_FAIL(ZK_UNSUPPORTED, "%s: %s is set; a plain LoRA, without it, is what can be loaded", path, refused[i]);
  const char *init = find_changed_base(root);
  if (!init) return ZK_OK;
  return ZK_FAIL(ZK_UNSUPPORTED, "%s: init_lora_weights is %.32s, beside which the base has other weights: save it with PEFT's path_initial_model_for_weight_conversion, "
                 "which makes a plain LoRA of it", path, init);
}

// The targets that a list names; *is_list false where PEFT has a pattern instead (the tensors then say which they are).
static zk_status read_targets(const char *path, const json_t *list, uint32_t *targets, bool *is_list) {
  *is_list = json_is_array(list);
  *targets = 0;
  for (size_t i = 0; *is_list && i < json_array_size(list); i++) {
    const char *name = json_string_value(json_array_get(list, i));
    uint32_t bit = 0;
    for (int t = 0; t < ZK_LORA_NUM_TARGETS && name; t++)
      if (!strcmp(name, zk_lora_target_name((zk_lora_target)t))) bit = 1u << t;
    if (!bit) return ZK_FAIL(ZK_UNSUPPORTED, "%s: target_modules names %s, which is no linear layer of a decoder block", path, name ? name : "what is no text");
    *targets |= bit;
  }
  return ZK_OK;
}

static zk_status check_number(const char *path, const json_t *root, const char *name, const char *key, int wanted) {
  const json_t *value = json_object_get(root, name);
  if (json_is_number(value) && json_number_value(value) == (double)wanted) return ZK_OK;
  if (!json_is_number(value)) return ZK_FAIL(ZK_BAD_INPUT, "%s: %s is no number", path, name);
  return ZK_FAIL(ZK_BAD_INPUT, "%s: %s is %g and %s is %d: set %s to it, or give another lora.path", path, name, json_number_value(value), key, wanted, key);
}

zk_status zk_adapter_config_check(const char *name, const char *text, size_t num_bytes, const zk_lora *lora) {
  json_t *root = NULL;
  uint32_t targets = 0;
  bool is_list = false;
  ZK_TRY(parse_json(name, text, num_bytes, &root));
  zk_status st = check_plain(name, root);
  if (st == ZK_OK) st = check_number(name, root, "r", "lora.rank", lora->rank);
  if (st == ZK_OK) st = check_number(name, root, "lora_alpha", "lora.alpha", lora->alpha);
  if (st == ZK_OK) st = read_targets(name, json_object_get(root, "target_modules"), &targets, &is_list);
  if (st == ZK_OK && is_list && targets != lora->targets)
    st = ZK_FAIL(ZK_BAD_INPUT, "%s: target_modules are not lora.target_modules: name the same layers there", name);
  json_decref(root);
  return st;
}

zk_status zk_adapter_folder_check(const char *dir, const zk_lora *lora) {
  const zk_path path = zk_path_make("%s/adapter_config.json", dir);
  char *text = NULL;
  size_t bytes = 0;
  if (!zk_file_exists(path.s))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: is no adapter's folder, there is no adapter_config.json: give a checkpoint of a run with lora.rank, or a folder that PEFT wrote", dir);
  ZK_TRY(zk_file_read(path.s, MAX_BYTES, &text, &bytes));
  const zk_status st = zk_adapter_config_check(path.s, text, bytes, lora);
  free(text);
  return st;
}

static bool find_numerics(const char *name, zk_numerics *out) {
  static const zk_numerics all[] = {ZK_F32, ZK_BF16, ZK_VENDOR};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (!strcmp(name, zk_numerics_name(all[i]))) {
      *out = all[i];
      return true;
    }
  return false;
}

zk_status zk_adapter_folder_read_base(const char *dir, zk_numerics *numerics, uint64_t *base_hash) {
  const zk_path path = zk_path_make("%s/zerokl_base.json", dir);
  json_t *root = NULL;
  ZK_TRY(read_json(path.s, &root));
  const char *name = json_string_value(json_object_get(root, "numerics")), *text = json_string_value(json_object_get(root, "weights/hash"));
  char *end = NULL;
  bool is_sound = name && text && strlen(text) == 16;
  if (is_sound) *base_hash = strtoull(text, &end, 16), is_sound = *end == 0 && find_numerics(name, numerics);
  json_decref(root);
  return is_sound ? ZK_OK : ZK_FAIL(ZK_BAD_INPUT, "%s: not a note of a base (numerics, weights/hash)", path.s);
}

zk_status zk_adapter_folder_check_base(const char *dir, zk_numerics numerics, uint64_t base_hash) {
  zk_numerics trained;
  uint64_t hash;
  if (!zk_file_exists(zk_path_make("%s/zerokl_base.json", dir).s)) return ZK_OK;
  ZK_TRY(zk_adapter_folder_read_base(dir, &trained, &hash));
  if (trained != numerics || hash == base_hash) return ZK_OK;
  return ZK_FAIL(ZK_BAD_INPUT, "%s: the adapter was trained on another base: its weights hash to %016" PRIx64 " (%s), this model's to %016" PRIx64, dir, hash,
                 zk_numerics_name(trained), base_hash);
}
