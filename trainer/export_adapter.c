// From a checkpoint of an adapter to folders that others load.
#include "trainer/export_adapter.h"

#include <stdlib.h>
#include <string.h>

#include "rollout/session.h"
#include "shared/adapter_folder.h"
#include "shared/adapter_merge.h"

zk_status zk_export_config(const zk_run_dir *run, zk_config **out) {
  char *text = NULL;
  const zk_path path = zk_run_dir_config_path(run);
  *out = malloc(sizeof **out);
  if (!*out) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a config");
  ZK_TRY(zk_run_dir_read_config(run, &text));
  zk_status st = text ? zk_config_parse(path.s, text, strlen(text), 0, NULL, *out) : ZK_FAIL(ZK_BAD_INPUT, "%s: missing", path.s);
  free(text);
  return st;
}

// Tables and sources of a run's base and of a checkpoint's adapter.
typedef struct {
  zk_model_config model;
  zk_params base_params, params;
  zk_weight_source base, factors;
  zk_lora lora;
} parts;

static zk_status open_parts(const zk_config *c, const char *from, parts *p) {
  *p = (parts){.lora = zk_lora_of_config(c)};
  ZK_TRY(zk_session_model_config(c, &p->model));
  ZK_TRY(zk_adapter_folder_check(from, &p->lora));
  ZK_TRY(zk_params_create(&p->model, &p->base_params));
  ZK_TRY(zk_lora_params(&p->lora, &p->model, &p->params));
  ZK_TRY(zk_weight_source_open(from, &p->model, &p->params, c->seed, &p->factors));
  return zk_weight_source_open(c->model.path, &p->model, &p->base_params, c->seed, &p->base);
}

static void close_parts(parts *p) {
  zk_weight_source_close(&p->base);
  zk_weight_source_close(&p->factors);
  zk_params_destroy(&p->params);
  zk_params_destroy(&p->base_params);
}

zk_status zk_export_merged(const zk_config *c, const char *from, const char *dir, zk_dtype dtype) {
  parts p;
  uint64_t hash = 0;
  zk_numerics numerics = c->numerics;
  zk_status st = open_parts(c, from, &p);
  if (st == ZK_OK) st = zk_adapter_folder_read_base(from, &numerics, &hash);
  const zk_adapter_merge merge = {&p.base, &p.factors, p.lora, numerics, hash, from, from, dtype};
  if (st == ZK_OK) st = zk_adapter_merge_to(&merge, dir);
  close_parts(&p);
  return st;
}

typedef struct {
  const parts *p;
  const char *base, *from;
  zk_numerics numerics;
  uint64_t base_hash;
  zk_dtype dtype;
} copy;

static zk_status write_adapter(void *arg, const char *dir) {
  const copy *c = arg;
  const int64_t n = c->p->params.num_elements;
  zk_model_writer *writer = NULL;
  float *flat = malloc((size_t)n * sizeof *flat);
  zk_status st = flat ? zk_weight_source_read(&c->p->factors, 0, n, flat) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for an adapter of %lld weights", (long long)n);
  if (st == ZK_OK) st = zk_adapter_folder_write(dir, &c->p->lora, c->base, c->numerics, c->base_hash);
  if (st == ZK_OK) st = zk_model_writer_open(dir, NULL, &c->p->params, c->dtype, 0, c->from, &writer);
  if (st == ZK_OK) st = zk_model_writer_append(writer, flat, n);
  free(flat);
  if (st == ZK_OK) return zk_model_writer_close(writer);
  zk_model_writer_abort(writer);
  return st;
}

zk_status zk_export_adapter(const zk_config *c, const char *from, const char *dir, zk_dtype dtype) {
  parts p;
  copy what = {&p, c->model.path, from, c->numerics, 0, dtype};
  zk_status st = open_parts(c, from, &p);
  if (st == ZK_OK) st = zk_adapter_folder_read_base(from, &what.numerics, &what.base_hash);
  if (st == ZK_OK) st = zk_model_folder_make(dir, write_adapter, &what);
  close_parts(&p);
  return st;
}
