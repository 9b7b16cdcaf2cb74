// `zerokl train` and `zerokl sft`.
#include "trainer/train_command.h"

#include <stdlib.h>
#include <string.h>

#include "shared/clock.h"
#include "shared/command_line.h"
#include "shared/log.h"
#include "trainer/plan.h"
#include "trainer/rl.h"
#include "trainer/sft.h"

static zk_status run_training(const zk_config *config, zk_comm *comm, const char *kind) {
  zk_run run;
  ZK_TRY(zk_run_open(config, comm, kind, &run));
  double start = zk_clock_s();
  zk_status st = !strcmp(kind, "train") ? zk_rl_train(&run) : zk_sft_train(&run);
  if (st == ZK_OK)
    ZK_LOG(INFO, "run", "%s: step %lld done in %.1f s, weights/hash %016llx", config->run.dir, (long long)run.step, zk_clock_s() - start,
           (unsigned long long)run.weights_hash);
  zk_run_close(&run);
  return st;
}

static zk_status command(int argc, char **argv, const char *kind, const char *about) {
  zk_command_line line;
  ZK_TRY(zk_command_line_parse(argc, argv, about, &line));
  if (line.help_config) {
    zk_config_help(stdout);
    return ZK_OK;
  }
  zk_comm *comm = NULL;
  ZK_TRY(zk_comm_world(&comm));
  zk_config *config = malloc(sizeof *config);
  zk_status st = config ? zk_config_load(line.config_path, line.num_overrides, line.overrides, config) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a config");
  st = zk_comm_agree(comm, st);
  if (st == ZK_OK && line.dry_run) {
    if (zk_comm_rank(comm) == 0) st = zk_plan_print(config, zk_comm_size(comm), stdout);
    st = zk_comm_agree(comm, st);
  } else if (st == ZK_OK) st = run_training(config, comm, kind);
  free(config);
  return st;
}

static zk_status run_train(int argc, char **argv) {
  return command(argc, argv, "train", "Runs reinforcement learning: sample, reward, compare bits, update, log, checkpoint.");
}
static zk_status run_sft(int argc, char **argv) {
  return command(argc, argv, "sft", "Supervised warm-up on the task's demonstrations: run.steps steps of sft.batch sequences.");
}

const zk_command zk_command_train = {"train", "the RL loop: sample, reward, compare bits, update, log, checkpoint", run_train};
const zk_command zk_command_sft = {"sft", "supervised warm-up on the task's demonstrations", run_sft};
