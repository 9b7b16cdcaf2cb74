// Signals that ask a run to stop in good order: SIGTERM, and SIGUSR1 (what Slurm's --signal sends ahead of a time limit).
//
// A run that catches them finishes the step in hand, or drops it when it is still sampling, writes a checkpoint, and ends with
// ZK_INTERRUPTED. SIGINT (Ctrl-C) and SIGKILL end it at once; nothing is lost then but the steps since the last checkpoint.
#ifndef ZK_SHARED_STOP_H
#define ZK_SHARED_STOP_H

#include <stdbool.h>

// From here on these signals are only noted. Async-signal-safe inside; to be called once a process.
void zk_stop_catch(void);
// The first one that this process got; 0: none.
int zk_stop_caught(void);
// Whether a SIGTERM was among them, first or not: who sends that means to end the process.
bool zk_stop_is_ended(void);
const char *zk_stop_name(int signal); // "SIGTERM"

#endif
