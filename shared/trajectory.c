// The columns of a step: allocated, freed, counted and checked by walking the one table.
#include "shared/trajectory.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COMPONENTS = 4096 };

#define KIND(type) _Generic((type)0, float : 'f', int32_t : 'i', int64_t : 'i', default : 'u')

const zk_trajectory_column zk_trajectory_columns[ZK_TRAJECTORY_NUM_COLUMNS] = {
#define X(member, type, h5, name, extent, text)                                                                        \
  {name, text, KIND(type), (int)sizeof(type), ZK_EXTENT_##extent, offsetof(zk_trajectory, member)},
    ZK_TRAJECTORY_LIST(X)
#undef X
};

const char *zk_reward_detail_text(int detail) {
  static const char *const texts[] = {"", "timed out", "program ended", "answer is no JSON", "no reward in the answer"};
  return detail >= 0 && detail < (int)(sizeof texts / sizeof *texts) ? texts[detail] : "?";
}

const char *zk_finish_reason_text(int reason) {
  switch (reason) {
#define X(name, value, text)                                                                                           \
  case value:                                                                                                          \
    return text;
    ZK_FINISH_LIST(X)
#undef X
  default:
    return "?";
  }
}

bool zk_finish_is_error(int reason) {
  return reason == ZK_FINISH_ERROR || reason == ZK_FINISH_PROMPT || reason == ZK_FINISH_NOT_FINITE;
}

zk_finish_detail_name zk_finish_detail_text(int32_t detail, int32_t num_layers) {
  zk_finish_detail_name name;
  const int32_t layer = detail - ZK_FINISH_DETAIL_LAYER;
  if (detail == ZK_FINISH_DETAIL_EMBEDDING) snprintf(name.s, sizeof name.s, "the embedding");
  else if (layer >= num_layers) snprintf(name.s, sizeof name.s, "the LM head");
  else snprintf(name.s, sizeof name.s, "layer %d", layer);
  return name;
}

int64_t zk_trajectory_num_elements(const zk_trajectory *t, int column) {
  switch (zk_trajectory_columns[column].extent) {
  case ZK_EXTENT_PROMPTS:
    return t->num_prompts;
  case ZK_EXTENT_PROMPT_OFFSETS:
    return t->num_prompts + 1;
  case ZK_EXTENT_PROMPT_TOKENS:
    return t->num_prompt_tokens;
  case ZK_EXTENT_SAMPLES:
    return t->num_samples;
  case ZK_EXTENT_SAMPLE_OFFSETS:
    return t->num_samples + 1;
  case ZK_EXTENT_SAMPLE_TOKENS:
    return t->num_sample_tokens;
  case ZK_EXTENT_COMPONENTS:
    return t->num_samples * t->num_components;
  }
  return 0;
}

static void **member(const zk_trajectory *t, int column) {
  return (void **)((char *)t + zk_trajectory_columns[column].member_offset);
}

void *zk_trajectory_data(const zk_trajectory *t, int column) { return *member(t, column); }

static bool is_mask(int column) { return zk_trajectory_columns[column].member_offset == offsetof(zk_trajectory, loss_mask); }

bool zk_trajectory_may_be_left_out(int column) {
  const size_t offset = zk_trajectory_columns[column].member_offset;
  return offset == offsetof(zk_trajectory, finish_detail) || offset == offsetof(zk_trajectory, reward_detail) ||
         offset == offsetof(zk_trajectory, reference_logprob) || is_mask(column);
}

bool zk_trajectory_is_left_out(const zk_trajectory *t, int column) {
  if (!zk_trajectory_may_be_left_out(column)) return false;
  const char *data = zk_trajectory_data(t, column);
  const size_t bytes = (size_t)zk_trajectory_num_elements(t, column) * (size_t)zk_trajectory_columns[column].element_bytes;
  const char usual = is_mask(column) ? 1 : 0;
  for (size_t i = 0; i < bytes; i++)
    if (data[i] != usual) return false;
  return true;
}

zk_status zk_trajectory_alloc(zk_trajectory *out, int64_t num_prompts, int64_t num_prompt_tokens, int64_t num_samples,
                              int64_t num_sample_tokens, int32_t num_components) {
  *out = (zk_trajectory){0};
  const int64_t most = INT64_MAX / 16; // bytes of a column fit
  if (num_prompts < 0 || num_prompts > INT32_MAX || num_samples < 0 || num_samples > INT32_MAX || num_components < 0 ||
      num_components > MAX_COMPONENTS || num_prompt_tokens < 0 || num_prompt_tokens > most || num_sample_tokens < 0 ||
      num_sample_tokens > most)
    return ZK_FAIL(ZK_OUT_OF_MEMORY,
                   "a trajectory of %lld prompts, %lld samples and %lld completion tokens is out of range",
                   (long long)num_prompts, (long long)num_samples, (long long)num_sample_tokens);
  out->num_prompts = num_prompts;
  out->num_prompt_tokens = num_prompt_tokens;
  out->num_samples = num_samples;
  out->num_sample_tokens = num_sample_tokens;
  out->num_components = num_components;
  out->component_names = calloc((size_t)num_components + 1, sizeof *out->component_names);
  if (!out->component_names) goto out_of_memory;
  for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++) {
    int64_t n = zk_trajectory_num_elements(out, c);
    *member(out, c) = calloc(n ? (size_t)n : 1, (size_t)zk_trajectory_columns[c].element_bytes);
    if (!*member(out, c)) goto out_of_memory;
  }
  memset(out->loss_mask, 1, (size_t)num_sample_tokens);
  return ZK_OK;
out_of_memory:
  zk_trajectory_free(out);
  return ZK_FAIL(ZK_OUT_OF_MEMORY, "out of memory for a trajectory of %lld samples and %lld completion tokens",
                 (long long)num_samples, (long long)num_sample_tokens);
}

