// Weights and moments go to disk block by block; nothing is gathered whole.
#include "trainer/checkpoint.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "shared/adapter_folder.h"
#include "shared/file_util.h"
#include "shared/model.h"
#include "shared/optimizer_file.h"
#include "trainer/policy_update.h"

#define BLOCK ((int64_t)1 << 22) // elements

static zk_status write_state(const char *dir, const zk_checkpoint_state *state) {
  char text[512];
  int n = snprintf(text, sizeof text,
                   "{\"schema_version\": 1, \"kind\": \"%s\", \"step\": %" PRId64 ", \"weights/hash\": \"%016" PRIx64 "\", \"state/hash\": \"%016" PRIx64
                   "\"}\n",
                   state->kind, state->step, state->weights_hash, state->state_hash);
  return zk_file_write(zk_path_make("%s/state.json", dir).s, text, (size_t)n);
}

// Elements [at, at + n) of a sharded vector from the rank that owns them to rank 0: *all [n], the caller frees it; NULL elsewhere.
static zk_status gather_block(zk_updater *u, const float *shard, int owner, int64_t at, int64_t n, float *host, void **all) {
  zk_comm *comm = u->session->comm;
  zk_status st = ZK_OK;
  bool mine = zk_comm_rank(comm) == owner;
  *all = NULL;
  if (mine) st = zk_copy_to_host(u->session->stream, host, shard + (at - u->optimizer.first), (size_t)n * sizeof *host);
  if (mine && st == ZK_OK) st = zk_stream_wait(u->session->stream);
  ZK_TRY(zk_comm_agree(comm, st));
  return zk_comm_gather(comm, 0, host, mine ? (size_t)n * sizeof *host : 0, all, NULL);
}

// What rank 0 does with a block of a vector, in ascending order.
typedef zk_status write_fn(void *file, int dataset, int64_t at, int64_t n, const float *values);

static zk_status append_weights(void *file, int dataset, int64_t at, int64_t n, const float *values) {
  return zk_model_writer_append(file, values, n);
}
static zk_status write_moment(void *file, int dataset, int64_t at, int64_t n, const float *values) {
  return zk_optimizer_file_write(file, (zk_optimizer_dataset)dataset, at, n, values);
}

// A whole sharded vector, from all ranks to rank 0's `file`. Collective.
static zk_status write_vector(zk_updater *u, const float *shard, write_fn *write, void *file, int dataset, float *host) {
  zk_comm *comm = u->session->comm;
  const zk_optimizer *o = &u->optimizer;
  for (int r = 0; r < zk_comm_size(comm); r++)
    for (int64_t at = o->starts[r]; at < o->starts[r + 1]; at += BLOCK) {
      int64_t n = o->starts[r + 1] - at < BLOCK ? o->starts[r + 1] - at : BLOCK;
      void *all = NULL;
      zk_status st = gather_block(u, shard, r, at, n, host, &all);
      if (st == ZK_OK && file) st = write(file, dataset, at, n, all);
      free(all);
      ZK_TRY(zk_comm_agree(comm, st));
    }
  return ZK_OK;
}

// The master weights, which in f32 are the working weights too. Collective.
static zk_status write_weights(zk_updater *u, const char *dir, float *host) {
  const zk_policy *p = &u->session->policy;
  zk_model_writer *writer = NULL;
  zk_status st = ZK_OK;
  if (dir && !zk_file_exists(zk_path_make("%s/tokenizer.json", u->session->model_dir).s))
    st = ZK_FAIL(ZK_IO, "%s: its tokenizer.json is gone, which the checkpoint %s needs a copy of: put it back and start the same command again, which goes on from the last checkpoint", u->session->model_dir, dir);
  if (dir && st == ZK_OK && p->adapter.lora.rank)
    st = zk_adapter_folder_write(dir, &p->adapter.lora, u->session->config.model.path, p->numerics, p->frozen_hash);
  if (dir && st == ZK_OK) st = zk_model_writer_open(dir, &p->config, u->optimizer.trained.params, ZK_DTYPE_F32, ZK_MODEL_MAX_SHARD_BYTES, u->session->model_dir, &writer);
  st = zk_comm_agree(u->session->comm, st);
  if (st == ZK_OK) st = write_vector(u, u->optimizer.master, append_weights, writer, 0, host);
  if (writer && st == ZK_OK) return zk_model_writer_close(writer);
  zk_model_writer_abort(writer);
  return st;
}

static zk_status write_moments(zk_updater *u, const char *dir, int64_t step, float *host) {
  const zk_optimizer *o = &u->optimizer;
  zk_optimizer_file *file = NULL;
  zk_status st = ZK_OK;
  if (dir) st = zk_optimizer_file_create(zk_path_make("%s/optimizer.h5", dir).s, step, o->trained.params->num_elements, &file);
  st = zk_comm_agree(u->session->comm, st);
  const bool is_new = o->step == 0; // all moments are zero
  if (is_new && file && st == ZK_OK) zk_optimizer_file_write_zeros(file);
  if (!is_new && st == ZK_OK) st = write_vector(u, o->m, write_moment, file, ZK_OPTIMIZER_EXP_AVG, host);
  if (!is_new && st == ZK_OK) st = write_vector(u, o->v, write_moment, file, ZK_OPTIMIZER_EXP_AVG_SQ, host);
  if (file && st == ZK_OK) return zk_optimizer_file_finish(file);
  zk_optimizer_file_close(file);
  return st;
}

