// A run directory for a command that writes to it: whose it is, and its config.yaml. For rank 0.
#ifndef ZK_TRAINER_RUN_FOLDER_H
#define ZK_TRAINER_RUN_FOLDER_H

#include "shared/config.h"
#include "shared/run_dir.h"

// Opens config->run.dir (zk_run_dir_open: its lock) and compares the config that it was begun with with this one, whose identity text is
// `identity`. ZK_BAD_INPUT names the first key that differs; the directory is closed then.
zk_status zk_run_folder_open(const zk_config *config, const char *identity, zk_run_dir *out);
// Writes config.yaml unless it is there.
zk_status zk_run_folder_write_config(zk_run_dir *dir, const zk_config *config);

#endif
