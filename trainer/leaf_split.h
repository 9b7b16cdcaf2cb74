// Which leaves are whose: contiguous ones each, by their tokens. A matter of schedule: whoever owns a leaf, it stands in the tree where it stood.
#ifndef ZK_TRAINER_LEAF_SPLIT_H
#define ZK_TRAINER_LEAF_SPLIT_H

#include "trainer/sequences.h"

// Rank r gets leaves [starts[r], starts[r + 1]), at least one; num_ranks <= num_leaves. The rank with the most tokens gets the least that any split gives in
// which no rank needs more than zk_leaf_split_buffers gradient buffers; even shares where nothing is better. The same on every rank.
void zk_leaf_split(const zk_sequences *seqs, int32_t num_leaves, int num_ranks, int32_t *starts);
// Even shares: zk_rank_leaves of every rank.
void zk_leaf_split_evenly(int32_t num_leaves, int num_ranks, int32_t *starts);
// What the memory plan counts with: as many as with even shares, and one more where the ranks have four leaves or more.
int zk_leaf_split_buffers(int32_t num_leaves, int num_ranks);

#endif
