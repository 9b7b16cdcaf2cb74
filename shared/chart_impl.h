// Between the files of the charts.
#ifndef ZK_SHARED_CHART_IMPL_H
#define ZK_SHARED_CHART_IMPL_H

#include "shared/chart.h"
#include "shared/chart_axis.h"

enum { ZK_CHART_NUM_COLORS = 10 };
// What stands where: the picture's width, the edge that texts keep, the base lines of title, subtitle and the legend's first row, and the plot's
// top without a legend.
enum { ZK_CHART_WIDTH = 400, ZK_CHART_EDGE = 12, ZK_CHART_TITLE_Y = 20, ZK_CHART_SUBTITLE_Y = 37, ZK_CHART_TOP = 54, ZK_CHART_LEGEND_Y = 56 };

// A frame with its axes and its legend's layout.
typedef struct {
  zk_chart_frame frame;
  zk_axis x, y;
  int64_t num_beyond; // points that outliers' cut leaves out
  double highest;     // of all values
} zk_chart_layout;
void zk_chart_layout_make(const zk_chart *chart, zk_chart_layout *out);

double zk_chart_px(const zk_chart_layout *l, double x); // in the picture's units
double zk_chart_py(const zk_chart_layout *l, double y);

// The series, into a group that is clipped to the plot.
void zk_chart_lines_write(const zk_chart *chart, const zk_chart_layout *l, FILE *out);
void zk_chart_areas_write(const zk_chart *chart, const zk_chart_layout *l, FILE *out);

// Where legends' items go: the left edge and the row of item i.
enum { ZK_CHART_LEGEND_ROW = 16 };
int zk_chart_legend_place(const zk_chart *chart, int item, double *x, int *row); // returns the number of rows

#endif
