// What collect's files share: one rank's sampling in progress, a finished sample as a record of bytes, and a step made of the records of all ranks.
#ifndef ZK_ROLLOUT_COLLECT_IMPL_H
#define ZK_ROLLOUT_COLLECT_IMPL_H

#include "rollout/collect.h"
#include "rollout/dialogue.h"

// Bytes follow: prompt tokens (of sample 0 only), tokens, log-probabilities, log-sum-exps, loss mask.
typedef struct {
  int32_t slot, sample, num_prompt_tokens, num_tokens, finish, finish_detail;
  uint32_t prompt_id;
  int32_t reward_detail;
  float reward, component[ZK_REWARD_MAX_COMPONENTS];
} zk_record;

typedef struct {
  char *bytes;
  size_t used, capacity;
} zk_record_buffer;
zk_status zk_record_append(zk_record_buffer *buffer, const void *data, size_t num_bytes);

// Sampling in progress.
typedef struct {
  zk_session *session;
  zk_engine *engine;
  const zk_collect_request *request;
  zk_collect_stats *stats;
  zk_record_buffer records;
  zk_tokens *prompts;     // [num_prompts], this rank's
  zk_dialogue *dialogues; // [num_prompts x samples_per_prompt], this rank's
  int32_t *order;         // [num_prompts] in which they are handed out, two at a time; NULL: as they come, one by one
  bool exhausted;
  int64_t finished;
} zk_collection;

// The task's item of a prompt.
zk_status zk_collect_item(const zk_collection *c, int64_t slot, zk_task_item *item);
// A turn is finished (`done` stays the caller's): a program is asked, or the sample is done.
zk_status zk_collect_turn_ended(zk_collection *c, const zk_completion *done);
// A program has answered, or failed to: the sample goes on, is asked about again, or is done. ZK_IO: it failed, and command.on_error is stop.
zk_status zk_collect_answered(zk_collection *c, const zk_verdict *verdict);

// Gathers the records of all ranks into one step in (prompt, sample) order, on every rank; rank 0 warns of samples that went wrong. Collective.
zk_status zk_collect_gather(const zk_session *session, const zk_collect_request *request, const zk_record_buffer *records, zk_trajectory *out);

#endif
