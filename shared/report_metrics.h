// Which metrics a report draws, in which order, under which titles. Metrics that the table does not know are drawn too, under their keys.
#ifndef ZK_SHARED_REPORT_METRICS_H
#define ZK_SHARED_REPORT_METRICS_H

#include "shared/report_run.h"

typedef struct {
  char key[96];
  const char *title, *unit; // the key and "" for a metric that the table does not know
  bool is_main;             // among the first charts
  bool whole;               // whole numbers
  bool cut_outliers;        // times and rates: a first step that is slow hides the others
  bool is_exact;            // without noise, or with every step of interest: never smoothed
} zk_report_metric;

typedef struct {
  zk_report_metric *metrics; // the main ones in the table's order, then all others by group (what stands before the first slash)
  int num_metrics;
} zk_report_metrics;

// Every metric that is a number in some line of some run, and no identity of a step. ZK_OUT_OF_MEMORY; freed with zk_report_metrics_free.
zk_status zk_report_metrics_find(const zk_report_runs *runs, zk_report_metrics *out);
void zk_report_metrics_free(zk_report_metrics *metrics);
// What stands before a key's first slash, as a heading: "policy"; "other" without one.
const char *zk_report_group(const char *key, char out[96]);

// A phase of a step that no other phase of the list contains, in the order in which a step goes through them.
typedef struct {
  const char *key, *name;
  int color;
} zk_report_phase;
extern const zk_report_phase zk_report_phases[];
extern const int zk_report_num_phases;

#endif
