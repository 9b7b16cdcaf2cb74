// `zerokl bench`: each kernel, and the engine and trainer built from them, against a floor and the vendor's library.
#include "trainer/bench_command.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/bench.h"
#include "shared/comm.h"
#include "shared/command_line.h"
#include "shared/device_choice.h"
#include "shared/log.h"
#include "shared/version.h"
#include "trainer/bench_model.h"
#include "trainer/bench_train.h"
#include "trainer/bench_workers.h"

// In the order they run. A suite of rollout/ or trainer/ is one more line.
static const zk_bench_suite *const cpu_suites[] = {&zk_bench_suite_linear, &zk_bench_suite_lmhead, &zk_bench_suite_tc_gemm,
                                                   &zk_bench_suite_model, &zk_bench_suite_train, NULL};
static const zk_bench_suite *const gpu_suites[] = {&zk_bench_suite_gpu_linear, &zk_bench_suite_gpu_linear_parts, &zk_bench_suite_gpu_linear_norm,
                                                   &zk_bench_suite_gpu_lmhead, &zk_bench_suite_gpu_lmhead_loss, &zk_bench_suite_gpu_attention, &zk_bench_suite_gpu_attention_backward, &zk_bench_suite_gpu_rows,
                                                   &zk_bench_suite_gpu_rows_backward,
                                                   &zk_bench_suite_gpu_rope_cache, &zk_bench_suite_gpu_rope_attention, &zk_bench_suite_model,
                                                   &zk_bench_suite_train, NULL};
static const zk_bench_suite *const worker_suites[] = {&zk_bench_suite_train, &zk_bench_suite_workers, NULL}; // under mpirun

enum { MAX_SUITES = sizeof gpu_suites / sizeof *gpu_suites - 1, SHRINK = 256 };

typedef struct {
  zk_bench_options options;
  const char *json, *suites[MAX_SUITES];
  int num_suites; // 0: all
  zk_config_device device;
} bench_args;

