// Runs' values to charts.
#include "shared/report_charts.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// "eval/avg@4" -> "eval-avg-4": for files, addresses and identifiers.
static void make_id(const char *text, char *out, size_t capacity) {
  size_t n = 0;
  for (const char *c = text; *c && n + 1 < capacity; c++) {
    bool plain = isalnum((unsigned char)*c) || *c == '_';
    if (plain || (n && out[n - 1] != '-')) out[n++] = plain ? *c : '-';
  }
  out[n] = 0;
  if (!n) snprintf(out, capacity, "metric");
}

// Two metrics may come to one identifier ("a b", "a-b"): the later one gets a number.
static void make_unique(const zk_report_charts *charts, zk_report_chart *chart) {
  const size_t n = strlen(chart->id);
  int number = 1;
  for (int i = 0; i < charts->num_charts; i++) {
    if (&charts->charts[i] == chart || strcmp(charts->charts[i].id, chart->id)) continue;
    snprintf(chart->id + n, sizeof chart->id - n, "-%d", ++number);
    i = -1; // against all again
  }
}

static bool is_named(const char *keys, const char *key) { // in a list with commas
  size_t n = strlen(key);
  for (const char *at = keys; at && *at;) {
    size_t length = strcspn(at, ",");
    if (length == n && !strncmp(at, key, n)) return true;
    at += length + (at[length] == ',');
  }
  return false;
}

// ---- a metric

static zk_status make_line(const zk_report_run *run, const char *key, zk_chart_series *out) {
  double *x, *y;
  int64_t num;
  zk_chart_point *points;
  ZK_TRY(zk_report_values(run, key, &x, &y, &num));
  zk_status st = zk_chart_points_make(x, y, num, &points, &out->num_points);
  free(x);
  free(y);
  out->name = run->name, out->color = out->run = run->number, out->points = points;
  return st;
}

static zk_status make_metric(const zk_report_runs *runs, const zk_report_metric *m, const zk_report_options *o, zk_report_chart *out) {
  out->series = calloc((size_t)runs->num_runs, sizeof *out->series);
  if (!out->series) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a chart of %d runs", runs->num_runs);
  make_id(m->key, out->id, sizeof out->id);
  snprintf(out->title, sizeof out->title, "%s", m->title);
  snprintf(out->subtitle, sizeof out->subtitle, "%s%s%s", m->title == m->key ? "" : m->key, *m->unit ? " \u00b7 " : "", m->unit);
  if (!m->is_main) zk_report_group(m->key, out->group);
  out->chart = (zk_chart){.kind = ZK_CHART_LINES, .title = out->title, .subtitle = out->subtitle, .series = out->series, .log_y = is_named(o->log_keys, m->key),
                          .whole_y = m->whole, .cut_outliers = m->cut_outliers, .is_exact = m->is_exact,
                          .smoothing = m->is_exact ? 0 : o->smoothing};
  for (int r = 0; r < runs->num_runs; r++) {
    ZK_TRY(make_line(&runs->runs[r], m->key, &out->series[out->chart.num_series]));
    if (out->series[out->chart.num_series].num_points) out->chart.num_series++; // runs without the metric have no line
  }
  out->chart.has_legend = runs->num_runs > 1;
  return ZK_OK;
}

// ---- a run's phases

enum { REST_COLOR = 7 };

// What a step's time has beyond its phases.
static zk_status make_rest(const zk_report_run *run, const double *x, int64_t num, double *const *phases, int num_phases, zk_chart_series *out) {
  double *rest = malloc((size_t)num * sizeof *rest);
  if (!rest) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %lld values", (long long)num);
  for (int64_t i = 0; i < num; i++) {
    rest[i] = json_number_value(json_object_get(zk_metrics_find(run->metrics, (int64_t)x[i]), "time/step"));
    for (int p = 0; p < num_phases; p++) rest[i] -= phases[p][i];
    if (!(rest[i] > 0)) rest[i] = 0; // clocks of host and device, and phases that overlap
  }
  zk_chart_point *points;
  zk_status st = zk_chart_points_make(x, rest, num, &points, &out->num_points);
  out->name = "rest", out->color = REST_COLOR, out->run = run->number, out->points = points;
  free(rest);
  return st;
}

// The values of a phase at the steps x[num]; a step without it has 0. *out_sum: of all.
static double *phase_values(const zk_report_run *run, const char *key, const double *x, int64_t num, double *out_sum) {
  double *values = malloc((size_t)num * sizeof *values);
  *out_sum = 0;
  for (int64_t i = 0; values && i < num; i++) {
    values[i] = json_number_value(json_object_get(zk_metrics_find(run->metrics, (int64_t)x[i]), key));
    *out_sum += values[i];
  }
  return values;
}

