// The command verify.
#ifndef ZK_TRAINER_VERIFY_COMMAND_H
#define ZK_TRAINER_VERIFY_COMMAND_H

#include "shared/command.h"

extern const zk_command zk_command_verify;

#endif
