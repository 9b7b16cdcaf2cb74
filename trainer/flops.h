// How much arithmetic a training step is, for MFU: what the mathematics asks for, whatever is computed twice.
#ifndef ZK_TRAINER_FLOPS_H
#define ZK_TRAINER_FLOPS_H

#include "shared/policy.h"
#include "trainer/sequences.h"

#define ZK_PEAK_FLOPS 989e12 // a second, dense bf16, of an H100 or H200: MFU 1

// Of forward and backward over these sequences: 6 for each token and weight of a product (of the head, for each token that is a target; the embedding's look-up is none), and 12 for each layer,
// pair of tokens that see each other, head and its width, of which there are half as many as length^2 in a sequence (Chowdhery et al. 2022, appendix B,
// with the causal half). A frozen weight, beside an adapter, has no gradient: 4.
double zk_train_flops(const zk_policy *policy, const zk_sequences *seqs);

#endif
