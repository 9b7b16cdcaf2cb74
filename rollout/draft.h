// Speculative decoding, the guessing half: what may a sample's next tokens be? Drafted tokens become rows of the same step as the sample's
// last token; what is drawn at each row says whether the next one was right. A token is a function of its prefix and of the name of its
// random number alone, so a row behind right guesses draws what it would have drawn in a step of its own, with the same log-probability
// bits; from the first wrong guess on, rows are thrown away. A guess can therefore cost time and never change a bit, and what is known to
// guess from may depend on the schedule.
//
// A guess begins at the last drawn token, so a step with guesses can only be laid out once the host knows what the step before it drew, and
// a sample's num_cached and pages are what they are only after take_draws: steps that overlap are steps without guesses.
#ifndef ZK_ROLLOUT_DRAFT_H
#define ZK_ROLLOUT_DRAFT_H

#include <stdint.h>

#include "kernels/status.h"

#define ZK_DRAFT_GRAM 3 // tokens that must match before what followed them is guessed again

// Where each run of ZK_DRAFT_GRAM tokens last ended, of tokens[0 .. num_indexed): a table without chains, newer entries replace older ones.
typedef struct {
  int32_t *ends; // [mask + 1], 0 = nothing
  uint32_t mask;
  int32_t num_indexed;
} zk_gram_index;
void zk_gram_index_free(zk_gram_index *index);

// Completions of this and earlier steps, found by prompt and last tokens: a ring, in which new ones overwrite the oldest.
typedef struct {
  int32_t *tokens; // [ZK_DRAFT_MEMORY_TOKENS]; -1 behind each completion
  int32_t *ends;   // as in zk_gram_index, over all of them
  int32_t used;
} zk_draft_memory;
#define ZK_DRAFT_MEMORY_TOKENS (1 << 23) // 64 MiB once all of it is used

zk_status zk_draft_memory_open(zk_draft_memory *out);
void zk_draft_memory_close(zk_draft_memory *memory); // a zeroed one is fine
// Remembers sequence tokens[0 .. num_tokens) whose first num_prompt are the prompt. `prompt`: zk_draft_prompt of it.
void zk_draft_memory_add(zk_draft_memory *memory, uint64_t prompt, const int32_t *tokens, int32_t num_prompt, int32_t num_tokens);
// Names a prompt. Two prompts with one name would only draw worse guesses from each other.
uint64_t zk_draft_prompt(const int32_t *tokens, int32_t num);

// Writes up to `most` guesses of what follows tokens[0 .. num_tokens) behind them, and returns how many: what followed the same last tokens
// in a completion of the same prompt, else in the sequence itself. `capacity`: the most tokens the sequence will ever have (own is sized by it).
zk_status zk_draft_propose(const zk_draft_memory *memory, uint64_t prompt, zk_gram_index *own, int32_t *tokens, int32_t num_tokens, int32_t capacity,
                           int32_t most, int32_t *num);

#endif
