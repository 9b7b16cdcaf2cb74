// A model folder, a checkpoint, a safetensors file or an optimizer.h5 for a person.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/file_util.h"
#include "shared/inspect.h"
#include "shared/json_text.h"
#include "shared/model_config.h"
#include "shared/optimizer_file.h"
#include "shared/run_dir.h"
#include "shared/safetensors.h"
#include "shared/tokenizer.h"

#define MAX_CONFIG_BYTES ((size_t)1 << 20)

static json_t *text_of(const char *s) { return zk_json_text_string(s, strlen(s)); }

static zk_status packed(const char *path, json_t *object, json_t **out) {
  *out = object;
  return object ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", path);
}

static json_t *tensor_row(const zk_safetensor *tensor) {
  json_t *shape = json_array();
  for (int d = 0; d < tensor->num_dims; d++) json_array_append_new(shape, json_integer(tensor->shape[d]));
  const char *slash = strrchr(tensor->file, '/');
  return json_pack("{s:o, s:s, s:o, s:I, s:o}", "name", text_of(tensor->name), "dtype", zk_dtype_name(tensor->dtype),
                   "shape", shape, "elements", (json_int_t)tensor->num_elements, "file",
                   text_of(slash ? slash + 1 : tensor->file));
}

// The tensors of a file or a folder, and how many elements they have together.
static zk_status tensors(const char *path, json_t **out_rows, int64_t *out_elements) {
  zk_safetensors *file;
  ZK_TRY(zk_safetensors_open(path, &file));
  *out_rows = json_array();
  *out_elements = 0;
  for (int i = 0; i < zk_safetensors_count(file); i++) {
    const zk_safetensor *tensor = zk_safetensors_at(file, i);
    *out_elements += tensor->num_elements;
    json_array_append_new(*out_rows, tensor_row(tensor));
  }
  zk_safetensors_close(file);
  return ZK_OK;
}

zk_status zk_inspect_safetensors(const char *path, json_t **out) {
  json_t *rows;
  int64_t num_elements;
  ZK_TRY(tensors(path, &rows, &num_elements));
  return packed(path,
                json_pack("{s:s, s:o, s:I, s:o}", "kind", "safetensors", "file", text_of(path), "elements",
                          (json_int_t)num_elements, "tensors", rows),
                out);
}

zk_status zk_inspect_optimizer(const char *path, json_t **out) {
  zk_optimizer_file *f;
  ZK_TRY(zk_optimizer_file_open(path, &f));
  json_t *datasets = json_array();
#define X(name, text, description)                                                                                     \
  json_array_append_new(datasets,                                                                                      \
                        json_pack("{s:s, s:s, s:s}", "name", text, "type", "float32", "description", description));
  ZK_OPTIMIZER_LIST(X)
#undef X
  json_t *object = json_pack("{s:s, s:o, s:I, s:I, s:o}", "kind", "optimizer", "file", text_of(path), "step",
                             (json_int_t)zk_optimizer_file_step(f), "num_elements",
                             (json_int_t)zk_optimizer_file_num_elements(f), "datasets", datasets);
  zk_optimizer_file_close(f);
  return packed(path, object, out);
}

static json_t *config_object(const zk_model_config *c) {
  json_t *eos = json_array();
  for (int i = 0; i < c->num_eos; i++) json_array_append_new(eos, json_integer(c->eos_ids[i]));
  return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:b, s:b, s:f, s:i, s:o}", //
                   "architecture", zk_model_architecture_name(c->architecture), "layers", c->num_layers, "hidden",
                   c->hidden, "heads", c->num_heads, "kv_heads", c->num_kv_heads, "head_dim", c->head_dim,
                   "intermediate", c->intermediate, "vocab", c->vocab, "tied", c->tie_embeddings != 0, "qkv_bias",
                   c->qkv_bias != 0, "qk_norm", c->qk_norm != 0, "rms_eps", (double)c->rms_eps, "max_position",
                   c->max_position, "eos_ids", eos);
}

