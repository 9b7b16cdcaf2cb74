// `zerokl export RUN DIR`: a checkpoint of a run as a plain Hugging Face folder, without optimiser state and markers.
#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "shared/command_line.h"
#include "shared/log.h"
#include "shared/model.h"
#include "shared/run_dir.h"
#include "trainer/export_adapter.h"
#include "trainer/export_command.h"

typedef struct {
  const char *run, *dir;
  int64_t step; // -1: the newest
  zk_dtype dtype;
  bool adapter;
} export_args;

// ---- arguments

static error_t parse_option(int key, char *arg, struct argp_state *state) {
  export_args *args = state->input;
  switch (key) {
  case 's':
    if (!zk_command_line_integer(arg, 0, INT64_MAX, &args->step)) argp_error(state, "--step: \"%s\" is not a step", arg);
    return 0;
  case 'd':
    if (!strcmp(arg, "f32")) args->dtype = ZK_DTYPE_F32;
    else if (!strcmp(arg, "bf16")) args->dtype = ZK_DTYPE_BF16;
    else argp_error(state, "--dtype: \"%s\" is neither f32 nor bf16", arg);
    return 0;
  case 'a':
    args->adapter = true;
    return 0;
  case ARGP_KEY_ARG:
    if (state->arg_num > 1) return ARGP_ERR_UNKNOWN;
    *(state->arg_num ? &args->dir : &args->run) = arg;
    return 0;
  case ARGP_KEY_END:
    if (state->arg_num < 2) argp_error(state, "RUN and DIR are needed");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_option options[] = {
    {"step", 's', "N", 0, "the checkpoint after step N (default: the newest complete one)", 0},
    {"adapter", 'a', NULL, 0, "of a run that trained an adapter (lora.rank): the adapter in PEFT's format, and not the model that it is with its base", 0},
    {"dtype", 'd', "f32|bf16", 0, "how weights are stored (default f32, exact; bf16 rounds to nearest even)", 0},
    {0}};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "RUN DIR",
    .doc = "Writes a checkpoint of run directory RUN to DIR as a Hugging Face folder that transformers loads.\v"
           "A run that trained an adapter (lora.rank) gives the model that base and adapter are together, W + (alpha / rank) B A.\n"
           "DIR must be absent or empty."};

// ---- the command

static zk_status find_checkpoint(const zk_run_dir *run, int64_t *step, zk_path *out) {
  int64_t wanted = *step;
  ZK_TRY(zk_run_dir_latest_checkpoint(run, wanted < 0 ? INT64_MAX : wanted, step));
  if (*step < 0 || (wanted >= 0 && *step != wanted))
    return wanted < 0
               ? ZK_FAIL(ZK_BAD_INPUT, "%s: has no complete checkpoint", run->path.s)
               : ZK_FAIL(ZK_BAD_INPUT, "%s: has no complete checkpoint of step %lld", run->path.s, (long long)wanted);
  *out = zk_run_dir_checkpoint_path(run, *step);
  return zk_checkpoint_check(out->s);
}

static zk_status write_folder(const zk_run_dir *run, const export_args *args, const char *checkpoint) {
  zk_config *config = NULL;
  const bool has_adapter = zk_file_exists(zk_path_make("%s/adapter_config.json", checkpoint).s);
  if (args->adapter && !has_adapter) return ZK_FAIL(ZK_BAD_INPUT, "--adapter: %s trained all weights (lora.rank is 0), and has no adapter", args->run);
  if (!has_adapter) return zk_model_copy(checkpoint, args->dir, args->dtype);
  zk_status st = zk_export_config(run, &config);
  if (st == ZK_OK) st = (args->adapter ? zk_export_adapter : zk_export_merged)(config, checkpoint, args->dir, args->dtype);
  free(config);
  return st;
}

static zk_status run_export(int argc, char **argv) {
  export_args args = {.step = -1, .dtype = ZK_DTYPE_F32};
  argp_parse(&parser, argc, argv, 0, NULL, &args);
  zk_run_dir run;
  zk_path checkpoint;
  ZK_TRY(zk_run_dir_open_read(args.run, &run));
  zk_status st = find_checkpoint(&run, &args.step, &checkpoint);
  if (st == ZK_OK) st = write_folder(&run, &args, checkpoint.s);
  if (st == ZK_OK)
    ZK_LOG(INFO, "export", "step %lld of %s is in %s (%s)", (long long)args.step, args.run, args.dir,
           zk_dtype_name(args.dtype));
  zk_run_dir_close(&run);
  return st;
}

const zk_command zk_command_export = {"export", "write a checkpoint as a Hugging Face folder", run_export};
