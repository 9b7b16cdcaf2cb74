// Checkpoints: a Hugging Face folder with optimizer.h5 and state.json beside the weights, the same bytes for any number of ranks. The
// weights in it are the fp32 master weights, whatever the numerics: working weights are made from them again. Of a run that trains an adapter they are
// the adapter's alone, in PEFT's format: the base is where config.yaml says.
#ifndef ZK_TRAINER_CHECKPOINT_H
#define ZK_TRAINER_CHECKPOINT_H

#include "shared/run_dir.h"
#include "trainer/update.h"

typedef struct {
  char kind[8];                  // "train" or "sft": what the run does
  int64_t step;
  uint64_t weights_hash, state_hash;
} zk_checkpoint_state;

// Writes checkpoint `state->step` of `run` (rank 0's; NULL elsewhere), then removes old ones beyond `keep`. Collective.
zk_status zk_checkpoint_write(zk_updater *updater, zk_run_dir *run, const zk_checkpoint_state *state, int keep);
// Reads state.json of a checkpoint folder.
zk_status zk_checkpoint_read_state(const char *dir, zk_checkpoint_state *out);
// Reads the optimiser's moments (and master weights) of a checkpoint folder into this rank's shard, and checks weights and moments
// against the folder's hashes: ZK_BAD_ARCHIVE when they differ. The working weights are loaded already (zk_session_open). Collective.
zk_status zk_checkpoint_read_optimizer(zk_updater *updater, const char *dir, zk_checkpoint_state *out);

#endif
