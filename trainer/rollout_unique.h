// `zerokl rollout --unique`: how many different completions one prompt under one name has.
#ifndef ZK_TRAINER_ROLLOUT_UNIQUE_H
#define ZK_TRAINER_ROLLOUT_UNIQUE_H

#include "trainer/rollout_bench.h"

// Samples the workload's first prompt, or options->prompt, options->num_sequences times, always under the same name, greedily and (unless options->greedy) at
// temperature 1, in batches of 1, 7, 64, 256 and 1,000 (or in options->batches), while other sequences of the workload come and go; none of more than
// rollout.max_new_tokens. One JSON object on standard output for each batch: of the completions so far at this temperature how many differ in a token or in a bit of a
// log-probability (unique), how many in a token (unique/texts), at which position they part and how many have which token there, and a hash of the first one:
// several processes, or machines, can share the batches. More than one completion is ZK_MISMATCH, but for numerics vendor, which promises nothing. For one worker.
zk_status zk_rollout_unique(const zk_config *config, zk_comm *comm, const zk_rollout_bench_options *options);

#endif
