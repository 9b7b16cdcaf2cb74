// `zerokl bench`: each kernel, and the engine and trainer built from them, against a floor and the vendor's library.
#include "trainer/bench_command.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/bench.h"
#include "shared/device_choice.h"
#include "shared/log.h"
#include "trainer/bench_model.h"

// In the order they run. A suite of rollout/ or trainer/ is one more line.
static const zk_bench_suite *const suites[] = {&zk_bench_suite_linear, &zk_bench_suite_lmhead, &zk_bench_suite_tc_gemm, &zk_bench_suite_model};
enum { NUM_SUITES = sizeof suites / sizeof suites[0] };

typedef struct {
  zk_bench_options options;
  const char *json, *suite;
  zk_config_device device;
} bench_args;

static error_t parse_option(int key, char *arg, struct argp_state *state) {
  bench_args *args = state->input;
  char *end = NULL;
  switch (key) {
  case 'j':
    args->json = arg;
    return 0;
  case 'f':
    args->options.filter = arg;
    return 0;
  case 't': {
    const long n = strtol(arg, &end, 10);
    if (*end != 0 || end == arg || n < 1 || n > 1024)
      argp_error(state, "--threads: \"%s\" is not a number of threads", arg);
    args->options.num_threads = (int)n;
    return 0;
  }
  case 'd':
    if (!zk_device_choice_parse(arg, &args->device)) argp_error(state, "--device: \"%s\" is not one of " ZK_DEVICE_CHOICE_ARG, arg);
    return 0;
  case 's':
    args->options.seconds = strtod(arg, &end);
    if (*end != 0 || end == arg || !(args->options.seconds >= 0.0 && args->options.seconds <= 3600.0))
      argp_error(state, "--seconds: \"%s\" is not a time", arg);
    return 0;
  case ARGP_KEY_ARG:
    if (state->arg_num > 0) return ARGP_ERR_UNKNOWN;
    args->suite = arg;
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
    {"seconds", 's', "S", 0, "time spent on a row, at least three repetitions (default 1)", 0},
    {0}};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "[SUITE]",
    .doc =
        "Measures operations: shape, microseconds, rate, percentage of the machine's floor, times the rival's speed.\v"
        "Suites: linear, lmhead, model. The rival is OpenBLAS on the same threads and instruction set (ZK_CPU_ISA)."};

static zk_status run_suites(zk_bench *bench, const char *only) {
  bool found = false;
  for (int i = 0; i < NUM_SUITES; i++) {
    if (only != NULL && strcmp(only, suites[i]->name) != 0) continue;
    found = true;
    ZK_TRY(suites[i]->run(bench));
  }
  if (!found) return ZK_FAIL(ZK_BAD_INPUT, "%s: no such suite; see zerokl bench --help", only);
  return ZK_OK;
}

static zk_status run_bench(int argc, char **argv) {
  bench_args args = {.options = {.device = ZK_DEVICE_CPU, .seconds = 1.0, .out = stdout}};
  args.device = ZK_CONFIG_DEVICE_CPU;
  argp_parse(&parser, argc, argv, 0, NULL, &args);
  int ordinal;
  ZK_TRY(zk_device_choose(args.device, 0, 1, &args.options.device, &ordinal));
  if (args.options.device == ZK_DEVICE_CUDA)
    return ZK_FAIL(ZK_UNSUPPORTED, "bench has no floor and no rival for a GPU yet; --device cpu works");
  zk_bench *bench;
  ZK_TRY(zk_bench_open(&args.options, &bench));
  if (zk_rival_sgemm(bench) == NULL)
    ZK_LOG(WARN, "bench", "no libopenblas.so.0: the rival's column stays empty (apt-get install libopenblas0-pthread)");
  zk_status status = run_suites(bench, args.suite);
  if (status == ZK_OK && args.json != NULL) status = zk_bench_write_json(bench, args.json);
  zk_bench_close(bench);
  return status;
}

const zk_command zk_command_bench = {"bench", "measure operations against the machine's floor and the vendor's library",
                                     run_bench};