void zk_trajectory_free(zk_trajectory *t) {
  free(t->run_name);
  free(t->numerics);
  free(t->tokenizer_hash);
  free(t->template_hash);
  free(t->config);
  free(t->zerokl_version);
  for (int i = 0; t->component_names && i < t->num_components; i++) free(t->component_names[i]);
  free(t->component_names);
  for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++) free(*member(t, c));
  free(t->sampler_lse);
  *t = (zk_trajectory){0};
}

// ---- validity -------------------------------------------------------------------------------------------------------
// --------------------------------------------------------------------------------------------------------

static zk_status invalid(const char *dataset, int64_t index, const char *what) {
  return ZK_FAIL(ZK_BAD_INPUT, "%s[%lld] %s", dataset, (long long)index, what);
}

static zk_status check_offsets(const char *dataset, const int64_t *offsets, int64_t num, int64_t total) {
  if (offsets[0] != 0) return invalid(dataset, 0, "is not 0");
  for (int64_t i = 0; i < num; i++)
    if (offsets[i + 1] < offsets[i] || offsets[i + 1] > total)
      return invalid(dataset, i + 1, "is out of order or range");
  return offsets[num] == total ? ZK_OK : invalid(dataset, num, "is not the number of tokens");
}

static zk_status check_tokens(const char *dataset, const int32_t *tokens, int64_t num) {
  for (int64_t i = 0; i < num; i++)
    if (tokens[i] < 0) return invalid(dataset, i, "is negative");
  return ZK_OK;
}

int64_t zk_trajectory_num_sampled(const zk_trajectory *t, int64_t first, int64_t last) {
  int64_t num = 0;
  for (int64_t k = t->sample_offsets[first]; k < t->sample_offsets[last]; k++) num += t->loss_mask[k];
  return num;
}

void zk_trajectory_clear_replies(zk_trajectory *t) {
  for (int64_t k = 0; k < t->num_sample_tokens; k++)
    if (!t->loss_mask[k]) t->trainer_logprob[k] = 0;
}

zk_status zk_trajectory_validate(const zk_trajectory *t) {
  ZK_TRY(check_offsets("prompt/offsets", t->prompt_offsets, t->num_prompts, t->num_prompt_tokens));
  ZK_TRY(check_offsets("sample/offsets", t->sample_offsets, t->num_samples, t->num_sample_tokens));
  ZK_TRY(check_tokens("prompt/tokens", t->prompt_tokens, t->num_prompt_tokens));
  ZK_TRY(check_tokens("sample/tokens", t->sample_tokens, t->num_sample_tokens));
  for (int64_t i = 0; i < t->num_samples; i++) {
    int32_t prompt = t->prompt_index[i], sample = t->sample_index[i];
    if (prompt < 0 || prompt >= t->num_prompts) return invalid("sample/prompt_index", i, "is out of range");
    if (sample < 0) return invalid("sample/sample_index", i, "is negative");
    if (i && prompt < t->prompt_index[i - 1]) return invalid("sample/prompt_index", i, "is out of order");
    if (i && prompt == t->prompt_index[i - 1] && sample <= t->sample_index[i - 1])
      return invalid("sample/sample_index", i, "is out of order");
    if (zk_finish_reason_text(t->finish_reason[i])[0] == '?') return invalid("sample/finish_reason", i, "is unknown");
    if (zk_reward_detail_text(t->reward_detail[i])[0] == '?') return invalid("sample/reward_detail", i, "is unknown");
  }
  for (int64_t k = 0; k < t->num_sample_tokens; k++)
    if (t->loss_mask[k] > 1) return invalid("sample/loss_mask", k, "is not 0 or 1");
  for (int i = 0; i < t->num_components; i++)
    if (!t->component_names[i] || !t->component_names[i][0]) return invalid("component_names", i, "is empty");
  return ZK_OK;
}
