// What the commands' command lines have in common: CONFIG.yaml key.path=value ..., --dry-run, --help-config; and numbers of options.
#ifndef ZK_SHARED_COMMAND_LINE_H
#define ZK_SHARED_COMMAND_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/config.h"

struct argp;

typedef struct {
  const char *config_path;
  int num_overrides;
  char **overrides; // borrowed from argv
  bool dry_run, help_config;
  const char *help_word; // of --help-config=WORD; NULL: every key
} zk_command_line;

// Parses `zerokl NAME [--dry-run] [--help-config[=WORD]] CONFIG.yaml [key=value ...]`; `about` is shown by --help. ZK_BAD_INPUT with a hint
// when it is not of that form. --help-config needs no CONFIG. `own`, which may be NULL: options of the command's own, an argp whose parser's
// state->input is `own_input`.
zk_status zk_command_line_parse(int argc, char **argv, const char *about, const struct argp *own, void *own_input, zk_command_line *out);

// A decimal integer in [least, most] as an option's argument; false when `text` is anything else.
bool zk_command_line_integer(const char *text, int64_t least, int64_t most, int64_t *out);

#endif
