// Reading a folder's weights: the file's tensors are matched with the parameter table once, then any range of global
// elements can be read.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/math.h"
#include "shared/file_util.h"
#include "shared/model.h"

#define READ_BLOCK ((int64_t)1 << 20) // elements converted at a time

struct zk_model_reader {
  zk_safetensors *file;
  const zk_params *params;
  const zk_safetensor **tensors; // [params->num_params]
};

static zk_status fail_adapter(const char *dir) {
  return ZK_FAIL(ZK_BAD_INPUT, "%s: holds an adapter and no model: `zerokl export` merges one with its base, and lora.path starts from one", dir);
}

static bool has_file(const char *dir, const char *name) { return zk_file_exists(zk_path_make("%s/%s", dir, name).s); }

zk_status zk_model_load_config(const char *dir, zk_model_config *out) {
  if (!has_file(dir, "config.json") && has_file(dir, "adapter_config.json")) return fail_adapter(dir);
  return zk_model_config_load(dir, out);
}

// ---- matching

static int has_float_dtype(const zk_safetensor *t) {
  return t->dtype == ZK_DTYPE_F32 || t->dtype == ZK_DTYPE_BF16 || t->dtype == ZK_DTYPE_F16;
}

static void shape_text(int num_dims, const int64_t *shape, char *text, size_t text_bytes) {
  size_t used = (size_t)snprintf(text, text_bytes, "[");
  for (int i = 0; i < num_dims && used < text_bytes; i++)
    used += (size_t)snprintf(text + used, text_bytes - used, "%s%lld", i ? ", " : "", (long long)shape[i]);
  if (used < text_bytes) snprintf(text + used, text_bytes - used, "]");
}

static zk_status match(const zk_safetensor *t, const zk_param *p) {
  const int64_t want[2] = {p->num_dims == 2 ? p->rows : p->cols, p->cols};
  int same = t->num_dims == p->num_dims;
  for (int i = 0; same && i < p->num_dims; i++) same = t->shape[i] == want[i];
  if (!same) {
    char has[160], should[64];
    shape_text(t->num_dims, t->shape, has, sizeof has);
    shape_text(p->num_dims, want, should, sizeof should);
    return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s has shape %s, %s %s", t->file, t->name, has,
                   p->kind >= ZK_PARAM_LORA_A ? "the adapter fits another base: with this one and lora.rank it has" : "config.json makes it", should);
  }
  if (has_float_dtype(t)) return ZK_OK;
  return ZK_FAIL(ZK_UNSUPPORTED, "%s: tensor %s has dtype %s; weights must be F32, BF16 or F16", t->file, t->name,
                 zk_dtype_name(t->dtype));
}

static zk_status fail_differs(const zk_safetensor *head) {
  return ZK_FAIL(ZK_BAD_INPUT,
                 "%s: config.json ties lm_head.weight to the embedding, but the file holds a different one; set "
                 "tie_word_embeddings to false",
                 head->file);
}

// A tied model's file may repeat the embedding as its head; anything else under that name would be dropped in silence.
static zk_status check_tied_head(const zk_safetensor *head, const zk_safetensor *embed) {
  if (head->num_elements != embed->num_elements || !has_float_dtype(head)) return fail_differs(head);
  float *a = malloc(2 * (size_t)READ_BLOCK * sizeof *a);
  if (!a) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", head->file);
  zk_status st = ZK_OK;
  for (int64_t first = 0; st == ZK_OK && first < head->num_elements; first += READ_BLOCK) {
    int64_t n = head->num_elements - first < READ_BLOCK ? head->num_elements - first : READ_BLOCK;
    st = zk_safetensor_read_f32(head, first, n, a);
    if (st == ZK_OK) st = zk_safetensor_read_f32(embed, first, n, a + READ_BLOCK);
    if (st == ZK_OK && memcmp(a, a + READ_BLOCK, (size_t)n * sizeof *a)) st = fail_differs(head);
  }
  free(a);
  return st;
}

static int ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}

// A tensor outside the table: a RoPE buffer of old transformers, a repeated tied head, or a model that is not what
// config.json says.
static zk_status check_extra(const zk_model_reader *r, const zk_safetensor *t) {
  if (zk_params_is_adapter(r->params))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s has no place in an adapter of this base and lora.target_modules", t->file, t->name);
  if (ends_with(t->name, ".rotary_emb.inv_freq")) return ZK_OK;
  int head = zk_params_index(r->params, ZK_PARAM_LM_HEAD, 0);
  if (!strcmp(t->name, "lm_head.weight") && r->params->params[head].kind == ZK_PARAM_EMBED)
    return check_tied_head(t, r->tensors[head]);
  return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s has no place in the model that config.json describes", t->file, t->name);
}

