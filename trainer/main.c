// The zerokl executable: finds the subcommand, runs it, prints the one error message, leaves with its exit code.
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/comm.h"
#include "shared/inspect.h"
#include "shared/log.h"
#include "shared/report.h"
#include "shared/version.h"
#include "trainer/bench_command.h"
#include "trainer/check_command.h"
#include "trainer/eval_command.h"
#include "trainer/export_command.h"
#include "trainer/rollout_command.h"
#include "trainer/score_command.h"
#include "trainer/train_command.h"
#include "trainer/verify_command.h"

static const zk_command *const commands[] = {
    &zk_command_train,
    &zk_command_sft,
    &zk_command_rollout,
    &zk_command_score,
    &zk_command_eval,
    &zk_command_verify,
    &zk_command_export,
    &zk_command_check,
    &zk_command_inspect,
    &zk_command_report,
    &zk_command_bench,
};
enum { NUM_COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *out) {
  fprintf(out, "Usage: zerokl COMMAND [ARGUMENT...]\n"
               "On-policy reinforcement learning whose sampler and trainer agree bit for bit.\n\nCommands:\n");
  for (int i = 0; i < NUM_COMMANDS; i++) fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
  fprintf(out, "\n`zerokl COMMAND --help` explains a command, `zerokl --version` the build. Workers: `mpirun -n N zerokl train ...`.\n"
               "ZK_LOG=debug tells more. Exit codes: 0 success; 1 failed or differs; 2 bad input, or could not be checked;\n"
               "3 SIGTERM or SIGUSR1 stopped a run, and its checkpoint is written.\n");
}

static zk_status dispatch(int argc, char **argv) {
  for (int i = 0; i < NUM_COMMANDS; i++)
    if (!strcmp(argv[1], commands[i]->name)) {
      char name[64];
      snprintf(name, sizeof name, "zerokl %s", commands[i]->name);
      argv[1] = name; // what argp calls the program
      return commands[i]->run(argc - 1, argv + 1);
    }
  return ZK_FAIL(ZK_BAD_INPUT, "%s: no such command; see zerokl --help", argv[1]);
}

// Waiting OpenMP threads spin for some microseconds, then sleep, unless the user says otherwise: always spinning, they take busy cores from
// others; never, waking them costs a small decode step its half. The runtime reads the variable when it is loaded, so the program
// starts itself once more.
static void wait_briefly(char **argv) {
  if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
  if (setenv("GOMP_SPINCOUNT", "20000", 1) == 0) (void)execv("/proc/self/exe", argv); // on failure: go on with the runtime's own
}

int main(int argc, char **argv) {
  wait_briefly(argv);
  if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
    print_help(argc < 2 ? stderr : stdout);
    return argc < 2 ? 2 : 0;
  }
  if (!strcmp(argv[1], "--version")) {
    zk_version_print();
    return 0;
  }
  argp_err_exit_status = zk_status_exit_code(ZK_BAD_INPUT); // an option that no command knows
  zk_status st = dispatch(argc, argv);
  int code = zk_status_exit_code(st);
  zk_comm_check_loss(st);
  if (st != ZK_OK && zk_comm_speaks()) {
    ZK_LOG(ERROR, "main", "%s: %s", zk_status_text(st), zk_status_message());
    ZK_LOG(DEBUG, "main", "\n%s", zk_status_frames());
  }
  zk_comm_leave(code);
  return code;
}