static error_t parse_option(int key, char *arg, struct argp_state *state) {
  bench_args *args = state->input;
  char *end = NULL;
  int64_t n;
  switch (key) {
  case 'j':
    args->json = arg;
    return 0;
  case 'f':
    args->options.filter = arg;
    return 0;
  case 't':
    if (!zk_command_line_integer(arg, 1, 1024, &n)) argp_error(state, "--threads: \"%s\" is not a number of threads", arg);
    args->options.num_threads = (int)n;
    return 0;
  case 'd':
    if (!zk_device_choice_parse(arg, &args->device)) argp_error(state, "--device: \"%s\" is not one of " ZK_DEVICE_CHOICE_ARG, arg);
    return 0;
  case 'q':
    args->options.quick = true;
    return 0;
  case SHRINK:
    if (!zk_command_line_integer(arg, 1, 1024, &n)) argp_error(state, "--shrink: \"%s\" is not a number from 1 to 1024", arg);
    args->options.shrink = (int)n;
    return 0;
  case 's':
    args->options.seconds = strtod(arg, &end);
    if (*end != 0 || end == arg || !(args->options.seconds >= 0.0 && args->options.seconds <= 3600.0))
      argp_error(state, "--seconds: \"%s\" is not a time", arg);
    return 0;
  case ARGP_KEY_ARG:
    if (args->num_suites == MAX_SUITES) argp_error(state, "more than %d suites", MAX_SUITES);
    args->suites[args->num_suites++] = arg;
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_option options[] = {
    {"json", 'j', "FILE", 0, "also write the rows as JSON", 0},
    {"filter", 'f', "TEXT", 0, "only operations whose name contains TEXT", 0},
    {"threads", 't', "N", 0, "threads (default: as for every command)", 0},
    {"device", 'd', ZK_DEVICE_CHOICE_ARG, 0, "what to measure (default cpu)", 0},
    {"seconds", 's', "S", 0, "time spent on a row, at least three repetitions (default 1; on a GPU 0.03 for each of its times, in which its clock holds)", 0},
    {"quick", 'q', NULL, 0, "on a GPU: fewer rows", 0},
    {"shrink", SHRINK, "N", 0, "on a GPU: divide every size by N, to test the benchmark itself", 0},
    {0}};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "[SUITE...]",
    .doc =
        "Measures operations: shape, microseconds, rate, percentage of the machine's floor, times the rival's speed. Under mpirun the suite "
        "train is one step of all workers, a GPU each, and workers is what they do together.\v"
        "Suites: linear, lmhead, train, model; on a CPU tc_gemm; on a GPU linear_parts, linear_norm, lmhead_loss, attention, attention_backward, rows, rows_backward, rope_cache, rope_attention; "
        "under mpirun train, workers. The rival is OpenBLAS on the same threads and instruction set (ZK_CPU_ISA); on a GPU cuBLAS's default, and cuBLASLt "
        "without split-K; of workers NCCL's reduce-scatter. GPU rows are of numerics bf16."};

static bool is_wanted(const bench_args *args, const char *name) {
  for (int i = 0; i < args->num_suites; i++)
    if (strcmp(args->suites[i], name) == 0) return true;
  return args->num_suites == 0;
}

static zk_status check_names(const bench_args *args, const zk_bench_suite *const *suites) {
  for (int i = 0; i < args->num_suites; i++) {
    bool found = false;
    for (int j = 0; suites[j] != NULL; j++) found |= strcmp(args->suites[i], suites[j]->name) == 0;
    if (!found) return ZK_FAIL(ZK_BAD_INPUT, "%s: no such suite; see zerokl bench --help", args->suites[i]);
  }
  return ZK_OK;
}

// The JSON is written anew after each suite: whatever stops a later one leaves the rows that there are.
static zk_status run_suites(zk_bench *bench, const bench_args *args, const zk_comm *comm) {
  const zk_bench_suite *const *suites = zk_device_get_kind(zk_bench_device(bench)) == ZK_DEVICE_CUDA ? gpu_suites : cpu_suites;
  if (zk_comm_size(comm) > 1) suites = worker_suites;
  ZK_TRY(check_names(args, suites));
  for (int i = 0; suites[i] != NULL; i++) {
    if (!is_wanted(args, suites[i]->name)) continue;
    ZK_TRY(suites[i]->run(bench));
    if (args->json != NULL && zk_comm_rank(comm) == 0) ZK_TRY(zk_bench_write_json(bench, args->json));
  }
  return ZK_OK;
}

static zk_status run_bench(int argc, char **argv) {
  bench_args args = {.options = {.device = ZK_DEVICE_CPU, .seconds = -1.0, .shrink = 1, .commit = zk_version_commit(), .out = stdout}};
  args.device = ZK_CONFIG_DEVICE_CPU;
  argp_parse(&parser, argc, argv, 0, NULL, &args);
  zk_comm *comm;
  ZK_TRY(zk_comm_world(&comm));
  ZK_TRY(zk_device_choose(args.device, zk_comm_local_rank(comm), zk_comm_local_size(comm), &args.options.device, &args.options.ordinal));
  if (zk_comm_rank(comm) > 0) {
    args.json = NULL;
    if (!(args.options.out = fopen("/dev/null", "w"))) return ZK_FAIL(ZK_IO, "/dev/null: %s", strerror(errno));
  }
  const bool gpu = args.options.device == ZK_DEVICE_CUDA;
  if (args.options.seconds < 0.0) args.options.seconds = gpu ? 0.03 : 1.0;
  zk_bench *bench;
  ZK_TRY(zk_bench_open(&args.options, &bench));
  if (!zk_bench_has_rival(bench))
    ZK_LOG(WARN, "bench", "no %s: the rival's column stays empty (%s)", gpu ? "libcublas and libcublasLt" : "libopenblas.so.0",
           gpu ? "put the CUDA toolkit's libraries on LD_LIBRARY_PATH" : "apt-get install libopenblas0-pthread");
  const zk_status status = run_suites(bench, &args, comm);
  zk_bench_close(bench);
  if (args.options.out != stdout) fclose(args.options.out);
  return status;
}

const zk_command zk_command_bench = {"bench", "measure operations against the machine's floor and the vendor's library",
                                     run_bench};
