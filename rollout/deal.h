// In which order prompts are handed to workers that have room for all of them at once: so that whoever takes which, each gets long and short ones alike. A
// matter of schedule.
//
// A step of sampling takes as long as what its cache holds: with as many sequences each, the worker whose prompts are longest is last. Nobody is free before
// all have begun, so that handing out by need levels nothing. In pairs, the longest prompt with the shortest and so on, any half of the pairs is as good as
// the other.
#ifndef ZK_ROLLOUT_DEAL_H
#define ZK_ROLLOUT_DEAL_H

#include <stdint.h>

#include "kernels/status.h"

// order: a permutation of 0 .. num - 1 whose neighbours from an even place on are a pair; those of the longest prompts come first. ZK_OUT_OF_MEMORY.
zk_status zk_deal_pairs(int32_t num, const uint64_t *lengths, int32_t *order);

#endif
