// The different completions of one prompt, how often each came, and where they part.
#ifndef ZK_TRAINER_COMPLETION_SET_H
#define ZK_TRAINER_COMPLETION_SET_H

#include "rollout/engine.h"
#include "shared/tokenizer.h"

typedef struct {
  zk_completion *unique; // [num_unique] owned; different in a token, or in a bit of a log-probability
  int64_t *count;        // [num_unique]
  int32_t num_unique;
} zk_completion_set; // begins zeroed

// Takes *completion, which is freed here or by zk_completion_set_free, also on failure. ZK_OUT_OF_MEMORY.
zk_status zk_completion_set_add(zk_completion_set *set, zk_completion *completion);
void zk_completion_set_free(zk_completion_set *set);

// How many of the unique ones have tokens that none before them has.
int32_t zk_completion_set_num_texts(const zk_completion_set *set);
// The first position, from 0, at which not all have the same token; -1 if there is none.
int32_t zk_completion_set_parting(const zk_completion_set *set);
// What came at that position and how often, the commonest first: "992 \" Queens\", 8 \" New\"", at most 8 tokens and then how many more, malloc'ed
// into *out. Without a tokenizer (NULL) tokens are "<17>"; a completion that has ended there is "(end)". ZK_OUT_OF_MEMORY.
zk_status zk_completion_set_split(const zk_completion_set *set, int32_t position, const zk_tokenizer *tokenizer, char **out);
// Of the first one's tokens and the bits of their log-probabilities; 0 for an empty set.
uint64_t zk_completion_set_hash(const zk_completion_set *set);

#endif
