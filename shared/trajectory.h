// One step of a run as columns: prompts, completions, what sampler and trainer said of every token; and its HDF5 file.
//
// Three columns are left out of file and hash when they say nothing, as files of before have none: finish_detail and reward_detail of zeros, loss_mask of
// ones. Tokens whose loss_mask is 0 were appended by an environment: nothing drew them, both their log-probabilities are stored as 0, and nothing is trained on them.
//
// The table below is the file format (schema_version 1): allocation, writing, reading, hashing and comparing all walk
// it. Records are in (prompt, sample) order. Ragged columns are cut by offsets: completion i owns sample_tokens[k],
// sampler_logprob[k], trainer_logprob[k] for sample_offsets[i] <= k < sample_offsets[i + 1]. Floats are raw IEEE bits.
#ifndef ZK_SHARED_TRAJECTORY_H
#define ZK_SHARED_TRAJECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

#define ZK_TRAJECTORY_SCHEMA_VERSION 1

// Why a completion ended; the values are stored.
#define ZK_FINISH_LIST(X)                                                                                              \
  X(EOS, 0, "eos")       /* the model's end-of-sequence token, which is the completion's last token */                 \
  X(STOP, 1, "stop")     /* a token of rollout.stop, likewise */                                                       \
  X(LENGTH, 2, "length") /* rollout.max_new_tokens reached */                                                          \
  X(ERROR, 3, "error")   /* it could not be finished, for a reason that is not told */                                 \
  X(PROMPT, 4, "prompt") /* no token was drawn: the prompt is empty, or leaves no room in the model's context */       \
  X(NOT_FINITE, 5, "not_finite") /* no further token could be drawn; sample/finish_detail says since which layer */
typedef enum {
#define X(name, value, text) ZK_FINISH_##name = value,
  ZK_FINISH_LIST(X)
#undef X
} zk_finish_reason;
const char *zk_finish_reason_text(int reason); // "eos"; "?" for a value that is none
// The completion went wrong: its reward is 0 whatever it says.
bool zk_finish_is_error(int reason);

// sample/reward_detail for a person: why a command gave no reward; "" for 0, where there is one, or no command was asked.
const char *zk_reward_detail_text(int detail);

// sample/finish_detail of a sample that ended as not_finite: what gave the first value that is not finite, of the row it would have been
// drawn from. 0 for all other samples; a step of such samples only has no such dataset, as older files have none.
#define ZK_FINISH_DETAIL_EMBEDDING 1
#define ZK_FINISH_DETAIL_LAYER 2 // + number of the layer, from 0; one more than the last layer: the LM head
typedef struct {
  char s[64];
} zk_finish_detail_name;
zk_finish_detail_name zk_finish_detail_text(int32_t detail, int32_t num_layers); // "layer 5"

// How many elements a column has: num_prompts, num_prompts + 1, num_prompt_tokens, num_samples, num_samples + 1,
// num_sample_tokens, num_samples x num_components.
typedef enum {
  ZK_EXTENT_PROMPTS,
  ZK_EXTENT_PROMPT_OFFSETS,
  ZK_EXTENT_PROMPT_TOKENS,
  ZK_EXTENT_SAMPLES,
  ZK_EXTENT_SAMPLE_OFFSETS,
  ZK_EXTENT_SAMPLE_TOKENS,
  ZK_EXTENT_COMPONENTS
} zk_trajectory_extent;

