// `zerokl score`: the trainer's forward pass over lines of tokens or text, streamed.
#include "trainer/score_command.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shared/device_choice.h"
#include "trainer/gradient.h"
#include "trainer/score_input.h"

enum { MICROBATCHES_IN_BATCH = 8 }; // the more there are, the fuller they are

typedef struct {
  const char *model, *file;
  bool has_device;
  zk_config_device device;
  int num_overrides;
  char **overrides;
} score_args;

static error_t parse_option(int key, char *arg, struct argp_state *state) {
  score_args *args = state->input;
  switch (key) {
  case 'd':
    args->has_device = true;
    if (!zk_device_choice_parse(arg, &args->device)) argp_error(state, "--device: \"%s\" is not one of " ZK_DEVICE_CHOICE_ARG, arg);
    return 0;
  case ARGP_KEY_ARG:
    if (state->arg_num < 2) *(state->arg_num ? &args->file : &args->model) = arg;
    else args->overrides[args->num_overrides++] = arg;
    return 0;
  case ARGP_KEY_END:
    if (state->arg_num < 2) argp_error(state, "MODEL and FILE.jsonl are needed");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_option options[] = {
    {"device", 'd', ZK_DEVICE_CHOICE_ARG, 0, "Where to compute; the same as device=...", 0},
    {0}};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "MODEL FILE.jsonl [KEY.PATH=VALUE...]",
    .doc = "Prints the log-probability of each token given those before it, at temperature 1, as the trainer computes it.\v"
           "MODEL is a Hugging Face folder, such as a checkpoint. Lines {\"text\": \"...\"} or {\"tokens\": [...]} come in (FILE - is standard "
           "input; tokens need no tokenizer), lines {\"tokens\": [...], \"logprob\": [...], \"bits\": [\"bf800000\", ...]} go out in the same order, one "
           "value a token from the second on; bits are the float's, in hexadecimal. A line's bits depend on the line and the model alone. "
           "KEY is numerics or of class schedule, such as trainer.microbatch_tokens (see `zerokl train --help-config`)."};

// What is needed from one batch to the next.
typedef struct {
  zk_gradient *gradient;
  zk_score_input input;
  zk_score_batch batch;
  zk_sequences seqs;    // of the batch; its arrays live in the three below
  int64_t *offsets, *target_offsets;
  int32_t *first_target;
  float *logprob;       // [targets of the batch]
} scorer;

static zk_status grow(void **array, size_t n, size_t element_bytes) {
  void *grown = realloc(*array, n * element_bytes);
  if (!grown) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a batch of %zu values", n);
  *array = grown;
  return ZK_OK;
}

// The batch as sequences. Lines without a token have no sequence; in a line of one token there is nothing to predict.
static zk_status make_sequences(scorer *s) {
  const zk_score_batch *b = &s->batch;
  const size_t lines = (size_t)b->num_lines;
  ZK_TRY(grow((void **)&s->offsets, lines + 1, sizeof *s->offsets));
  ZK_TRY(grow((void **)&s->target_offsets, lines + 1, sizeof *s->target_offsets));
  ZK_TRY(grow((void **)&s->first_target, lines + 1, sizeof *s->first_target));
  ZK_TRY(grow((void **)&s->logprob, b->tokens.num_tokens + 1, sizeof *s->logprob));
  int64_t n = 0;
  s->offsets[0] = s->target_offsets[0] = 0;
  for (size_t i = 0; i < lines; i++) {
    int64_t length = b->offsets[i + 1] - b->offsets[i];
    if (!length) continue;
    s->first_target[n] = 1;
    s->offsets[n + 1] = b->offsets[i + 1];
    s->target_offsets[n + 1] = s->target_offsets[n] + length - 1;
    n++;
  }
  s->seqs = (zk_sequences){n, s->offsets, b->tokens.ids, s->first_target, s->target_offsets, NULL, NULL};
  return ZK_OK;
}

static void print_line(const int32_t *tokens, int64_t num_tokens, const float *logprob, int64_t num_values) {
  printf("{\"tokens\": [");
  for (int64_t i = 0; i < num_tokens; i++) printf("%s%" PRId32, i ? ", " : "", tokens[i]);
  printf("], \"logprob\": [");
  for (int64_t i = 0; i < num_values; i++) printf("%s%.9g", i ? ", " : "", (double)logprob[i]);
  printf("], \"bits\": [");
  for (int64_t i = 0; i < num_values; i++) {
    uint32_t bits;
    memcpy(&bits, &logprob[i], sizeof bits);
    printf("%s\"%08" PRIx32 "\"", i ? ", " : "", bits);
  }
  printf("]}\n");
}

static zk_status print_batch(const scorer *s) {
  const zk_score_batch *b = &s->batch;
  const float *logprob = s->logprob;
  for (int64_t i = 0; i < b->num_lines; i++) {
    int64_t n = b->offsets[i + 1] - b->offsets[i], values = n ? n - 1 : 0;
    for (int64_t k = 0; k < values; k++)
      if (!isfinite(logprob[k]))
        return ZK_FAIL(ZK_NOT_FINITE, "%s:%" PRId64 ": token %" PRId64 ": the log-probability is not finite", s->input.name, b->first_line + i, k + 1);
    print_line(b->tokens.ids + b->offsets[i], n, logprob, values);
    logprob += values;
  }
  if (fflush(stdout) || ferror(stdout)) return ZK_FAIL(ZK_IO, "cannot write to standard output: %s", strerror(errno));
  return ZK_OK;
}

static zk_status score_all(scorer *s, int64_t batch_tokens) {
  for (;;) {
    ZK_TRY(zk_score_input_read(&s->input, batch_tokens, &s->batch));
    if (!s->batch.num_lines) return ZK_OK;
    ZK_TRY(make_sequences(s));
    ZK_TRY(zk_gradient_forward(s->gradient, &s->seqs, 0, s->seqs.num_seqs, &(zk_gradient_outputs){.logprob = s->logprob}));
    ZK_TRY(print_batch(s));
  }
}

static zk_status score_file(zk_session *session, const char *name) {
  const bool is_stdin = !strcmp(name, "-");
  FILE *file = is_stdin ? stdin : fopen(name, "rb");
  if (!file) return ZK_FAIL(ZK_IO, "%s: cannot read: %s", name, strerror(errno));
  const int64_t microbatch = session->config.trainer.microbatch_tokens;
  scorer s = {.input = {.session = session, .name = is_stdin ? "standard input" : name, .file = file}};
  zk_status st = zk_gradient_open(&session->policy, &(zk_gradient_options){1, 0, 1, microbatch, .recompute = false}, &s.gradient);
  if (st == ZK_OK) st = score_all(&s, MICROBATCHES_IN_BATCH * microbatch);
  zk_gradient_close(s.gradient);
  zk_score_batch_free(&s.batch);
  free(s.input.text);
  free(s.offsets);
  free(s.target_offsets);
  free(s.first_target);
  free(s.logprob);
  if (!is_stdin) fclose(file);
  return st;
}

static zk_status score(const score_args *args, zk_config *config, zk_session *session) {
  zk_comm *comm = NULL;
  ZK_TRY(zk_comm_world(&comm));
  ZK_TRY(zk_comm_agree(comm, zk_comm_size(comm) == 1 ? ZK_OK : ZK_FAIL(ZK_BAD_INPUT, "zerokl score runs in one process; start it without mpirun")));
  ZK_TRY(zk_config_load_schedule(args->num_overrides, args->overrides, config));
  if (args->has_device) config->device = args->device;
  ZK_TRY(zk_session_open_model(config, comm, args->model, session));
  zk_status st = score_file(session, args->file);
  zk_session_close(session);
  return st;
}

static zk_status run_score(int argc, char **argv) {
  score_args args = {.overrides = calloc((size_t)argc, sizeof *args.overrides)};
  zk_config *config = malloc(sizeof *config);
  zk_session *session = malloc(sizeof *session);
  zk_status st = args.overrides && config && session ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a config");
  argp_err_exit_status = zk_status_exit_code(ZK_BAD_INPUT);
  if (st == ZK_OK) argp_parse(&parser, argc, argv, 0, NULL, &args);
  if (st == ZK_OK) st = score(&args, config, session);
  free(args.overrides);
  free(config);
  free(session);
  return st;
}

const zk_command zk_command_score = {"score", "log-probabilities of the tokens or texts in a file", run_score};
