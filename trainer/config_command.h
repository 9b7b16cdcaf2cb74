// What commands that take a CONFIG.yaml have in common: arguments, workers, config, --dry-run, --help-config.
#ifndef ZK_TRAINER_CONFIG_COMMAND_H
#define ZK_TRAINER_CONFIG_COMMAND_H

#include "trainer/plan.h"

struct argp;

// What a command does with its config. Collective.
typedef zk_status zk_config_work(const zk_config *config, zk_comm *comm, void *arg);

// Parses the command line (shared/command_line.h; `own`, which may be NULL, parses the command's own options into `arg`), joins the
// workers, reads the config, checks the memory plan of a command of this kind, and calls work(config, comm, arg) unless --help-config or
// --dry-run ask for less. Collective.
zk_status zk_config_command(int argc, char **argv, const char *about, const struct argp *own, zk_plan_kind kind, zk_config_work *work, void *arg);

#endif
