// `zerokl train` and `zerokl sft`.
#include "trainer/train_command.h"

#include <string.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "trainer/config_command.h"
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

static zk_status train(const zk_config *config, zk_comm *comm, void *arg) {
  (void)arg;
  return run_training(config, comm, "train");
}
static zk_status sft(const zk_config *config, zk_comm *comm, void *arg) {
  (void)arg;
  return run_training(config, comm, "sft");
}

static zk_status run_train(int argc, char **argv) {
  return zk_config_command(argc, argv, "Runs reinforcement learning: sample, reward, compare bits, update, log, checkpoint.", NULL, ZK_PLAN_TRAIN, train,
                           NULL);
}
static zk_status run_sft(int argc, char **argv) {
  return zk_config_command(argc, argv, "Supervised warm-up on the task's demonstrations: run.steps steps of sft.batch sequences.", NULL, ZK_PLAN_TRAIN, sft,
                           NULL);
}

const zk_command zk_command_train = {"train", "the RL loop: sample, reward, compare bits, update, log, checkpoint", run_train};
const zk_command zk_command_sft = {"sft", "supervised warm-up on the task's demonstrations", run_sft};
