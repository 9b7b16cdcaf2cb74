// The parts of a report's page, between its files.
#ifndef ZK_SHARED_REPORT_PARTS_H
#define ZK_SHARED_REPORT_PARTS_H

#include "shared/report_charts.h"

// Everything from <!doctype html> to </html>. Errors of `out` stay in it. ZK_OUT_OF_MEMORY.
zk_status zk_report_page_write(const zk_report_runs *runs, const zk_report_charts *charts, const zk_report_options *options, FILE *out);

// A table with a row a run: what it is, how far it came, what it reached. Then the identity keys in which runs differ.
void zk_report_runs_write(const zk_report_runs *runs, FILE *out);
// Completions of some steps with their rewards, tokens coloured by how likely they were. A trajectory that cannot be read is told on the page.
zk_status zk_report_samples_write(const zk_report_runs *runs, const zk_report_options *options, FILE *out);
// The values behind the charts, for the script, as JSON.
void zk_report_data_write(const zk_report_charts *charts, FILE *out);

// report.css and report.js, as they are.
extern const char zk_report_css[], zk_report_js[];

#endif
