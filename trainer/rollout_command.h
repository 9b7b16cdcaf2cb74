// `zerokl rollout`: samples without training, or measures how fast sampling is.
#ifndef ZK_TRAINER_ROLLOUT_COMMAND_H
#define ZK_TRAINER_ROLLOUT_COMMAND_H

#include "shared/command.h"

extern const zk_command zk_command_rollout;

#endif
