// `zerokl rollout --bench`: how fast a fixed workload is generated.
#ifndef ZK_TRAINER_ROLLOUT_BENCH_H
#define ZK_TRAINER_ROLLOUT_BENCH_H

#include "rollout/session.h"

#define ZK_UNIQUE_MAX_BATCHES 8

typedef struct {
  int32_t num_sequences, min_tokens, max_tokens; // rollout/workload.h
  int32_t num_batches, batches[ZK_UNIQUE_MAX_BATCHES]; // of --unique; none: the usual ones
  const char *prompt; // of --unique: a text, borrowed; NULL: the workload's first prompt
  bool greedy;        // of --unique: at temperature 0 alone
} zk_rollout_bench_options;

// The session's engine options for such a workload. Collective.
zk_status zk_rollout_bench_engine_options(const zk_session *session, const zk_rollout_bench_options *options, zk_engine_options *out);

// Generates the workload with the config's model, engine and sampling, never ending early, shared among the workers. Prints one JSON object
// on standard output and a line for a person. The task plays no part, and nothing is written. Collective.
zk_status zk_rollout_bench(const zk_config *config, zk_comm *comm, const zk_rollout_bench_options *options);

#endif