// X(member, element type, little-endian HDF5 type, HDF5 name, extent, description)
#define ZK_TRAJECTORY_LIST(X)                                                                                          \
  X(prompt_id, uint64_t, STD_U64LE, "prompt/id", PROMPTS,                                                              \
    "shape [num_prompts]; no unit; number of the prompt in its task")                                                  \
  X(prompt_offsets, int64_t, STD_I64LE, "prompt/offsets", PROMPT_OFFSETS,                                              \
    "shape [num_prompts + 1]; unit tokens; prompt p is prompt/tokens[offsets[p] : offsets[p + 1]]")                    \
  X(prompt_tokens, int32_t, STD_I32LE, "prompt/tokens", PROMPT_TOKENS,                                                 \
    "shape [prompt tokens]; unit token id; all prompts, one after another")                                            \
  X(prompt_index, int32_t, STD_I32LE, "sample/prompt_index", SAMPLES,                                                  \
    "shape [num_samples]; no unit; row of the sample's prompt in prompt/, ascending")                                  \
  X(sample_index, int32_t, STD_I32LE, "sample/sample_index", SAMPLES,                                                  \
    "shape [num_samples]; no unit; number of the sample in its prompt's group, from 0")                                \
  X(sample_offsets, int64_t, STD_I64LE, "sample/offsets", SAMPLE_OFFSETS,                                              \
    "shape [num_samples + 1]; unit tokens; completion i is sample/tokens[offsets[i] : offsets[i + 1]]")                \
  X(sample_tokens, int32_t, STD_I32LE, "sample/tokens", SAMPLE_TOKENS,                                                 \
    "shape [completion tokens]; unit token id; the token that ended it included")                                      \
  X(sampler_logprob, float, IEEE_F32LE, "sample/sampler_logprob", SAMPLE_TOKENS,                                       \
    "shape [completion tokens]; unit nat; log-probability under the distribution sampled from, by the sampler")        \
  X(trainer_logprob, float, IEEE_F32LE, "sample/trainer_logprob", SAMPLE_TOKENS,                                       \
    "shape [completion tokens]; unit nat; the same, recomputed by the trainer before the update")                      \
  X(reward, float, IEEE_F32LE, "sample/reward", SAMPLES,                                                               \
    "shape [num_samples]; unit reward; what the advantage is made of")                                                 \
  X(reward_component, float, IEEE_F32LE, "sample/reward_component", COMPONENTS,                                        \
    "shape [num_samples, num_components]; unit reward; the parts, named by the attribute `names`")                     \
  X(advantage, float, IEEE_F32LE, "sample/advantage", SAMPLES,                                                         \
    "shape [num_samples]; no unit; after baseline and scale")                                                          \
  X(finish_reason, uint8_t, STD_U8LE, "sample/finish_reason", SAMPLES,                                                 \
    "shape [num_samples]; no unit; 0 eos, 1 stop, 2 length, 3 error, 4 prompt does not fit, 5 logits not finite")       \
  X(finish_detail, int32_t, STD_I32LE, "sample/finish_detail", SAMPLES,                                                \
    "shape [num_samples]; no unit; not finite since: 1 embedding, 2 + n layer n, behind the last layer the LM head")   \
  X(reward_detail, uint8_t, STD_U8LE, "sample/reward_detail", SAMPLES,                                                 \
    "shape [num_samples]; no unit; a command's reward: 0 given, 1 time-out, 2 it ended, 3 no answer in JSON, 4 none")  \
  X(loss_mask, uint8_t, STD_U8LE, "sample/loss_mask", SAMPLE_TOKENS,                                                   \
    "shape [completion tokens]; no unit; 1: sampled by the policy and trained; 0: an environment's reply")\
  X(reference_logprob, float, IEEE_F32LE, "sample/reference_logprob", SAMPLE_TOKENS,                                   \
    "shape [completion tokens]; unit nat; log-probability by the reference model of algorithm.kl; absent without one")

typedef struct {
  // Root attributes. Strings are owned (freed by zk_trajectory_free); NULL is written as "".
  char *run_name;
  int64_t step; // from 1
  uint64_t seed;
  char *numerics; // "f32"
  int32_t contract_version;
  uint64_t weights_hash; // before the step's update; stored as 16 hex digits
  char *tokenizer_hash, *template_hash;
  char *config; // identity keys, as the config module prints them
  char *zerokl_version;
  uint64_t content_hash; // as stored: set by zk_trajectory_read and zk_trajectory_write

  int64_t num_prompts, num_prompt_tokens, num_samples, num_sample_tokens;
  int32_t num_components;
  char **component_names; // [num_components], owned strings
#define X(member, type, h5, name, extent, text) type *member;
  ZK_TRAJECTORY_LIST(X)
#undef X
  // Not of the file: [num_sample_tokens] the log-sum-exps that sampler_logprob was made with, of a step sampled by this process; else
  // NULL.
  float *sampler_lse;
} zk_trajectory;

// Allocates all columns, zeroed, for these totals (prompt and completion tokens summed over the step). The caller fills
// them, offsets included, and sets strings and component names with strdup. ZK_OUT_OF_MEMORY also for sizes that
// overflow.
zk_status zk_trajectory_alloc(zk_trajectory *out, int64_t num_prompts, int64_t num_prompt_tokens, int64_t num_samples,
                              int64_t num_sample_tokens, int32_t num_components);
