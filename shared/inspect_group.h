// The samples of one prompt: as JSON, and side by side for a person.
#ifndef ZK_SHARED_INSPECT_GROUP_H
#define ZK_SHARED_INSPECT_GROUP_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include "shared/tokenizer.h"
#include "shared/trajectory.h"

// Prompt p of a step and its samples. Each sample: what is stored of it, its text, and arrays with an element a token: token_ids, token_texts (a
// character made of several tokens stands with its last one), sampler_logprob, trainer_logprob, and loss_mask where a token is not the policy's.
// Without a tokenizer (NULL) texts are ids in angle brackets. The caller owns *out. ZK_OUT_OF_MEMORY.
zk_status zk_inspect_group(const zk_trajectory *t, int64_t p, const zk_tokenizer *tokenizer, json_t **out);

// Writes such an object for a terminal of `width` characters: the prompt, then the samples in columns, each with its numbers above its text. With
// `color` each token's ground says how likely the sampler found it, tokens whose log-probabilities differ in a bit are red and underlined, and
// those that the policy did not sample are dim. Control characters are escaped, so that nothing can move the cursor.
zk_status zk_inspect_group_print(FILE *out, const json_t *group, int width, bool color);

// Tokens [first, end) whose two log-probabilities differ in a bit.
int64_t zk_inspect_num_mismatches(const zk_trajectory *t, int64_t first, int64_t end);

#endif
