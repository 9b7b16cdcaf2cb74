// Checkpoints: their values against the hashes they and metrics.jsonl carry, and against the chain, element for
// element.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/hash.h"
#include "kernels/math.h"
#include "shared/model.h"
#include "shared/optimizer_file.h"
#include "trainer/verify_impl.h"

#define BLOCK ((int64_t)1 << 20) // elements

// Weights and both moments; `state` of trainer/optimizer.h is hashed over the three, one after another.
enum { WEIGHTS, EXP_AVG, EXP_AVG_SQ, NUM_VECTORS };

// A checkpoint's files open for reading.
typedef struct {
  zk_auditor *a;
  int64_t step;
  zk_model_reader *weights;
  zk_optimizer_file *moments;
  bool has_chain;             // the chain is at this step: compare with it
  float *file, *chain;        // [BLOCK]
  uint64_t sums[NUM_VECTORS]; // of this rank's shard: hashes of each vector in the place that state/hash gives it
  uint64_t working;           // and of the working weights that these weights make
} reading;

static void differ(const reading *r, int64_t order, const char *message) {
  zk_verify_differ(&r->a->here, ZK_VERIFY_CHECKPOINTS, order, 0, "checkpoint step %" PRId64 ": %s", r->step, message);
}

// ---- element for element --------------------------------------------------------------------------------------------

static zk_status read_file(const reading *r, int vector, int64_t at, int64_t n) {
  if (vector == WEIGHTS) return zk_model_reader_read(r->weights, at, n, r->file);
  return zk_optimizer_file_read(r->moments, vector == EXP_AVG ? ZK_OPTIMIZER_EXP_AVG : ZK_OPTIMIZER_EXP_AVG_SQ, at, n,
                                r->file);
}

static zk_status read_chain(const reading *r, int vector, int64_t at, int64_t n) {
  const zk_session *s = &r->a->session;
  const zk_optimizer *o = &r->a->updater.optimizer;
  const float *shard = vector == WEIGHTS ? o->master : vector == EXP_AVG ? o->m : o->v;
  ZK_TRY(zk_copy_to_host(s->stream, r->chain, shard + (at - o->first), (size_t)n * sizeof *r->chain));
  return zk_stream_wait(s->stream);
}

static void compare_element(const reading *r, int vector, int64_t element, float stored, float mine) {
  static const char *const what[] = {"", " (exp_avg)", " (exp_avg_sq)"};
  if (zk_float_bits(stored) == zk_float_bits(mine) && mine == mine) return;
  const zk_params *params = r->a->updater.optimizer.trained.params;
  const zk_param *p = &params->params[zk_params_of_element(params, element)];
  zk_verify_differ(&r->a->here, ZK_VERIFY_CHECKPOINTS, vector, element,
                   "checkpoint step %" PRId64 ": %s element %" PRId64
                   "%s: %.9g (0x%08x) is stored, %.9g (0x%08x) comes out",
                   r->step, p->name, element - p->first, what[vector], (double)stored, zk_float_bits(stored),
                   (double)mine, zk_float_bits(mine));
}

// The bits of the working weight that a master weight makes.
static uint64_t working_bits(const reading *r, float master) {
  return r->a->session.policy.numerics == ZK_F32 ? zk_float_bits(master) : zk_float_to_bf16(master).bits;
}

// This rank's shard of one vector.
static zk_status walk_vector(reading *r, int vector) {
  const zk_optimizer *o = &r->a->updater.optimizer;
  const uint64_t index = o->trained.first_index, first_index = index + (uint64_t)vector * (index + (uint64_t)o->trained.params->num_elements);
  for (int64_t at = o->first, end = o->first + o->count; at < end; at += BLOCK) {
    int64_t n = end - at < BLOCK ? end - at : BLOCK;
    ZK_TRY(read_file(r, vector, at, n));
    if (r->has_chain) ZK_TRY(read_chain(r, vector, at, n));
    for (int64_t i = 0; i < n; i++) {
      r->sums[vector] += zk_mix64(zk_float_bits(r->file[i]), first_index + (uint64_t)(at + i));
      if (vector == WEIGHTS) r->working += zk_mix64(working_bits(r, r->file[i]), index + (uint64_t)(at + i));
      if (r->has_chain) compare_element(r, vector, at + i, r->file[i], r->chain[i]);
    }
  }
  return ZK_OK;
}