void zk_trajectory_free(zk_trajectory *t); // leaves *t zeroed; a zeroed one is fine

// One prompt of a step and its samples, which are neighbours.
typedef struct {
  const zk_trajectory *from;
  int64_t prompt; // row in prompt/
} zk_trajectory_group;
// The groups as one step, in this order, numbered anew; all of the same reward components. Attributes stay unset. The caller frees *out, which shares nothing.
zk_status zk_trajectory_join(const zk_trajectory_group *groups, int64_t num, zk_trajectory *out);

// Tokens of samples [first, last) that the policy sampled: loss_mask is 1.
int64_t zk_trajectory_num_sampled(const zk_trajectory *t, int64_t first, int64_t last);
// Sets trainer_logprob of all other tokens to 0.
void zk_trajectory_clear_replies(zk_trajectory *t);

// Offsets start at 0, never decrease and end at the totals; indices are in range; records in (prompt, sample) order;
// finish reasons and reward details known. ZK_BAD_INPUT names column and index.
zk_status zk_trajectory_validate(const zk_trajectory *t);

// XXH64 (seed 0) over: schema_version, step, seed, contract_version as int64; weights_hash; numerics, tokenizer_hash,
// template_hash, config, component names as (int64 length, bytes); then every column of the table as (int64 number of
// elements, little-endian bytes), in order, but for one that is left out. run_name and zerokl_version are left out: they are not content.
uint64_t zk_trajectory_content_hash(const zk_trajectory *t);

// The first thing in which two steps differ, in the order of the hash.
typedef struct {
  char dataset[64];  // "sample/tokens", or an attribute's name
  int64_t index;     // element; -1: an attribute or the number of elements differs
  char a[48], b[48]; // the two values, for a person; floats with their bits
} zk_trajectory_difference;
// True when all content (what content_hash covers) is bit-equal; else fills *out (may be NULL). NaNs compare by their
// bits.
bool zk_trajectory_equal(const zk_trajectory *a, const zk_trajectory *b, zk_trajectory_difference *out);

// Validates `t`, sets t->content_hash, writes the file aside, flushes, renames. An existing file is never overwritten:
// it is read and compared, and is left alone either way; a difference is ZK_MISMATCH with dataset, index and both
// values. The bytes depend on `t` and the HDF5 and zlib builds only. *out_existed may be NULL.
zk_status zk_trajectory_write(const char *path, zk_trajectory *t, bool *out_existed);

// Reads and checks everything: types, shapes, offsets, content_hash. On failure *out is freed. ZK_BAD_ARCHIVE with file
// and dataset.
zk_status zk_trajectory_read(const char *path, zk_trajectory *out);
// The same from the file's bytes; `name` is for errors.
zk_status zk_trajectory_parse(const char *name, void *bytes, size_t num_bytes, zk_trajectory *out);
// The same as zk_trajectory_read for an auditor who wants the values even when they no longer match content_hash; *out_sealed says whether
// they do.
zk_status zk_trajectory_read_unsealed(const char *path, zk_trajectory *out, bool *out_sealed);

// The table, for what walks it.
typedef struct {
  const char *name, *description; // "sample/tokens"
  char kind;                      // 'f' float, 'i' signed, 'u' unsigned
  int element_bytes;
  zk_trajectory_extent extent;
  size_t member_offset; // of the pointer in zk_trajectory
} zk_trajectory_column;
#define ZK_TRAJECTORY_COUNT_ONE(member, type, h5, name, extent, text) +1
enum { ZK_TRAJECTORY_NUM_COLUMNS = 0 ZK_TRAJECTORY_LIST(ZK_TRAJECTORY_COUNT_ONE) };
extern const zk_trajectory_column zk_trajectory_columns[ZK_TRAJECTORY_NUM_COLUMNS];
int64_t zk_trajectory_num_elements(const zk_trajectory *t, int column);
// Whether a column is left out of file and hash, being one that may be and all zeros (loss_mask: all ones).
bool zk_trajectory_is_left_out(const zk_trajectory *t, int column);
bool zk_trajectory_may_be_left_out(int column);
void *zk_trajectory_data(const zk_trajectory *t, int column);

#endif