static zk_status match_all(zk_model_reader *r, const char *dir) {
  for (int i = 0; i < r->params->num_params; i++) {
    const zk_param *p = &r->params->params[i];
    r->tensors[i] = zk_safetensors_find(r->file, p->name);
    if (!r->tensors[i] && p->kind == ZK_PARAM_LM_HEAD)
      return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s is missing, and config.json does not tie it to the embedding", dir,
                     p->name);
    if (!r->tensors[i])
      return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s is missing%s", dir, p->name,
                     p->kind >= ZK_PARAM_LORA_A ? ": the adapter fits another base, or other lora.target_modules" : "");
    ZK_TRY(match(r->tensors[i], p));
  }
  for (int i = 0; i < zk_safetensors_count(r->file); i++) {
    const zk_safetensor *t = zk_safetensors_at(r->file, i);
    if (zk_params_find(r->params, t->name) < 0) ZK_TRY(check_extra(r, t));
  }
  return ZK_OK;
}

// ---- the interface

static zk_status open_adapter(const char *dir, zk_safetensors **out) {
  if (!has_file(dir, "adapter_model.safetensors") && has_file(dir, "adapter_model.bin"))
    return ZK_FAIL(ZK_UNSUPPORTED, "%s: the adapter is in adapter_model.bin, PEFT's old pickle format, which is not read: load it with PEFT and save it with "
                   "model.save_pretrained(FOLDER, safe_serialization=True)", dir);
  return zk_safetensors_open(zk_path_make("%s/adapter_model.safetensors", dir).s, out);
}

static zk_status open_file(const char *dir, const zk_params *params, zk_safetensors **out) {
  if (zk_params_is_adapter(params)) return open_adapter(dir, out);
  if (has_file(dir, "adapter_model.safetensors") && !has_file(dir, "model.safetensors") && !has_file(dir, "model.safetensors.index.json"))
    return fail_adapter(dir);
  return zk_safetensors_open(dir, out);
}

zk_status zk_model_reader_open(const char *dir, const zk_params *params, zk_model_reader **out) {
  zk_model_reader *r = calloc(1, sizeof *r);
  if (r) r->tensors = calloc((size_t)params->num_params, sizeof *r->tensors);
  zk_status st = r && r->tensors ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", dir);
  if (st == ZK_OK) r->params = params, st = open_file(dir, params, &r->file);
  if (st == ZK_OK) st = match_all(r, dir);
  if (st == ZK_OK) *out = r;
  else zk_model_reader_close(r);
  return st;
}

void zk_model_reader_close(zk_model_reader *r) {
  if (!r) return;
  zk_safetensors_close(r->file);
  free(r->tensors);
  free(r);
}

static zk_status check_finite(const zk_safetensor *t, int64_t first, int64_t count, const float *values) {
  uint32_t bad = 0; // exponent of all ones
  for (int64_t i = 0; i < count; i++) bad |= (zk_float_bits(values[i]) & 0x7f800000u) == 0x7f800000u;
  if (!bad) return ZK_OK;
  int64_t i = 0;
  while ((zk_float_bits(values[i]) & 0x7f800000u) != 0x7f800000u) i++;
  return ZK_FAIL(ZK_BAD_INPUT, "%s: tensor %s: element %lld is %s", t->file, t->name, (long long)(first + i),
                 values[i] != values[i] ? "not a number" : "infinite");
}

zk_status zk_model_reader_read(const zk_model_reader *r, int64_t first, int64_t count, float *out) {
  if (first < 0 || count < 0 || first > r->params->num_elements - count)
    return ZK_FAIL(ZK_INTERNAL, "weights [%lld, +%lld) of %lld", (long long)first, (long long)count,
                   (long long)r->params->num_elements);
  for (int i = count ? zk_params_of_element(r->params, first) : 0; count > 0; i++) {
    const zk_param *p = &r->params->params[i];
    int64_t at = first - p->first, n = p->num_elements - at < count ? p->num_elements - at : count;
    n = n < READ_BLOCK ? n : READ_BLOCK; // checked while still in cache
    ZK_TRY(zk_safetensor_read_f32(r->tensors[i], at, n, out));
    ZK_TRY(check_finite(r->tensors[i], at, n, out));
    first += n, out += n, count -= n;
    if (at + n < p->num_elements) i--; // more of the same tensor
  }
  return ZK_OK;
}

zk_status zk_model_load_weights(const char *dir, const zk_params *params, float *flat) {
  zk_model_reader *reader;
  ZK_TRY(zk_model_reader_open(dir, params, &reader));
  zk_status st = zk_model_reader_read(reader, 0, params->num_elements, flat);
  zk_model_reader_close(reader);
  return st;
}
