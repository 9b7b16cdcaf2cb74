// Charts as SVG: lines over steps (raw, and smoothed on top), or areas stacked on each other. The one place that draws: the report's page, its
// SVG files and, by a converter, its PNG files are the same picture.
//
// A chart is 400 wide, in units of its own that a page may scale. Colours are classes (k0... for lines, f0... for areas), so that one style
// sheet decides them, for light and for dark; they keep apart for colour-blind readers too, and have a contrast of 3:1 and more.
#ifndef ZK_SHARED_CHART_H
#define ZK_SHARED_CHART_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "kernels/status.h"

// What is drawn at one place of the x axis: the values of one step, or of several steps that share a pixel.
typedef struct {
  double first, last;     // steps
  double mean, low, high; // of their values
} zk_chart_point;

// Finite values y[num] over ascending x[num] as at most ZK_CHART_MAX_POINTS points of equally many steps each; malloc'ed into *out (NULL for
// none). ZK_OUT_OF_MEMORY.
enum { ZK_CHART_MAX_POINTS = 600 };
zk_status zk_chart_points_make(const double *x, const double *y, int64_t num, zk_chart_point **out, int64_t *out_num);

typedef struct {
  const char *name; // in legends; UTF-8, any characters
  int color;        // number in the palette, which begins again, dashed, when it ends
  int run;          // class r0, r1, ...: what a page shows and hides together
  const zk_chart_point *points;
  int64_t num_points;
} zk_chart_series;

typedef enum { ZK_CHART_LINES, ZK_CHART_STACKED } zk_chart_kind; // stacked: all series have the same x, values not below 0

typedef struct {
  zk_chart_kind kind;
  const char *title, *subtitle; // the second line, smaller: a metric's key, a unit
  const zk_chart_series *series;
  int num_series;
  bool log_y;        // taken where some value is above 0; others stand at the axis' low end
  bool whole_y;      // values are whole numbers: ticks too
  bool cut_outliers; // the y axis ends near the bulk of the values; what is beyond leaves the picture and is told
  bool has_legend;
  bool is_exact;        // a page leaves it as it is whatever smoothing is asked for; goes with smoothing 0
  double smoothing;     // weight of what was before, [0, 1)
  double x_low, x_high; // the x axis' ends, so that charts share them; both 0: as the values have them
} zk_chart;

// Where things are, for a page that adds to a chart what a pointer asks for.
typedef struct {
  double left, top, width, height, total_height; // the plot, and the picture
  double x_low, x_high, y_low, y_high;           // at the plot's edges
  bool is_log;
} zk_chart_frame;
void zk_chart_frame_make(const zk_chart *chart, zk_chart_frame *out);

// <svg ...>...</svg>. `id` tells charts of one page apart; NULL: a file of its own, with its style sheet and a background. Errors stay in the
// stream.
void zk_chart_write(const zk_chart *chart, const char *id, FILE *out);
// The style sheet: colours and fonts, dark ones where the reader's system is dark.
void zk_chart_style_write(FILE *out);

// out[num_points]: each mean smoothed by an exponential moving average, whose beginning is not drawn towards 0 (Adam's bias correction; Kingma
// and Ba 2015, section 3). Series of less than ZK_CHART_LEAST_SMOOTHED points are as they are.
enum { ZK_CHART_LEAST_SMOOTHED = 20 };
void zk_chart_smooth(const zk_chart_series *series, double weight, double *out);

#endif
