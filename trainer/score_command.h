// `zerokl score`: log-probabilities of given tokens.
#ifndef ZK_TRAINER_SCORE_COMMAND_H
#define ZK_TRAINER_SCORE_COMMAND_H

#include "shared/command.h"

extern const zk_command zk_command_score;

#endif
