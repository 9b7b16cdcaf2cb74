// Writing a complete Hugging Face folder, the weights as a stream in global element order.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/model.h"

struct zk_model_writer {
  zk_safetensors_writer *file;
};

// The table as safetensors entries. The names are borrowed from `params`; the caller frees the array.
static zk_safetensors_entry *entries_of(const zk_params *params) {
  zk_safetensors_entry *entries = calloc((size_t)params->num_params, sizeof *entries);
  for (int i = 0; entries && i < params->num_params; i++) {
    const zk_param *p = &params->params[i];
    entries[i] = (zk_safetensors_entry){.name = p->name, .num_dims = p->num_dims, .shape = {p->rows, p->cols}};
    if (p->num_dims == 1) entries[i].shape[0] = p->cols;
  }
  return entries;
}

static zk_status begin(zk_model_writer *w, const char *dir, const zk_model_config *config, const zk_params *params,
                       zk_dtype dtype, int64_t max_shard_bytes, const char *tokenizer_dir) {
  if (mkdir(dir, 0777) != 0 && errno != EEXIST) return ZK_FAIL(ZK_IO, "%s: %s", dir, strerror(errno));
  if (tokenizer_dir) ZK_TRY(zk_tokenizer_copy_files(tokenizer_dir, dir));
  if (config) ZK_TRY(zk_model_config_save(dir, config, dtype == ZK_DTYPE_F32 ? "float32" : "bfloat16"));
  zk_safetensors_entry *entries = entries_of(params);
  if (!entries) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", dir);
  const bool is_adapter = zk_params_is_adapter(params);
  zk_status st = zk_safetensors_writer_open_as(dir, is_adapter ? "adapter_model" : "model", entries, params->num_params, dtype, is_adapter ? 0 : max_shard_bytes, &w->file);
  free(entries);
  return st;
}

zk_status zk_model_writer_open(const char *dir, const zk_model_config *config, const zk_params *params, zk_dtype dtype,
                               int64_t max_shard_bytes, const char *tokenizer_dir, zk_model_writer **out) {
  zk_model_writer *w = calloc(1, sizeof *w);
  if (!w) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", dir);
  zk_status st = begin(w, dir, config, params, dtype, max_shard_bytes, tokenizer_dir);
  if (st == ZK_OK) *out = w;
  else free(w);
  return st;
}

zk_status zk_model_writer_append(zk_model_writer *w, const float *values, int64_t count) {
  return zk_safetensors_writer_append(w->file, values, count);
}

zk_status zk_model_writer_close(zk_model_writer *w) {
  zk_status st = zk_safetensors_writer_close(w->file);
  free(w);
  return st;
}

void zk_model_writer_abort(zk_model_writer *w) {
  if (!w) return;
  zk_safetensors_writer_abort(w->file);
  free(w);
}

zk_status zk_model_save(const char *dir, const zk_model_config *config, const zk_params *params, const float *flat,
                        zk_dtype dtype, const char *tokenizer_dir) {
  zk_model_writer *writer = NULL;
  ZK_TRY(zk_model_writer_open(dir, config, params, dtype, ZK_MODEL_MAX_SHARD_BYTES, tokenizer_dir, &writer));
  zk_status st = zk_model_writer_append(writer, flat, params->num_elements);
  if (st == ZK_OK) return zk_model_writer_close(writer);
  zk_model_writer_abort(writer);
  return st;
}
