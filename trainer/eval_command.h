// `zerokl eval`: how good a model is on the task's held-out set.
#ifndef ZK_TRAINER_EVAL_COMMAND_H
#define ZK_TRAINER_EVAL_COMMAND_H

#include "shared/command.h"

extern const zk_command zk_command_eval;

#endif
