// A sample as it grows, turn by turn: what the policy sampled, and between turns what an environment replied.
//
// Tokens are only ever appended: those that were sampled are never made again from text.
#ifndef ZK_ROLLOUT_DIALOGUE_H
#define ZK_ROLLOUT_DIALOGUE_H

#include <jansson.h>

#include "rollout/engine.h"

typedef struct {
  int32_t *tokens, num_tokens, capacity;
  float *logprob, *lse; // [num_tokens] by the sampler; 0 for a reply's tokens
  uint8_t *mask;  // [num_tokens] 1: sampled, 0: a reply's
  int32_t turn;       // from 1
  int32_t turn_start; // of the turn sampled last
  zk_finish_reason finish;
  int32_t finish_detail;
  json_t *history; // {"role", "content"} of turns that were replied to, and the replies; NULL: none
} zk_dialogue;

void zk_dialogue_free(zk_dialogue *dialogue); // leaves it zeroed; a zeroed one is fine
// A turn that the engine has finished.
zk_status zk_dialogue_add_turn(zk_dialogue *dialogue, const zk_completion *done);
// A reply's tokens behind it.
zk_status zk_dialogue_add_reply(zk_dialogue *dialogue, const int32_t *tokens, int32_t num_tokens);
// What a turn or a reply says, for the history.
zk_status zk_dialogue_remember(zk_dialogue *dialogue, const char *role, const char *text, size_t num_bytes);

#endif
