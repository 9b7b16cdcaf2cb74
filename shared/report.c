// Runs in, a folder out.
#include "shared/report.h"

#include <stdlib.h>
#include <string.h>

#include "shared/log.h"
#include "shared/report_parts.h"

static zk_path folder_of(const zk_report_options *options) {
  if (options->dir) return zk_path_make("%s", options->dir);
  return options->num_runs == 1 ? zk_path_make("%s/report", options->runs[0]) : zk_path_make("report");
}

static zk_status write_page(const zk_report_runs *runs, const zk_report_charts *charts, const zk_report_options *options, const char *path) {
  char *text = NULL;
  size_t num_bytes = 0;
  FILE *out = open_memstream(&text, &num_bytes);
  if (!out) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %s", path);
  zk_status st = zk_report_page_write(runs, charts, options, out);
  if (fclose(out) && st == ZK_OK) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %s", path);
  if (st == ZK_OK) st = zk_file_write(path, text, num_bytes);
  free(text);
  return st;
}

// A key to be drawn logarithmically that no run has is a mistake.
static zk_status check_keys(const zk_report_metrics *metrics, const char *keys) {
  for (const char *at = keys; at && *at;) {
    size_t length = strcspn(at, ",");
    bool is_there = false;
    for (int i = 0; i < metrics->num_metrics; i++) is_there |= strlen(metrics->metrics[i].key) == length && !strncmp(metrics->metrics[i].key, at, length);
    if (!is_there) return ZK_FAIL(ZK_BAD_INPUT, "--log: no run has a metric \"%.*s\"; names are those of metrics.jsonl", (int)length, at);
    at += length + (at[length] == ',');
  }
  return ZK_OK;
}

static zk_status make_into(const zk_report_runs *runs, const zk_report_options *options, const char *dir, char **out) {
  zk_report_metrics metrics;
  zk_report_charts charts = {0};
  zk_path page = zk_path_make("%s/index.html", dir);
  ZK_TRY(zk_report_metrics_find(runs, &metrics));
  zk_status st = check_keys(&metrics, options->log_keys);
  if (st == ZK_OK) st = zk_report_charts_make(runs, &metrics, options, &charts);
  if (st == ZK_OK) st = zk_file_make_directories(dir);
  if (st == ZK_OK) st = zk_report_pictures_write(&charts, options, dir);
  if (st == ZK_OK) st = write_page(runs, &charts, options, page.s);
  if (st == ZK_OK) *out = strdup(page.s);
  if (st == ZK_OK && !*out) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a path");
  zk_report_charts_free(&charts);
  zk_report_metrics_free(&metrics);
  return st;
}

zk_status zk_report_make(const zk_report_options *options, char **out) {
  zk_report_runs runs;
  *out = NULL;
  ZK_TRY(zk_report_runs_open(options->num_runs, options->runs, &runs));
  zk_path dir = folder_of(options);
  zk_status st = make_into(&runs, options, dir.s, out);
  zk_report_runs_close(&runs);
  return st;
}
