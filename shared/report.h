// `zerokl report RUN...`: curves, times and completions of one or several runs, as one page that needs nothing but itself, and as pictures.
#ifndef ZK_SHARED_REPORT_H
#define ZK_SHARED_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/command.h"

extern const zk_command zk_command_report;

typedef struct {
  int num_runs;
  char *const *runs;    // run directories
  const char *dir;      // where to; NULL: RUN/report of a single run, ./report of several
  const char *log_keys; // metrics to draw on a logarithmic axis, separated by commas; NULL: none
  double smoothing;     // of lines, at first, [0, 1)
  int num_steps;        // steps whose completions are shown, the last and earlier ones evenly
  int num_groups;       // prompts of each such step
  bool png;             // also PNG files, where a converter is installed
} zk_report_options;

// Writes DIR/index.html and a picture of each chart beside it (SVG; PNG). Reads runs without their lock: one that is still being written is
// shown as far as it is. The page's path goes to *out (malloc'ed). ZK_BAD_INPUT for what is no run directory, before anything is written;
// else errors of its files' readers, ZK_IO, ZK_OUT_OF_MEMORY.
zk_status zk_report_make(const zk_report_options *options, char **out);

#endif