static zk_status add_phases(const zk_report_run *run, const double *x, int64_t num, zk_report_chart *out) {
  double **values = calloc((size_t)zk_report_num_phases, sizeof *values), sum;
  zk_status st = values ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for phases");
  int used = 0;
  for (int p = 0; st == ZK_OK && p < zk_report_num_phases; p++) {
    values[used] = phase_values(run, zk_report_phases[p].key, x, num, &sum);
    if (!values[used]) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %lld values", (long long)num);
    if (st != ZK_OK || !(sum > 0)) {
      free(values[used]);
      continue;
    }
    zk_chart_point *points;
    zk_chart_series *s = &out->series[out->chart.num_series++];
    st = zk_chart_points_make(x, values[used++], num, &points, &s->num_points);
    s->name = zk_report_phases[p].name, s->color = zk_report_phases[p].color, s->run = run->number, s->points = points;
  }
  if (st == ZK_OK) st = make_rest(run, x, num, values, used, &out->series[out->chart.num_series++]);
  for (int p = 0; p < used; p++) free(values[p]);
  free(values);
  return st;
}

static zk_status make_phases(const zk_report_run *run, bool is_alone, zk_report_chart *out) {
  double *x, *y;
  int64_t num;
  out->series = calloc((size_t)zk_report_num_phases + 1, sizeof *out->series);
  if (!out->series) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for phases");
  snprintf(out->id, sizeof out->id, is_alone ? "phases" : "phases-%d", run->number + 1);
  snprintf(out->group, sizeof out->group, "phases");
  snprintf(out->title, sizeof out->title, is_alone ? "Where a step's time goes" : "Time: %.150s", run->name);
  snprintf(out->subtitle, sizeof out->subtitle, "time/* \u00b7 seconds a step, on rank 0");
  out->chart = (zk_chart){.kind = ZK_CHART_STACKED, .title = out->title, .subtitle = out->subtitle, .series = out->series,
                          .cut_outliers = true, .has_legend = true};
  ZK_TRY(zk_report_values(run, "time/step", &x, &y, &num));
  zk_status st = num ? add_phases(run, x, num, out) : ZK_OK;
  free(x);
  free(y);
  return st;
}

// ---- all

zk_chart zk_report_chart_on_page(const zk_report_chart *chart) {
  zk_chart c = chart->chart;
  c.has_legend = c.kind == ZK_CHART_STACKED;
  return c;
}

// A chart goes from step 0 to the last step of the runs in it, so that what happened at one time is at one place in all charts of a run.
static void share_steps(const zk_report_runs *runs, zk_chart *chart) {
  for (int s = 0; s < chart->num_series; s++) {
    const zk_metrics *m = runs->runs[chart->series[s].run].metrics;
    if (m && (double)zk_metrics_last_step(m) > chart->x_high) chart->x_high = (double)zk_metrics_last_step(m);
  }
}

zk_status zk_report_charts_make(const zk_report_runs *runs, const zk_report_metrics *metrics, const zk_report_options *options, zk_report_charts *out) {
  *out = (zk_report_charts){calloc((size_t)metrics->num_metrics + (size_t)runs->num_runs, sizeof *out->charts), 0};
  if (!out->charts) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %d charts", metrics->num_metrics);
  zk_status st = ZK_OK;
  for (int i = 0; st == ZK_OK && i < metrics->num_metrics; i++) {
    zk_report_chart *c = &out->charts[out->num_charts++];
    st = make_metric(runs, &metrics->metrics[i], options, c);
    make_unique(out, c);
  }
  for (int r = 0; st == ZK_OK && r < runs->num_runs; r++) {
    zk_report_chart *c = &out->charts[out->num_charts++];
    st = make_phases(&runs->runs[r], runs->num_runs == 1, c);
    make_unique(out, c);
    if (st != ZK_OK || c->chart.num_series) continue;
    free(c->series); // no step took any time yet
    memset(c, 0, sizeof *c);
    out->num_charts--;
  }
  for (int i = 0; i < out->num_charts; i++) share_steps(runs, &out->charts[i].chart);
  if (st != ZK_OK) zk_report_charts_free(out);
  return st;
}

void zk_report_charts_free(zk_report_charts *charts) {
  for (int i = 0; i < charts->num_charts; i++) {
    for (int s = 0; s < charts->charts[i].chart.num_series; s++) free((void *)charts->charts[i].series[s].points);
    free(charts->charts[i].series);
  }
  free(charts->charts);
  *charts = (zk_report_charts){0};
}
