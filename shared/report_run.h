// A run as a report reads it.
#ifndef ZK_SHARED_REPORT_RUN_H
#define ZK_SHARED_REPORT_RUN_H

#include "shared/config.h"
#include "shared/metrics.h"
#include "shared/run_dir.h"

typedef struct {
  zk_run_dir dir;
  zk_metrics *metrics; // NULL: none yet
  zk_config *config;   // NULL: config.yaml is of another build
  char *identity;      // its identity text; NULL with config
  char name[ZK_PATH_BYTES]; // what the page calls it: run.name, or the path where another run of the report has that name too
  int number;          // in the report, from 0: its colour
} zk_report_run;

typedef struct {
  zk_report_run *runs;
  int num_runs;
} zk_report_runs;

zk_status zk_report_runs_open(int num_runs, char *const *paths, zk_report_runs *out);
void zk_report_runs_close(zk_report_runs *runs);

// The values of a metric by step, of those steps that have it as a finite number: x[num], y[num], malloc'ed (NULL, 0: no step).
zk_status zk_report_values(const zk_report_run *run, const char *key, double **x, double **y, int64_t *num);
// First and last of them, in *first and *last; false when there is none.
bool zk_report_ends(const zk_report_run *run, const char *key, double *first, double *last);
// Their sum; 0 for none.
double zk_report_sum(const zk_report_run *run, const char *key);

#endif
