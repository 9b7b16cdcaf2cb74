// A trajectory file for a person: who wrote it, its datasets, the step in numbers, and one group of completions to
// read.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shared/file_util.h"
#include "shared/inspect.h"
#include "shared/json_text.h"
#include "shared/inspect_group.h"
#include "shared/run_tokenizer.h"

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

// An evaluation's samples are trained on by nobody: its file has no trainer's log-probabilities, zeros.
static bool is_compared(const zk_trajectory *t) {
  bool has_sampler = false;
  for (int64_t k = 0; k < t->num_sample_tokens; k++) {
    if (t->trainer_logprob[k] != 0.0f) return true;
    has_sampler = has_sampler || t->sampler_logprob[k] != 0.0f;
  }
  return !has_sampler;
}

int64_t zk_inspect_num_mismatches(const zk_trajectory *t, int64_t first, int64_t end) {
  int64_t num = 0;
  if (!is_compared(t)) return 0;
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
  json_t *out = json_pack("{s:I, s:I, s:I, s:I, s:o, s:f, s:I, s:I, s:o, s:o}", //
                          "prompts", (json_int_t)t->num_prompts, "samples", (json_int_t)t->num_samples, "prompt_tokens",
                          (json_int_t)t->num_prompt_tokens, "completion_tokens", (json_int_t)t->num_sample_tokens,
                          "reward_mean", zk_json_text_real(mean_of(t->reward, t->num_samples, 1)), "length_mean",
                          t->num_samples ? (double)t->num_sample_tokens / (double)t->num_samples : 0.0, "length_min",
                          (json_int_t)shortest, "length_max", (json_int_t)longest, "mismatch_tokens",
                          is_compared(t) ? json_integer((json_int_t)zk_inspect_num_mismatches(t, 0, t->num_sample_tokens)) : json_null(), "finish",
                          finish_counts(t));
  for (int c = 0; out && c < t->num_components; c++) {
    zk_path key = zk_path_make("component_mean/%s", t->component_names[c]);
    json_object_set_new(out, key.s,
                        zk_json_text_real(mean_of(t->reward_component + c, t->num_samples, t->num_components)));
  }
  return out;
}

// The run directory that the file lies in, if it does.
static zk_status find_tokenizer(const char *path, const zk_trajectory *t, const char *asked, zk_tokenizer **out) {
  const char *slash = strrchr(path, '/');
  zk_path folder = slash ? zk_path_make("%.*s", (int)(slash - path), path) : zk_path_make(".");
  return zk_run_tokenizer_load(zk_path_make("%s/..", folder.s).s, asked, t->tokenizer_hash, out);
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
  json_t *group = NULL;
  if (st == ZK_OK && t.num_prompts) st = zk_inspect_group(&t, options->group, tokenizer, &group);
  if (st == ZK_OK) {
    json_t *datasets = json_array();
    for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++) 
      if (!zk_trajectory_is_left_out(&t, c)) json_array_append_new(datasets, dataset(&t, c));
    *out = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o*, s:o}", "kind", "trajectory", "file", text_of(path), "attributes",
                     attributes(&t, sealed), "datasets", datasets, "summary", summary(&t), "group",
                     group, "config", text_of(t.config));
    if (!*out) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", path);
  }
  zk_tokenizer_free(tokenizer);
  zk_trajectory_free(&t);
  return st;
}