zk_status zk_checkpoint_write(zk_updater *u, zk_run_dir *run, const zk_checkpoint_state *state, int keep) {
  zk_comm *comm = u->session->comm;
  zk_path dir = {{0}};
  float *host = malloc((size_t)BLOCK * sizeof *host);
  zk_status st = host ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to write a checkpoint");
  if (run && st == ZK_OK) st = zk_run_dir_begin_checkpoint(run, state->step, &dir);
  st = zk_comm_agree(comm, st);
  if (st == ZK_OK) st = zk_comm_agree(comm, write_weights(u, run ? dir.s : NULL, host));
  if (run && st == ZK_OK) st = write_state(dir.s, state);
  st = zk_comm_agree(comm, st);
  if (st == ZK_OK) st = zk_comm_agree(comm, write_moments(u, run ? dir.s : NULL, state->step, host));
  if (run && st == ZK_OK) st = zk_run_dir_finish_checkpoint(run, state->step);
  if (run && st == ZK_OK) st = zk_run_dir_prune_checkpoints(run, keep);
  free(host);
  return zk_comm_agree(comm, st);
}

static zk_status hash_field(const char *path, const json_t *root, const char *key, uint64_t *out) {
  const char *text = json_string_value(json_object_get(root, key));
  char *end = NULL;
  *out = text ? strtoull(text, &end, 16) : 0;
  return text && strlen(text) == 16 && !*end ? ZK_OK : ZK_FAIL(ZK_BAD_ARCHIVE, "%s: \"%s\" is not a hash of 16 hex digits", path, key);
}

zk_status zk_checkpoint_read_state(const char *dir, zk_checkpoint_state *out) {
  memset(out, 0, sizeof *out);
  zk_path path = zk_path_make("%s/state.json", dir);
  char *text = NULL;
  size_t bytes = 0;
  ZK_TRY(zk_file_read(path.s, 1 << 20, &text, &bytes));
  json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
  free(text);
  const char *kind = json_string_value(json_object_get(root, "kind"));
  json_t *step = json_object_get(root, "step");
  zk_status st = ZK_OK;
  if (!kind || strlen(kind) >= sizeof out->kind || !json_is_integer(step)) st = ZK_FAIL(ZK_BAD_ARCHIVE, "%s: not a checkpoint's state", path.s);
  if (st == ZK_OK) {
    snprintf(out->kind, sizeof out->kind, "%s", kind);
    out->step = json_integer_value(step);
    st = hash_field(path.s, root, "weights/hash", &out->weights_hash);
  }
  if (st == ZK_OK) st = hash_field(path.s, root, "state/hash", &out->state_hash);
  json_decref(root);
  return st;
}

static zk_status read_master(zk_updater *u, const char *dir) {
  zk_weight_source source;
  ZK_TRY(zk_weight_source_open(dir, &u->session->policy.config, u->optimizer.trained.params, 0, &source));
  zk_status st = zk_optimizer_fill_master(&u->optimizer, u->session->stream, &source);
  zk_weight_source_close(&source);
  return st;
}

static zk_status read_moments(zk_updater *u, const char *dir, int64_t step) {
  zk_optimizer *o = &u->optimizer;
  zk_path path = zk_path_make("%s/optimizer.h5", dir);
  zk_optimizer_file *file = NULL;
  ZK_TRY(zk_optimizer_file_open(path.s, &file));
  float *host = malloc((size_t)BLOCK * sizeof *host);
  zk_status st = host ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to read %s", path.s);
  if (st == ZK_OK && (zk_optimizer_file_num_elements(file) != o->trained.params->num_elements || zk_optimizer_file_step(file) != step))
    st = ZK_FAIL(ZK_BAD_ARCHIVE, "%s: holds %" PRId64 " elements at step %" PRId64 ", the model has %" PRId64 " at step %" PRId64, path.s,
                 zk_optimizer_file_num_elements(file), zk_optimizer_file_step(file), o->trained.params->num_elements, step);
  for (int d = 0; d < ZK_OPTIMIZER_NUM_DATASETS && st == ZK_OK; d++)
    for (int64_t at = 0; at < o->count && st == ZK_OK; at += BLOCK) {
      int64_t n = o->count - at < BLOCK ? o->count - at : BLOCK;
      st = zk_optimizer_file_read(file, (zk_optimizer_dataset)d, o->first + at, n, host);
      if (st == ZK_OK) st = zk_copy_to_device(u->session->stream, (d == ZK_OPTIMIZER_EXP_AVG ? o->m : o->v) + at, host, (size_t)n * sizeof *host);
      if (st == ZK_OK) st = zk_stream_wait(u->session->stream);
    }
  free(host);
  zk_optimizer_file_close(file);
  return st;
}

zk_status zk_checkpoint_read_optimizer(zk_updater *u, const char *dir, zk_checkpoint_state *out) {
  zk_comm *comm = u->session->comm;
  zk_status st = zk_checkpoint_read_state(dir, out);
  if (st == ZK_OK) st = read_master(u, dir);
  if (st == ZK_OK) st = read_moments(u, dir, out->step);
  ZK_TRY(zk_comm_agree(comm, st));
  const bool is_sft = !strcmp(out->kind, "sft");
  u->optimizer.step = out->step * (is_sft ? 1 : zk_policy_updates_per_step(&u->session->config));
  uint64_t weights = 0, state = 0;
  ZK_TRY(zk_optimizer_hashes(&u->optimizer, u->session->stream, &weights, &state));
  if (weights != out->weights_hash || state != out->state_hash)
    return ZK_FAIL(ZK_BAD_ARCHIVE, "%s: weights or optimiser state do not match state.json (weights/hash %016" PRIx64 ", stored %016" PRIx64
                   "; state/hash %016" PRIx64 ", stored %016" PRIx64 ")", dir, weights, out->weights_hash, state, out->state_hash);
  return ZK_OK;
}
