// Runs opened for reading, and their metrics by key.
#include "shared/report_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shared/log.h"

static zk_status open_config(zk_report_run *run) {
  char *text = NULL;
  ZK_TRY(zk_run_dir_read_config(&run->dir, &text));
  if (!text) return ZK_OK;
  zk_config *config = malloc(sizeof *config);
  zk_status st = config ? zk_config_parse(zk_run_dir_config_path(&run->dir).s, text, strlen(text), 0, NULL, config) : ZK_OUT_OF_MEMORY;
  if (st == ZK_OK) st = zk_config_identity_text(config, &run->identity);
  free(text);
  if (st == ZK_OK) {
    run->config = config;
    return ZK_OK;
  }
  free(config);
  if (st == ZK_OUT_OF_MEMORY) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a config");
  ZK_LOG(WARN, "report", "%s; its curves are shown, its config is not compared", zk_status_message());
  zk_status_clear();
  return ZK_OK;
}

static zk_status open_run(const char *path, zk_report_run *run) {
  ZK_TRY(zk_run_dir_open_read(path, &run->dir));
  zk_path metrics = zk_run_dir_metrics_path(&run->dir);
  if (zk_file_exists(metrics.s)) ZK_TRY(zk_metrics_open_read(metrics.s, &run->metrics));
  ZK_TRY(open_config(run));
  const char *slash = strrchr(path, '/');
  snprintf(run->name, sizeof run->name, "%s", run->config ? run->config->run.name : slash && slash[1] ? slash + 1 : path);
  return ZK_OK;
}

// Runs of one name are called by their folders.
static void tell_apart(zk_report_runs *r, char *const *paths) {
  bool *is_shared = calloc((size_t)r->num_runs, sizeof *is_shared);
  for (int i = 0; is_shared && i < r->num_runs; i++)
    for (int k = 0; k < r->num_runs; k++) is_shared[i] |= k != i && !strcmp(r->runs[i].name, r->runs[k].name);
  for (int i = 0; is_shared && i < r->num_runs; i++)
    if (is_shared[i]) snprintf(r->runs[i].name, sizeof r->runs[i].name, "%s", paths[i]);
  free(is_shared);
}

zk_status zk_report_runs_open(int num_runs, char *const *paths, zk_report_runs *out) {
  *out = (zk_report_runs){calloc((size_t)num_runs, sizeof(zk_report_run)), 0};
  if (!out->runs) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %d runs", num_runs);
  zk_status st = ZK_OK;
  for (int i = 0; st == ZK_OK && i < num_runs; i++) {
    out->runs[i].number = out->num_runs++;
    st = open_run(paths[i], &out->runs[i]);
  }
  if (st == ZK_OK) tell_apart(out, paths);
  else zk_report_runs_close(out);
  return st;
}

void zk_report_runs_close(zk_report_runs *runs) {
  for (int i = 0; i < runs->num_runs; i++) {
    zk_report_run *run = &runs->runs[i];
    zk_metrics_close(run->metrics);
    if (run->dir.path.s[0]) zk_run_dir_close(&run->dir);
    free(run->config);
    free(run->identity);
  }
  free(runs->runs);
  *runs = (zk_report_runs){0};
}

// ---- values

static bool value_at(const zk_report_run *run, int64_t step, const char *key, double *out) {
  json_t *value = json_object_get(zk_metrics_find(run->metrics, step), key);
  *out = json_number_value(value);
  return json_is_number(value) && isfinite(*out);
}

static int64_t last_step(const zk_report_run *run) { return run->metrics ? zk_metrics_last_step(run->metrics) : -1; }

zk_status zk_report_values(const zk_report_run *run, const char *key, double **x, double **y, int64_t *num) {
  *x = *y = NULL, *num = 0;
  const int64_t last = last_step(run);
  double value;
  for (int64_t step = 0; step <= last; step++) *num += value_at(run, step, key, &value);
  if (!*num) return ZK_OK;
  *x = malloc((size_t)*num * sizeof **x), *y = malloc((size_t)*num * sizeof **y);
  if (!*x || !*y) {
    free(*x);
    free(*y);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %lld values", (long long)*num);
  }
  int64_t i = 0;
  for (int64_t step = 0; step <= last; step++)
    if (value_at(run, step, key, &value)) (*x)[i] = (double)step, (*y)[i++] = value;
  return ZK_OK;
}

bool zk_report_ends(const zk_report_run *run, const char *key, double *first, double *last) {
  bool any = false;
  double value;
  for (int64_t step = 0; step <= last_step(run); step++) {
    if (!value_at(run, step, key, &value)) continue;
    if (!any) *first = value;
    *last = value, any = true;
  }
  return any;
}

double zk_report_sum(const zk_report_run *run, const char *key) {
  double sum = 0, value;
  for (int64_t step = 0; step <= last_step(run); step++)
    if (value_at(run, step, key, &value)) sum += value;
  return sum;
}
