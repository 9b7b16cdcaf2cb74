// The charts of a report: one a metric with a line a run, and one a run with its phases.
#ifndef ZK_SHARED_REPORT_CHARTS_H
#define ZK_SHARED_REPORT_CHARTS_H

#include "shared/chart.h"
#include "shared/report.h"
#include "shared/report_metrics.h"

typedef struct {
  zk_chart chart;
  zk_chart_series *series;  // owned, with their points; [chart.num_series]
  char id[128];             // "reward-mean": the picture's file name; the page's element is "chart-reward-mean"
  char title[160], subtitle[224];
  char group[96];           // of the page: "" for the first charts, "time" for phases, else as zk_report_group
} zk_report_chart;

typedef struct {
  zk_report_chart *charts; // pointers in them point into them: never moved
  int num_charts;
} zk_report_charts;

zk_status zk_report_charts_make(const zk_report_runs *runs, const zk_report_metrics *metrics, const zk_report_options *options, zk_report_charts *out);
void zk_report_charts_free(zk_report_charts *charts);

// The chart as the page has it: the names of runs stand once for all charts there.
zk_chart zk_report_chart_on_page(const zk_report_chart *chart);

// Each chart as DIR/ID.svg; with options->png also DIR/ID.png, unless there is no rsvg-convert, which is told once.
zk_status zk_report_pictures_write(const zk_report_charts *charts, const zk_report_options *options, const char *dir);

#endif
