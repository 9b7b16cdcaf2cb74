// `zerokl report`: arguments in, a page out.
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shared/command_line.h"
#include "shared/report.h"

enum { KEY_SMOOTHING = 256, KEY_STEPS, KEY_GROUPS, KEY_LOG, KEY_NO_PNG };

static const struct argp_option options[] = {
    {"output", 'o', "DIR", 0, "Where to write (RUN/report; for several runs ./report)", 0},
    {"log", KEY_LOG, "METRIC,...", 0, "Draw these metrics on a logarithmic axis", 0},
    {"smoothing", KEY_SMOOTHING, "W", 0, "Weight of earlier values in the smoothed lines, from 0 to 0.99 (0.6); the page has a slider", 0},
    {"steps", KEY_STEPS, "N", 0, "Show completions of N steps: the last, the first and some between (3); 0: none", 0},
    {"groups", KEY_GROUPS, "N", 0, "Show N prompts of each such step (3)", 0},
    {"no-png", KEY_NO_PNG, NULL, 0, "No PNG files (they want rsvg-convert)", 0},
    {0}};

static bool take_weight(const char *text, double *out) {
  char *end;
  *out = strtod(text, &end);
  return end != text && !*end && *out >= 0 && *out <= 0.99;
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
  zk_report_options *o = state->input;
  int64_t number;
  switch (key) {
  case 'o': o->dir = arg; return 0;
  case KEY_LOG: o->log_keys = arg; return 0;
  case KEY_NO_PNG: o->png = false; return 0;
  case KEY_SMOOTHING:
    if (!take_weight(arg, &o->smoothing)) argp_error(state, "--smoothing: \"%s\" is no number from 0 to 0.99", arg);
    return 0;
  case KEY_STEPS:
  case KEY_GROUPS:
    if (!zk_command_line_integer(arg, 0, 1000, &number)) argp_error(state, "\"%s\" is no number from 0 to 1000", arg);
    *(key == KEY_STEPS ? &o->num_steps : &o->num_groups) = (int)number;
    return 0;
  case ARGP_KEY_ARG: state->argv[1 + o->num_runs++] = arg; return 0; // runs move to the front of argv: at most as many as were read
  case ARGP_KEY_NO_ARGS: argp_error(state, "a run directory is needed"); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "RUN [RUN...]",
    .doc = "Draws one or several runs: every metric over the steps, where a step's time goes, and completions with their rewards. Writes index.html, "
           "which needs no network and no other file, and each chart as SVG and PNG. Prints the page's path.\v"
           "Runs may be of different tasks, and may still be going on: what is there is shown."};

static zk_status run_report(int argc, char **argv) {
  zk_report_options o = {.smoothing = 0.6, .num_steps = 3, .num_groups = 3, .png = true};
  char *page;
  argp_parse(&parser, argc, argv, 0, NULL, &o);
  o.runs = argv + 1;
  ZK_TRY(zk_report_make(&o, &page));
  puts(page);
  free(page);
  return fflush(stdout) ? ZK_FAIL(ZK_IO, "cannot write to stdout: %s", strerror(errno)) : ZK_OK;
}

const zk_command zk_command_report = {"report", "curves and completions of runs as one HTML page, SVG and PNG", run_report};
