// What collect's files share: a finished sample as a record of bytes, and a step made of the records of all ranks.
#ifndef ZK_ROLLOUT_COLLECT_IMPL_H
#define ZK_ROLLOUT_COLLECT_IMPL_H

#include "rollout/collect.h"

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

// Gathers the records of all ranks into one step in (prompt, sample) order, on every rank; rank 0 warns of samples that went wrong. Collective.
zk_status zk_collect_gather(const zk_session *session, const zk_collect_request *request, const zk_record_buffer *records, zk_trajectory *out);

#endif
