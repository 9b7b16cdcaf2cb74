// `zerokl bench`.
#ifndef ZK_TRAINER_BENCH_COMMAND_H
#define ZK_TRAINER_BENCH_COMMAND_H

#include "shared/command.h"

extern const zk_command zk_command_bench;

#endif
