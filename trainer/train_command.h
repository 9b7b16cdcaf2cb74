// `zerokl train` and `zerokl sft`.
#ifndef ZK_TRAINER_TRAIN_COMMAND_H
#define ZK_TRAINER_TRAIN_COMMAND_H

#include "shared/command.h"

extern const zk_command zk_command_train, zk_command_sft;

#endif
