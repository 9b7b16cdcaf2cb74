// One group as JSON.
#include "shared/inspect_group.h"

#include <inttypes.h>

#include "shared/json_text.h"
#include "shared/token_text.h"

static json_t *text_of(const zk_tokenizer *tokenizer, const int32_t *ids, int64_t num) {
  zk_token_text text;
  if (zk_token_text_make(tokenizer, ids, num, &text) != ZK_OK) return NULL;
  json_t *string = json_stringn(text.text, text.num_bytes);
  zk_token_text_free(&text);
  return string;
}

static json_t *ids_of(const int32_t *ids, int64_t num) {
  json_t *array = json_array();
  for (int64_t k = 0; k < num; k++) json_array_append_new(array, json_integer(ids[k]));
  return array;
}

static json_t *reals_of(const float *values, int64_t num) {
  json_t *array = json_array();
  for (int64_t k = 0; k < num; k++) json_array_append_new(array, zk_json_text_real((double)values[k]));
  return array;
}

// "" for a token whose text stands with a later one.
static json_t *texts_of(const zk_tokenizer *tokenizer, const int32_t *ids, int64_t num) {
  zk_token_text text;
  if (zk_token_text_make(tokenizer, ids, num, &text) != ZK_OK) return NULL;
  json_t *array = json_array();
  for (int64_t i = 0; i < text.num_pieces; i++) {
    const zk_token_piece *p = &text.pieces[i];
    for (int64_t k = p->first; k + 1 < p->end; k++) json_array_append_new(array, json_string(""));
    json_array_append_new(array, json_stringn(text.text + p->at, p->num_bytes));
  }
  zk_token_text_free(&text);
  return array;
}

static json_t *components_of(const zk_trajectory *t, int64_t i) {
  json_t *object = json_object();
  for (int k = 0; k < t->num_components; k++)
    json_object_set_new(object, t->component_names[k], zk_json_text_real((double)t->reward_component[i * t->num_components + k]));
  return object;
}

// NULL where every token is the policy's.
static json_t *mask_of(const zk_trajectory *t, int64_t i) {
  int64_t first = t->sample_offsets[i], end = t->sample_offsets[i + 1];
  if (zk_trajectory_num_sampled(t, i, i + 1) == end - first) return NULL;
  json_t *array = json_array();
  for (int64_t k = first; k < end; k++) json_array_append_new(array, json_integer(t->loss_mask[k]));
  return array;
}

// NULL where the file has none.
static json_t *reference_of(const zk_trajectory *t, int64_t first, int64_t num) {
  for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++)
    if (zk_trajectory_data(t, c) == t->reference_logprob && zk_trajectory_is_left_out(t, c)) return NULL;
  return reals_of(t->reference_logprob + first, num);
}

static json_t *sample(const zk_trajectory *t, int64_t i, const zk_tokenizer *tokenizer) {
  int64_t first = t->sample_offsets[i], end = t->sample_offsets[i + 1], num = end - first;
  const int32_t *ids = t->sample_tokens + first;
  const char *detail = t->reward_detail[i] ? zk_reward_detail_text(t->reward_detail[i]) : NULL;
  return json_pack("{s:i, s:o, s:s*, s:o, s:o, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o*, s:o*}", "sample", (int)t->sample_index[i], "reward",
                   zk_json_text_real((double)t->reward[i]), "reward_detail", detail, "reward_components", components_of(t, i), "advantage",
                   zk_json_text_real((double)t->advantage[i]), "finish", zk_finish_reason_text(t->finish_reason[i]), "tokens", (json_int_t)num,
                   "mismatches", (json_int_t)zk_inspect_num_mismatches(t, first, end), "completion", text_of(tokenizer, ids, num), "token_ids",
                   ids_of(ids, num), "token_texts", texts_of(tokenizer, ids, num), "sampler_logprob", reals_of(t->sampler_logprob + first, num),
                   "trainer_logprob", reals_of(t->trainer_logprob + first, num), "reference_logprob", reference_of(t, first, num), "loss_mask", mask_of(t, i));
}

zk_status zk_inspect_group(const zk_trajectory *t, int64_t p, const zk_tokenizer *tokenizer, json_t **out) {
  json_t *samples = json_array();
  for (int64_t i = 0; i < t->num_samples; i++)
    if (t->prompt_index[i] == p) json_array_append_new(samples, sample(t, i, tokenizer));
  int64_t first = t->prompt_offsets[p], num = t->prompt_offsets[p + 1] - first;
  *out = json_pack("{s:I, s:o, s:o, s:o, s:o}", "group", (json_int_t)p, "prompt_id", json_sprintf("%" PRIu64, t->prompt_id[p]), "prompt",
                   text_of(tokenizer, t->prompt_tokens + first, num), "prompt_ids", ids_of(t->prompt_tokens + first, num), "samples", samples);
  return *out ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a group of samples");
}
