// Sampling and training that take turns at a device's memory, where it has not room for both: each gives back the pages of what it alone needs before the
// other begins, and the addresses stay (zk_side_rest).
#ifndef ZK_TRAINER_TURNS_H
#define ZK_TRAINER_TURNS_H

#include "rollout/session.h"

typedef struct {
  zk_comm *comm;
  zk_device *device;
  zk_engine *engine; // its owner's
  bool is_on;        // false: both are in memory all the time, and nothing is ever done
  zk_side awake;     // whose turn it is
  double seconds;    // what turns have taken; its owner sets it back
} zk_turns;

// Decides for a session that trains and samples (zk_plan_turns), when all but the engine is there, and lays the trainer to rest. Collective.
zk_status zk_turns_open(zk_session *session, zk_turns *out);
// Before sampling (ZK_SIDE_SAMPLER) and before training (ZK_SIDE_TRAINER): the other's memory is given back, this one's taken again. `local` is what this
// worker comes with: where turns are taken a failure becomes everyone's, elsewhere it comes back as it is. Collective where turns are taken.
zk_status zk_turns_to(zk_turns *turns, zk_side side, zk_status local);

#endif