static zk_status open_files(reading *r, const char *dir) {
  const zk_params *params = r->a->updater.optimizer.trained.params;
  ZK_TRY(zk_model_reader_open(dir, params, &r->weights));
  zk_path path = zk_path_make("%s/optimizer.h5", dir);
  ZK_TRY(zk_optimizer_file_open(path.s, &r->moments));
  if (zk_optimizer_file_num_elements(r->moments) != params->num_elements ||
      zk_optimizer_file_step(r->moments) != r->step)
    return ZK_FAIL(ZK_BAD_ARCHIVE, "%s: of %" PRId64 " elements at step %" PRId64, path.s,
                   zk_optimizer_file_num_elements(r->moments), zk_optimizer_file_step(r->moments));
  r->file = malloc(2 * (size_t)BLOCK * sizeof *r->file);
  if (!r->file) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to read %s", dir);
  r->chain = r->file + BLOCK;
  return ZK_OK;
}

// ---- hashes ---------------------------------------------------------------------------------------------------------

static void compare_hash(const reading *r, int order, const char *where, const char *key, uint64_t stored,
                         uint64_t mine) {
  char message[160];
  if (stored == mine) return;
  snprintf(message, sizeof message, "%s says %s %016" PRIx64 ", the values in it hash to %016" PRIx64, where, key,
           stored, mine);
  if (r->a->once == &r->a->here) differ(r, order, message);
}

// Against state.json and the step's line. *usable as zk_verify_checkpoint has it.
static void check_hashes(const reading *r, const zk_checkpoint_state *state, const uint64_t mine[2], bool *usable) {
  zk_auditor *a = r->a;
  uint64_t weights = 0, all = 0;
  if (strcmp(state->kind, a->kind) || state->step != r->step)
    if (a->once == &a->here) differ(r, NUM_VECTORS, "state.json is of another run or step");
  compare_hash(r, NUM_VECTORS, "state.json", "weights/hash", state->weights_hash, mine[0]);
  compare_hash(r, NUM_VECTORS, "state.json", "state/hash", state->state_hash, mine[1]);
  *usable = state->weights_hash == mine[0] && state->state_hash == mine[1];
  bool has_line = a->metrics && zk_metrics_get_hash(a->metrics, r->step, "weights/hash", &weights) == ZK_OK &&
                  zk_metrics_get_hash(a->metrics, r->step, "state/hash", &all) == ZK_OK;
  if (!has_line) return;
  compare_hash(r, NUM_VECTORS + 1, "metrics.jsonl", "weights/hash", weights, mine[0]);
  compare_hash(r, NUM_VECTORS + 1, "metrics.jsonl", "state/hash", all, mine[1]);
  *usable = weights == mine[0] && all == mine[1];
}

// ---- one checkpoint -------------------------------------------------------------------------------------------------

static zk_status read_everything(reading *r, const char *dir, zk_checkpoint_state *state) {
  ZK_TRY(zk_checkpoint_read_state(dir, state));
  ZK_TRY(open_files(r, dir));
  for (int v = 0; v < NUM_VECTORS; v++) ZK_TRY(walk_vector(r, v));
  return ZK_OK;
}

zk_status zk_verify_checkpoint(zk_auditor *a, int64_t step, bool *usable) {
  zk_path dir = zk_run_dir_checkpoint_path(&a->dir, step);
  reading r = {.a = a, .step = step, .has_chain = a->step == step};
  zk_checkpoint_state state;
  *usable = false;
  zk_status st = read_everything(&r, dir.s, &state);
  if (st != ZK_OK) differ(&r, NUM_VECTORS + 2, zk_status_message());
  zk_optimizer_file_close(r.moments);
  zk_model_reader_close(r.weights);
  free(r.file);
  if (st == ZK_OUT_OF_MEMORY) return zk_comm_agree(a->comm, st);
  uint64_t sums[] = {r.working, r.sums[WEIGHTS] + r.sums[EXP_AVG] + r.sums[EXP_AVG_SQ], st != ZK_OK};
  ZK_TRY(zk_comm_sum_u64(a->comm, sums, 3));
  sums[0] += a->updater.optimizer.trained.frozen_hash;
  zk_verify_count(a->once, ZK_VERIFY_CHECKPOINTS, NUM_VECTORS * a->updater.optimizer.trained.params->num_elements);
  if (!sums[2]) check_hashes(&r, &state, sums, usable);
  return ZK_OK;
}

zk_status zk_verify_load(zk_auditor *a, int64_t step, bool *loaded) {
  zk_path dir = zk_run_dir_checkpoint_path(&a->dir, step);
  zk_checkpoint_state state;
  zk_status st = zk_session_load_weights(&a->session, dir.s);
  if (st == ZK_OK) st = zk_checkpoint_read_optimizer(&a->updater, dir.s, &state);
  *loaded = st == ZK_OK;
  a->step = *loaded ? step : ZK_VERIFY_UNKNOWN;
  if (*loaded) a->weights_hash = state.weights_hash, a->state_hash = state.state_hash;
  return st == ZK_OUT_OF_MEMORY || st == ZK_COMM ? st : ZK_OK;
}
