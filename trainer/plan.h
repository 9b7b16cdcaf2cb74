// The memory plan: what a run will allocate on each worker, before it allocates anything.
#ifndef ZK_TRAINER_PLAN_H
#define ZK_TRAINER_PLAN_H

#include <stdio.h>

#include "shared/config.h"

// Prints the resolved config (YAML) and, as comments after it, bytes by purpose for one of num_ranks workers. Reads the model's
// config.json, allocates no device memory. ZK_OUT_OF_MEMORY when the plan does not fit what is free, after printing it.
zk_status zk_plan_print(const zk_config *config, int num_ranks, FILE *out);

#endif
