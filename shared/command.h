// A subcommand of the zerokl executable. Each command lives in the folder that does its work; trainer/main.c lists them.
#ifndef ZK_SHARED_COMMAND_H
#define ZK_SHARED_COMMAND_H

#include "kernels/status.h"

typedef struct {
  const char *name;     // "train"
  const char *summary;  // one line for `zerokl --help`
  // argv[0] is "zerokl NAME" (argp prints it); stdout is data, stderr is talk. The exit code is zk_status_exit_code of the result.
  zk_status (*run)(int argc, char **argv);
} zk_command;

#endif