// What of a folder cannot be read is said in its place, and the rest is shown.
static json_t *trouble(void) { return json_pack("{s:o}", "error", text_of(zk_status_message())); }

static json_t *tokenizer_object(const char *dir) {
  zk_tokenizer *tokenizer;
  if (!zk_file_exists(zk_path_make("%s/tokenizer.json", dir).s)) return NULL;
  if (zk_tokenizer_load(dir, &tokenizer) != ZK_OK) return trouble();
  json_t *object = json_pack("{s:i, s:o, s:b}", "ids", (int)zk_tokenizer_vocab_size(tokenizer), "hash",
                             json_sprintf("%016" PRIx64, zk_tokenizer_hash(tokenizer)), "chat_template",
                             zk_tokenizer_chat_template(tokenizer) != NULL);
  zk_tokenizer_free(tokenizer);
  return object;
}

static json_t *optimizer_object(const char *dir) {
  zk_path path = zk_path_make("%s/optimizer.h5", dir);
  zk_optimizer_file *f;
  if (!zk_file_exists(path.s)) return NULL;
  if (zk_optimizer_file_open(path.s, &f) != ZK_OK) return trouble();
  json_t *object = json_pack("{s:I, s:I}", "step", (json_int_t)zk_optimizer_file_step(f), "num_elements",
                             (json_int_t)zk_optimizer_file_num_elements(f));
  zk_optimizer_file_close(f);
  return object;
}

// What adapter_config.json says; NULL where there is none.
static json_t *adapter_object(const char *dir) {
  const zk_path path = zk_path_make("%s/adapter_config.json", dir);
  static const char *const shown[] = {"r", "lora_alpha", "base_model_name_or_path", "target_modules"};
  char *text;
  size_t num_bytes;
  if (!zk_file_exists(path.s)) return NULL;
  if (zk_file_read(path.s, MAX_CONFIG_BYTES, &text, &num_bytes) != ZK_OK) return trouble();
  json_error_t where;
  json_t *root = json_loadb(text, num_bytes, JSON_REJECT_DUPLICATES, &where);
  free(text);
  if (!root) return json_pack("{s:o}", "error", json_sprintf("%s:%d:%d: %s", path.s, where.line, where.column, where.text));
  json_t *object = json_object();
  for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
    if (json_object_get(root, shown[i])) json_object_set(object, shown[i], json_object_get(root, shown[i]));
  json_decref(root);
  return object;
}

zk_status zk_inspect_model(const char *path, json_t **out) {
  zk_model_config config;
  json_t *adapter = adapter_object(path), *rows;
  const bool has_config = !adapter || zk_file_exists(zk_path_make("%s/config.json", path).s);
  json_t *shape = !has_config ? NULL : zk_model_config_load(path, &config) == ZK_OK ? config_object(&config) : trouble();
  int64_t num_elements;
  bool checkpoint = zk_file_exists(zk_path_make("%s/optimizer.h5", path).s);
  zk_status st = tensors(adapter ? zk_path_make("%s/adapter_model.safetensors", path).s : path, &rows, &num_elements);
  if (st != ZK_OK) {
    json_decref(shape);
    json_decref(adapter);
    return st;
  }
  json_t *object = json_pack("{s:s, s:o, s:o*, s:o*, s:o*, s:o*, s:I, s:o}", "kind", checkpoint ? "checkpoint" : adapter ? "adapter" : "model",
                             "folder", text_of(path), "adapter", adapter, "config", shape, "tokenizer", tokenizer_object(path), "optimizer",
                             optimizer_object(path), "parameters", (json_int_t)num_elements, "tensors", rows);
  if (object && checkpoint) json_object_set_new(object, "complete", json_boolean(zk_checkpoint_is_complete(path)));
  return packed(path, object, out);
}
