// `zerokl inspect`: finds out what it was given, and prints what is in it.
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "shared/command_line.h"
#include "shared/file_util.h"
#include "shared/inspect.h"
#include "shared/inspect_group.h"
#include "shared/json_text.h"

static bool has_suffix(const char *path, const char *suffix) {
  size_t n = strlen(path), m = strlen(suffix);
  return n >= m && !strcmp(path + n - m, suffix);
}

static zk_status inspect_folder(const char *path, json_t **out) {
  if (zk_file_exists(zk_path_make("%s/config.yaml", path).s)) return zk_inspect_run(path, out);
  if (zk_file_exists(zk_path_make("%s/config.json", path).s) || zk_file_exists(zk_path_make("%s/adapter_config.json", path).s))
    return zk_inspect_model(path, out);
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

typedef enum { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER } color_choice;
typedef struct {
  const char *path;
  zk_inspect_options options;
  int json;
  color_choice color;
} arguments;

static const char *const color_names[] = {[COLOR_AUTO] = "auto", [COLOR_ALWAYS] = "always", [COLOR_NEVER] = "never"};

static bool find_color(const char *name, color_choice *out) {
  for (int i = 0; i < 3; i++)
    if (!strcmp(name, color_names[i])) {
      *out = (color_choice)i;
      return true;
    }
  return false;
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
  arguments *args = state->input;
  switch (key) {
  case 'j':
    args->json = 1;
    return 0;
  case 'c':
    if (!find_color(arg, &args->color)) argp_error(state, "--color: \"%s\" is none of auto, always and never", arg);
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
    {"group", 'g', "N", 0, "Show the samples of prompt N of a trajectory file (0), side by side", 0},
    {"color", 'c', "WHEN", 0, "Colour tokens by how likely they were: auto (on a terminal, unless NO_COLOR is set), always, never", 0},
    {"tokenizer", 't', "DIR", 0, "Decode tokens with this model folder's tokenizer (the run's)", 0},
    {0}};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "FILE|DIR",
    .doc = "Shows what is in a trajectory file, an optimizer file, a safetensors file, a model folder or checkpoint, "
           "or a run directory."};

// The screen's width: the terminal's, COLUMNS, or 100.
static int screen_width(void) {
  struct winsize size;
  const char *columns = getenv("COLUMNS");
  int64_t width;
  if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col) return size.ws_col;
  return columns && zk_command_line_integer(columns, 1, 10000, &width) ? (int)width : 100;
}

static bool wants_color(color_choice choice) {
  const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
  if (choice != COLOR_AUTO) return choice == COLOR_ALWAYS;
  return isatty(STDOUT_FILENO) && !(none && *none) && !(term && !strcmp(term, "dumb"));
}

// A trajectory's group stands last, beside itself; all else as it comes.
static zk_status print_for_a_person(json_t *object, color_choice color) {
  json_t *group = json_incref(json_object_get(object, "group"));
  json_object_del(object, "group");
  zk_json_text_print(stdout, object);
  if (group) putchar('\n');
  zk_status st = group ? zk_inspect_group_print(stdout, group, screen_width(), wants_color(color)) : ZK_OK;
  json_decref(group);
  return st;
}

static zk_status run_inspect(int argc, char **argv) {
  arguments args = {0};
  json_t *object;
  argp_parse(&parser, argc, argv, 0, NULL, &args);
  ZK_TRY(zk_inspect(args.path, &args.options, &object));
  zk_status st = ZK_OK;
  if (args.json) {
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
  } else st = print_for_a_person(object, args.color);
  json_decref(object);
  ZK_TRY(st);
  return fflush(stdout) ? ZK_FAIL(ZK_IO, "cannot write to stdout: %s", strerror(errno)) : ZK_OK;
}

const zk_command zk_command_inspect = {"inspect", "show what is in a trajectory file, a checkpoint, a model or a run",
                                       run_inspect};
