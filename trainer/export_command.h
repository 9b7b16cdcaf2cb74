// `zerokl export`.
#ifndef ZK_TRAINER_EXPORT_COMMAND_H
#define ZK_TRAINER_EXPORT_COMMAND_H

#include "shared/command.h"

extern const zk_command zk_command_export;

#endif
