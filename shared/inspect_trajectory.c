// A trajectory file for a person: who wrote it, its datasets, the step in numbers, and one group of completions to
// read.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/file_util.h"
#include "shared/inspect.h"
#include "shared/json_text.h"
#include "shared/log.h"
#include "shared/tokenizer.h"
#include "shared/trajectory.h"

enum { MAX_SHOWN_IDS = 48 };

static json_t *hash_of(uint64_t value) { return json_sprintf("%016" PRIx64, value); }
static json_t *text_of(const char *s) { return zk_json_text_string(s, strlen(s)); }

// ---- head and datasets
// -----------------------------------------------------------------------------------------------

static json_t *attributes(const zk_trajectory *t, bool sealed) {
  return json_pack("{s:i, s:o, s:I, s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:b}", //
                   "schema_version", ZK_TRAJECTORY_SCHEMA_VERSION, "run_name", text_of(t->run_name), "step",
                   (json_int_t)t->step, "seed", json_sprintf("%" PRIu64, t->seed), "numerics", text_of(t->numerics),
                   "contract_version", (int)t->contract_version, "weights_hash", hash_of(t->weights_hash),
                   "tokenizer_hash", text_of(t->tokenizer_hash), "template_hash", text_of(t->template_hash),
                   "zerokl_version", text_of(t->zerokl_version), "content_hash", hash_of(t->content_hash),
                   "content_hash_matches", (int)sealed);
}

static json_t *dataset(const zk_trajectory *t, int c) {
  const zk_trajectory_column *column = &zk_trajectory_columns[c];
  const char *kind = column->kind == 'f' ? "float" : column->kind == 'i' ? "int" : "uint";
  json_t *shape = column->extent == ZK_EXTENT_COMPONENTS
                      ? json_sprintf("[%" PRId64 ", %d]", t->num_samples, (int)t->num_components)
                      : json_sprintf("[%" PRId64 "]", zk_trajectory_num_elements(t, c));
  return json_pack("{s:s, s:o, s:o, s:s}", "name", column->name, "type",
                   json_sprintf("%s%d", kind, 8 * column->element_bytes), "shape", shape, "description",
                   column->description);
}

// ---- the step in numbers
// ---------------------------------------------------------------------------------------------

static int64_t num_mismatches(const zk_trajectory *t, int64_t first, int64_t end) {
  int64_t num = 0;
  for (int64_t k = first; k < end; k++)
    num += memcmp(&t->sampler_logprob[k], &t->trainer_logprob[k], sizeof(float)) != 0;
  return num;
}

