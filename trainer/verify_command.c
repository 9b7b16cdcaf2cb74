// `zerokl verify RUN`: arguments, the audit, the table.
#include "trainer/verify_command.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shared/command_line.h"
#include "shared/device_choice.h"
#include "trainer/verify.h"

typedef struct {
  zk_verify_options options;
  bool partial, json;
  const char *json_path; // NULL: stdout, in the place of the table
} verify_args;

// ---- arguments ------------------------------------------------------------------------------------------------------

// A:B, A: , :B or N; both ends included.
static bool parse_steps(const char *text, zk_verify_options *o) {
  const char *colon = strchr(text, ':');
  char *end;
  errno = 0;
  o->first_step = o->last_step = 0;
  if (text != colon) {
    o->first_step = strtoll(text, &end, 10);
    if (errno || end == text || o->first_step < 1 || (colon ? end != colon : *end)) return false;
  }
  if (!colon) o->last_step = o->first_step;
  if (!colon || (!colon[1] && text != colon)) return true;
  o->last_step = strtoll(colon + 1, &end, 10);
  return !errno && end != colon + 1 && !*end && o->last_step >= 1 && o->last_step >= o->first_step;
}

enum { KEY_REPLAY = 256, KEY_STEPS, KEY_SAMPLE, KEY_PARTIAL, KEY_DEVICE, KEY_JSON };

static error_t parse_option(int key, char *arg, struct argp_state *state) {
  verify_args *args = state->input;
  switch (key) {
  case KEY_REPLAY:
    args->options.replay = true;
    return 0;
  case KEY_PARTIAL:
    args->partial = true;
    return 0;
  case KEY_STEPS:
    if (!parse_steps(arg, &args->options)) argp_error(state, "--steps: \"%s\" is not A:B with 1 <= A <= B", arg);
    return 0;
  case KEY_SAMPLE:
    if (!zk_command_line_integer(arg, 1, INT64_MAX, &args->options.num_sample))
      argp_error(state, "--sample: \"%s\" is not a number of sequences", arg);
    return 0;
  case KEY_DEVICE:
    args->options.has_device = true;
    if (!zk_device_choice_parse(arg, &args->options.device)) argp_error(state, "--device: \"%s\" is not one of " ZK_DEVICE_CHOICE_ARG, arg);
    return 0;
  case KEY_JSON:
    args->json = true, args->json_path = arg;
    return 0;
  case ARGP_KEY_ARG:
    if (state->arg_num) return ARGP_ERR_UNKNOWN;
    args->options.run_dir = arg;
    return 0;
  case ARGP_KEY_END:
    if (!args->options.run_dir) argp_error(state, "which RUN?");
    if (args->options.num_sample && args->options.replay) argp_error(state, "--sample and --replay exclude each other");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_option options[] = {
    {"replay", KEY_REPLAY, 0, 0, "Also sample again: each step from its prompts, and held-out accuracies", 0},
    {"steps", KEY_STEPS, "A:B", 0, "Only steps A to B, from the newest checkpoint before A", 0},
    {"sample", KEY_SAMPLE, "N", 0,
     "Only the tokens of N sequences, spread evenly over the steps that follow a stored checkpoint, at that checkpoint's weights; all that "
     "needs no model; no updates. Implies --partial",
     0},
    {"partial", KEY_PARTIAL, 0, 0, "Exit 0 although something could not be checked, if nothing differs", 0},
    {"device", KEY_DEVICE, ZK_DEVICE_CHOICE_ARG, 0, "Where to recompute (default: the run's device)", 0},
    {"json", KEY_JSON, "FILE", OPTION_ARG_OPTIONAL,
     "Print JSON in the place of the table; with =FILE, write it there besides the table", 0},
    {0}};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "RUN",
    .doc = "Recomputes everything that run directory RUN records, and compares every bit.\v"
           "Prints a table: how much of what was checked, how much differs, and where first. Exit code 0: everything "
           "was checked and is equal (with --partial or --sample: everything that was checked is equal); 1: "
           "something differs; 2: something could not be checked. Also runs under mpirun, with the same result."};

// ---- the command ----------------------------------------------------------------------------------------------------

static zk_status write_json(const zk_verify_report *report, const char *path) {
  FILE *file = fopen(path, "w");
  if (!file) return ZK_FAIL(ZK_IO, "%s: %s", path, strerror(errno));
  zk_status st = zk_verify_print_json(report, file);
  if (fclose(file) && st == ZK_OK) st = ZK_FAIL(ZK_IO, "%s: %s", path, strerror(errno));
  return st;
}

static zk_status print(const verify_args *args, const zk_verify_report *report) {
  if (args->json && !args->json_path) return zk_verify_print_json(report, stdout);
  zk_verify_print(report, stdout);
  return args->json ? write_json(report, args->json_path) : ZK_OK;
}

static zk_status run_verify(int argc, char **argv) {
  verify_args args = {0};
  argp_parse(&parser, argc, argv, 0, NULL, &args);
  zk_comm *comm = NULL;
  ZK_TRY(zk_comm_world(&comm));
  zk_verify_report *report = calloc(1, sizeof *report);
  zk_status st = zk_comm_agree(comm, report ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the report"));
  if (st == ZK_OK) st = zk_verify(&args.options, comm, report);
  if (st == ZK_OK) st = zk_comm_agree(comm, zk_comm_rank(comm) == 0 ? print(&args, report) : ZK_OK);
  if (st == ZK_OK) st = zk_comm_agree(comm, zk_verify_conclude(report, args.options.run_dir, args.partial || args.options.num_sample));
  free(report);
  return st;
}

const zk_command zk_command_verify = {"verify", "recompute everything that a run records, and compare every bit",
                                      run_verify};
