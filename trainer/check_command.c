// `zerokl check`: the contract on this machine, a row per operation and variant.
#include "trainer/check_command.h"

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kernels/check.h"
#include "shared/device_choice.h"
#include "shared/log.h"

typedef struct {
  int quick;
  zk_config_device device;
  const char *only;
} check_args;

static error_t parse_option(int key, char *arg, struct argp_state *state) {
  check_args *args = state->input;
  switch (key) {
  case 'q':
    args->quick = 1;
    return 0;
  case 'd':
    if (!zk_device_choice_parse(arg, &args->device)) argp_error(state, "--device: \"%s\" is not one of " ZK_DEVICE_CHOICE_ARG, arg);
    return 0;
  case 'o':
    args->only = arg;
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_option options[] = {
    {"quick", 'q', NULL, 0, "the short form that starts every run: one variant, about a second", 0},
    {"device", 'd', ZK_DEVICE_CHOICE_ARG, 0, "what to check (default auto: the GPU if there is one)", 0},
    {"operation", 'o', "NAME", 0, "this operation alone (an unknown name lists them)", 0},
    {0}};
static const struct argp parser = {.options = options,
                                   .parser = parse_option,
                                   .doc = "Compares every kernel variant of this machine with the order that "
                                          "kernels/README.md writes down, bit for bit, on random and "
                                          "adversarial data.\vExit code 0: every bit is equal; 1: an operation differs "
                                          "(the last line names it); 2: could not be checked."};

static void print_row(const zk_check_row *row, void *user) {
  printf("%-24s %-8s %-7s %-10s %6" PRId64 " %15" PRIu64 " %s\n", row->operation, row->numerics, row->device, row->variant, row->num_cases,
         row->differing_bits, row->differing_bits == 0 ? "ok" : "DIFFERS");
  fflush(stdout);
  if (row->differing_bits > 0) ZK_LOG(WARN, "check", "%s %s: %s", row->operation, row->numerics, row->first_difference);
}

static zk_status run_check(int argc, char **argv) {
  check_args args = {0, ZK_CONFIG_DEVICE_AUTO, NULL};
  argp_parse(&parser, argc, argv, 0, NULL, &args);
  zk_device *device;
  zk_device_kind kind;
  int ordinal;
  ZK_TRY(zk_device_choose(args.device, 0, 1, &kind, &ordinal));
  ZK_TRY(zk_device_open(kind, ordinal, &device));
  ZK_LOG(INFO, "check", "%s, contract version %d", zk_device_describe(device), ZK_CONTRACT_VERSION);
  printf("%-24s %-8s %-7s %-10s %6s %15s %s\n", "operation", "numerics", "device", "variant", "cases", "differing bits", "ok");
  zk_status status = args.quick ? zk_check_quick_rows(device, args.only, print_row, NULL) : zk_check_full(device, args.only, print_row, NULL);
  zk_device_close(device);
  return status;
}

const zk_command zk_command_check = {"check", "the contract on this machine, a row per operation and device",
                                     run_check};