static json_t *finish_counts(const zk_trajectory *t) {
  json_t *counts = json_object();
#define X(name, value, text)                                                                                           \
  int64_t num_##name = 0;                                                                                              \
  for (int64_t i = 0; i < t->num_samples; i++) num_##name += t->finish_reason[i] == value;                             \
  if (num_##name) json_object_set_new(counts, text, json_integer(num_##name));
  ZK_FINISH_LIST(X)
#undef X
  return counts;
}

// Mean of a column of `stride` floats a sample, for display; 0 for no samples.
static double mean_of(const float *values, int64_t num, int stride) {
  double sum = 0;
  for (int64_t i = 0; i < num; i++) sum += (double)values[i * stride];
  return num ? sum / (double)num : 0;
}

static json_t *summary(const zk_trajectory *t) {
  int64_t shortest = t->num_samples ? INT64_MAX : 0, longest = 0;
  for (int64_t i = 0; i < t->num_samples; i++) {
    int64_t length = t->sample_offsets[i + 1] - t->sample_offsets[i];
    if (length < shortest) shortest = length;
    if (length > longest) longest = length;
  }
  json_t *out = json_pack("{s:I, s:I, s:I, s:I, s:o, s:f, s:I, s:I, s:I, s:o}", //
                          "prompts", (json_int_t)t->num_prompts, "samples", (json_int_t)t->num_samples, "prompt_tokens",
                          (json_int_t)t->num_prompt_tokens, "completion_tokens", (json_int_t)t->num_sample_tokens,
                          "reward_mean", zk_json_text_real(mean_of(t->reward, t->num_samples, 1)), "length_mean",
                          t->num_samples ? (double)t->num_sample_tokens / (double)t->num_samples : 0.0, "length_min",
                          (json_int_t)shortest, "length_max", (json_int_t)longest, "mismatch_tokens",
                          (json_int_t)num_mismatches(t, 0, t->num_sample_tokens), "finish", finish_counts(t));
  for (int c = 0; out && c < t->num_components; c++) {
    zk_path key = zk_path_make("component_mean/%s", t->component_names[c]);
    json_object_set_new(out, key.s,
                        zk_json_text_real(mean_of(t->reward_component + c, t->num_samples, t->num_components)));
  }
  return out;
}

// ---- a group to read
// -------------------------------------------------------------------------------------------------

// Text when a tokenizer is known, else the first ids.
static json_t *readable(const zk_tokenizer *tokenizer, const int32_t *ids, int64_t num) {
  char *text;
  size_t num_bytes;
  if (tokenizer && zk_tokenizer_decode(tokenizer, ids, (size_t)num, 0, &text, &num_bytes) == ZK_OK) {
    json_t *string = zk_json_text_string(text, num_bytes);
    free(text);
    return string;
  }
  json_t *list = json_array();
  for (int64_t k = 0; k < num && k < MAX_SHOWN_IDS; k++) json_array_append_new(list, json_integer(ids[k]));
  if (num > MAX_SHOWN_IDS) json_array_append_new(list, json_string("..."));
  return list;
}

static json_t *sample(const zk_trajectory *t, int64_t i, const zk_tokenizer *tokenizer) {
  int64_t first = t->sample_offsets[i], end = t->sample_offsets[i + 1];
  return json_pack("{s:i, s:o, s:o, s:s, s:I, s:I, s:o}", "sample", (int)t->sample_index[i], "reward",
                   zk_json_text_real((double)t->reward[i]), "advantage", zk_json_text_real((double)t->advantage[i]),
                   "finish", zk_finish_reason_text(t->finish_reason[i]), "tokens", (json_int_t)(end - first),
                   "mismatches", (json_int_t)num_mismatches(t, first, end), "completion",
                   readable(tokenizer, t->sample_tokens + first, end - first));
}

static json_t *group(const zk_trajectory *t, int64_t p, const zk_tokenizer *tokenizer) {
  json_t *samples = json_array();
  for (int64_t i = 0; i < t->num_samples; i++)
    if (t->prompt_index[i] == p) json_array_append_new(samples, sample(t, i, tokenizer));
  int64_t first = t->prompt_offsets[p], num = t->prompt_offsets[p + 1] - first;
  return json_pack("{s:I, s:o, s:o, s:o}", "group", (json_int_t)p, "prompt_id",
                   json_sprintf("%" PRIu64, t->prompt_id[p]), "prompt",
                   readable(tokenizer, t->prompt_tokens + first, num), "samples", samples);
}

// The tokenizer asked for, or the one of the run that the file lies in; NULL when there is none that fits.
static zk_status find_tokenizer(const char *path, const zk_trajectory *t, const char *asked, zk_tokenizer **out) {
  *out = NULL;
  if (asked) return zk_tokenizer_load(asked, out);
  const char *slash = strrchr(path, '/');
  zk_path folder = slash ? zk_path_make("%.*s", (int)(slash - path), path) : zk_path_make(".");
  zk_path model = zk_path_make("%s/../checkpoints/step_000000", folder.s);
  if (!zk_file_exists(zk_path_make("%s/tokenizer.json", model.s).s)) return ZK_OK;
  ZK_TRY(zk_tokenizer_load(model.s, out));
  zk_path hash = zk_path_make("%016" PRIx64, zk_tokenizer_hash(*out));
  if (t->tokenizer_hash[0] && strcmp(hash.s, t->tokenizer_hash)) {
    ZK_LOG(WARN, "inspect", "%s: its tokenizer_hash is not that of %s; tokens are shown as ids", path, model.s);
    zk_tokenizer_free(*out);
    *out = NULL;
  }
  return ZK_OK;
}

zk_status zk_inspect_trajectory(const char *path, const zk_inspect_options *options, json_t **out) {
  zk_trajectory t;
  bool sealed;
  zk_tokenizer *tokenizer = NULL;
  ZK_TRY(zk_trajectory_read_unsealed(path, &t, &sealed));
  zk_status st = ZK_OK;
  if (t.num_prompts && (options->group < 0 || options->group >= t.num_prompts))
    st = ZK_FAIL(ZK_BAD_INPUT, "--group %" PRId64 ": %s has groups 0 to %" PRId64, options->group, path,
                 t.num_prompts - 1);
  if (st == ZK_OK) st = find_tokenizer(path, &t, options->tokenizer, &tokenizer);
  if (st == ZK_OK) {
    json_t *datasets = json_array();
    for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++) 
      if (!zk_trajectory_is_left_out(&t, c)) json_array_append_new(datasets, dataset(&t, c));
    *out = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o*, s:o}", "kind", "trajectory", "file", text_of(path), "attributes",
                     attributes(&t, sealed), "datasets", datasets, "summary", summary(&t), "group",
                     t.num_prompts ? group(&t, options->group, tokenizer) : NULL, "config", text_of(t.config));
    if (!*out) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", path);
  }
  zk_tokenizer_free(tokenizer);
  zk_trajectory_free(&t);
  return st;
}
