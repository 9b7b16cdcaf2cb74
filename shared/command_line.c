// argp for the commands that take a config.
#include "shared/command_line.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_DRY_RUN = 256, KEY_HELP_CONFIG };

static const struct argp_option options[] = {
    {"dry-run", KEY_DRY_RUN, 0, 0, "Print the resolved config and the memory plan, and stop", 0},
    {"help-config", KEY_HELP_CONFIG, "WORD", OPTION_ARG_OPTIONAL, "Print every key of the config (those with WORD in name or meaning) with default, meaning and range, and stop", 0},
    {0}};

typedef struct {
  zk_command_line *out;
  bool has_own; // the command has options of its own, parsed into own_input
  void *own_input;
} parse_input;

static error_t parse(int key, char *arg, struct argp_state *state) {
  const parse_input *input = state->input;
  zk_command_line *out = input->out;
  switch (key) {
  case ARGP_KEY_INIT:
    if (input->has_own) state->child_inputs[0] = input->own_input;
    return 0;
  case KEY_DRY_RUN: out->dry_run = true; return 0;
  case KEY_HELP_CONFIG: out->help_config = true, out->help_word = arg; return 0;
  case ARGP_KEY_ARG:
    if (!out->config_path) out->config_path = arg;
    else state->argv[1 + out->num_overrides++] = arg; // overrides move to the front of argv: at most as many as were read
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

zk_status zk_command_line_parse(int argc, char **argv, const char *about, const struct argp *own, void *own_input, zk_command_line *out) {
  memset(out, 0, sizeof *out);
  parse_input input = {out, own != NULL, own_input};
  const struct argp_child children[] = {{own, 0, NULL, 0}, {0}};
  const struct argp argp = {options, parse, "CONFIG.yaml [KEY.PATH=VALUE...]", about, own ? children : NULL, NULL, NULL};
  argp_err_exit_status = zk_status_exit_code(ZK_BAD_INPUT);
  if (argp_parse(&argp, argc, argv, 0, NULL, &input)) return ZK_FAIL(ZK_BAD_INPUT, "%s: see %s --help", argv[0], argv[0]);
  out->overrides = argv + 1;
  if (!out->config_path && !out->help_config) return ZK_FAIL(ZK_BAD_INPUT, "%s: which CONFIG.yaml? see %s --help", argv[0], argv[0]);
  return ZK_OK;
}

bool zk_command_line_integer(const char *text, int64_t least, int64_t most, int64_t *out) {
  char *end;
  errno = 0;
  *out = strtoll(text, &end, 10);
  return !errno && end != text && !*end && *out >= least && *out <= most;
}
