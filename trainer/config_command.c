// From argv to a config on every rank.
#include "trainer/config_command.h"

#include <stdlib.h>

#include "shared/comm_same.h"
#include "shared/command_line.h"

zk_status zk_config_command(int argc, char **argv, const char *about, const struct argp *own, zk_plan_kind kind, zk_config_work *work, void *arg) {
  zk_command_line line;
  ZK_TRY(zk_command_line_parse(argc, argv, about, own, arg, &line));
  if (line.help_config) {
    const int num = zk_config_help(stdout, line.help_word);
    return num ? ZK_OK : ZK_FAIL(ZK_BAD_INPUT, "--help-config=%s: no key has that in its name or meaning", line.help_word);
  }
  zk_comm *comm = NULL;
  ZK_TRY(zk_comm_world(&comm));
  zk_config *config = malloc(sizeof *config);
  zk_status st = config ? zk_config_load(line.config_path, line.num_overrides, line.overrides, config) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a config");
  st = zk_comm_agree(comm, st);
  if (st == ZK_OK) st = zk_comm_require_same_config(comm, config);
  if (st == ZK_OK && line.dry_run) {
    if (zk_comm_rank(comm) == 0) st = zk_plan_print(config, kind, comm, stdout);
    st = zk_comm_agree(comm, st);
  } else {
    if (st == ZK_OK) st = zk_plan_check(config, kind, comm);
    if (st == ZK_OK) st = work(config, comm, arg);
  }
  free(config);
  return st;
}
