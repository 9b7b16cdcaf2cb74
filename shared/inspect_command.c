// `zerokl inspect`: finds out what it was given, and prints what is in it.
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shared/command_line.h"
#include "shared/file_util.h"
#include "shared/inspect.h"
#include "shared/json_text.h"

static bool has_suffix(const char *path, const char *suffix) {
  size_t n = strlen(path), m = strlen(suffix);
  return n >= m && !strcmp(path + n - m, suffix);
}

static zk_status inspect_folder(const char *path, json_t **out) {
  if (zk_file_exists(zk_path_make("%s/config.yaml", path).s)) return zk_inspect_run(path, out);
  if (zk_file_exists(zk_path_make("%s/config.json", path).s)) return zk_inspect_model(path, out);
  return ZK_FAIL(ZK_BAD_INPUT, "%s: neither a run directory (config.yaml) nor a model folder (config.json)", path);
}

zk_status zk_inspect(const char *path, const zk_inspect_options *options, json_t **out) {
  *out = NULL;
  if (!zk_file_exists(path)) return ZK_FAIL(ZK_IO, "%s: no such file or folder", path);
  if (zk_file_is_directory(path)) return inspect_folder(path, out);
  if (has_suffix(path, ".safetensors")) return zk_inspect_safetensors(path, out);
  if (has_suffix(path, "optimizer.h5")) return zk_inspect_optimizer(path, out);
  if (has_suffix(path, ".h5")) return zk_inspect_trajectory(path, options, out);
  return ZK_FAIL(ZK_BAD_INPUT, "%s: inspect knows .h5 and .safetensors files, model folders and run directories", path);
}

// ---- the command
// -----------------------------------------------------------------------------------------------------

typedef struct {
  const char *path;
  zk_inspect_options options;
  int json;
} arguments;

static error_t parse_option(int key, char *arg, struct argp_state *state) {
  arguments *args = state->input;
  switch (key) {
  case 'j':
    args->json = 1;
    return 0;
  case 't':
    args->options.tokenizer = arg;
    return 0;
  case 'g':
    if (!zk_command_line_integer(arg, INT64_MIN, INT64_MAX, &args->options.group)) argp_error(state, "--group: \"%s\" is not a number", arg);
    return 0;
  case ARGP_KEY_ARG:
    if (state->arg_num) argp_error(state, "one file or folder at a time");
    args->path = arg;
    return 0;
  case ARGP_KEY_NO_ARGS:
    argp_error(state, "a file or folder is needed");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_option options[] = {
    {"json", 'j', NULL, 0, "Print one JSON object", 0},
    {"group", 'g', "N", 0, "Show the samples of prompt N of a trajectory file (0)", 0},
    {"tokenizer", 't', "DIR", 0, "Decode tokens with this model folder's tokenizer (the run's)", 0},
    {0}};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "FILE|DIR",
    .doc = "Shows what is in a trajectory file, an optimizer file, a safetensors file, a model folder or checkpoint, "
           "or a run directory."};

static zk_status run_inspect(int argc, char **argv) {
  arguments args = {0};
  json_t *object;
  argp_parse(&parser, argc, argv, 0, NULL, &args);
  ZK_TRY(zk_inspect(args.path, &args.options, &object));
  if (args.json) {
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
  } else {
    zk_json_text_print(stdout, object);
  }
  json_decref(object);
  return fflush(stdout) ? ZK_FAIL(ZK_IO, "cannot write to stdout: %s", strerror(errno)) : ZK_OK;
}

const zk_command zk_command_inspect = {"inspect", "show what is in a trajectory file, a checkpoint, a model or a run",
                                       run_inspect};
