// What goes where: axes from the values, the plot from what stands around it.
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shared/chart_impl.h"

enum { LEFT = 54, RIGHT = 14, PLOT_HEIGHT = 156, BOTTOM = 26, X_TICKS = 6, Y_TICKS = 4 };
enum { LEGEND_GAP = 2, SWATCH = 14, LETTER_TENTHS = 62, ITEM_GAP = 12 };

typedef struct {
  double x_low, x_high, low, high;
  double least_positive; // 0: none
  int64_t num;
} extent;

static void take(extent *e, double low, double high) {
  if (!e->num || low < e->low) e->low = low;
  if (!e->num || high > e->high) e->high = high;
  double positive = low > 0 ? low : high;
  if (positive > 0 && (!e->least_positive || positive < e->least_positive)) e->least_positive = positive;
  e->num++;
}

static extent extent_of(const zk_chart *c) {
  extent e = {.x_high = 1, .high = 1};
  bool any = false;
  for (int s = 0; s < c->num_series; s++)
    for (int64_t i = 0; i < c->series[s].num_points; i++) {
      const zk_chart_point *p = &c->series[s].points[i];
      if (!any || p->first < e.x_low) e.x_low = p->first;
      if (!any || p->last > e.x_high) e.x_high = p->last;
      any = true;
      if (c->kind == ZK_CHART_LINES) take(&e, p->low, p->high);
    }
  if (c->kind == ZK_CHART_STACKED && c->num_series)
    for (int64_t i = 0; i < c->series[0].num_points; i++) {
      double sum = 0;
      for (int s = 0; s < c->num_series; s++) sum += c->series[s].points[i].mean;
      take(&e, 0, fmin(sum, DBL_MAX));
    }
  return e;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Tops of all points, sorted; malloc'ed, NULL when there are none (or no memory: then nothing is cut).
static double *sorted_tops(const zk_chart *c, int64_t num) {
  double *tops = num ? malloc((size_t)num * sizeof *tops) : NULL;
  int64_t n = 0;
  for (int s = 0; tops && s < (c->kind == ZK_CHART_STACKED ? 1 : c->num_series); s++)
    for (int64_t i = 0; i < c->series[s].num_points; i++) {
      double top = c->series[s].points[i].high;
      if (c->kind == ZK_CHART_STACKED) top = 0;
      for (int k = 0; c->kind == ZK_CHART_STACKED && k < c->num_series; k++) top += c->series[k].points[i].mean;
      tops[n++] = top;
    }
  if (tops) qsort(tops, (size_t)n, sizeof *tops, compare);
  return tops;
}

// Where the axis ends when the last 3% of the values are more than twice as high as the rest.
static double cut_high(const zk_chart *c, const extent *e, int64_t *num_beyond) {
  double *tops = sorted_tops(c, e->num), high = e->high;
  if (tops && e->num >= ZK_CHART_LEAST_SMOOTHED) {
    double bulk = tops[(int64_t)(0.97 * (double)(e->num - 1))];
    if (bulk > 0 && high > 2 * bulk) high = 1.2 * bulk;
    while (*num_beyond < e->num && tops[e->num - 1 - *num_beyond] > high) ++*num_beyond;
  }
  free(tops);
  return high;
}

void zk_chart_layout_make(const zk_chart *c, zk_chart_layout *out) {
  memset(out, 0, sizeof *out);
  extent e = extent_of(c);
  out->highest = e.high;
  double high = c->cut_outliers ? cut_high(c, &e, &out->num_beyond) : e.high, low = e.low;
  if (c->x_low < c->x_high) e.x_low = c->x_low, e.x_high = c->x_high;
  if (e.x_high - e.x_low < 1) e.x_low -= 0.5, e.x_high += 0.5; // one step
  if (low > 0 && low < 0.4 * high) low = 0;
  zk_axis_fit(e.x_low, e.x_high, X_TICKS, true, true, &out->x);
  if (c->log_y && e.least_positive > 0) zk_axis_fit_log(e.least_positive, e.high, &out->y);
  else zk_axis_fit(low, high, Y_TICKS, c->whole_y, false, &out->y);
  double x;
  int row, rows = c->has_legend ? zk_chart_legend_place(c, 0, &x, &row) : 0;
  double top = ZK_CHART_TOP + rows * ZK_CHART_LEGEND_ROW + (rows ? LEGEND_GAP : 0);
  out->frame = (zk_chart_frame){LEFT, top, ZK_CHART_WIDTH - LEFT - RIGHT, PLOT_HEIGHT, top + PLOT_HEIGHT + BOTTOM, out->x.low, out->x.high,
                                out->y.low, out->y.high, out->y.is_log};
}

void zk_chart_frame_make(const zk_chart *chart, zk_chart_frame *out) {
  zk_chart_layout l;
  zk_chart_layout_make(chart, &l);
  *out = l.frame;
}

double zk_chart_px(const zk_chart_layout *l, double x) { return l->frame.left + l->frame.width * zk_axis_place(&l->x, x); }
double zk_chart_py(const zk_chart_layout *l, double y) { return l->frame.top + l->frame.height * (1 - zk_axis_place(&l->y, y)); }

// Letters are taken to be 6.2 wide, which system fonts of size 11 hardly exceed.
static double item_width(const char *name) {
  int letters = 0;
  for (const char *c = name; *c; c++) letters += ((unsigned char)*c & 0xc0) != 0x80;
  return SWATCH + 0.1 * LETTER_TENTHS * letters + ITEM_GAP;
}

int zk_chart_legend_place(const zk_chart *c, int item, double *x, int *row) {
  double at = ZK_CHART_EDGE;
  int rows = 0;
  for (int i = 0; i < c->num_series; i++) {
    double width = item_width(c->series[i].name);
    if (i && at + width > ZK_CHART_WIDTH) at = ZK_CHART_EDGE, rows++;
    if (i == item) *x = at, *row = rows;
    at += width;
  }
  return rows + 1;
}
