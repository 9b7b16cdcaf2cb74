// The series of a chart as paths.
#include <stdlib.h>

#include "shared/chart_impl.h"

enum { MOST_DOTS = 40 };
#define HALF_STEP 0.5

static double middle(const zk_chart_point *p) { return 0.5 * (p->first + p->last); }
static const char *dash(int color) { return color >= ZK_CHART_NUM_COLORS ? " dash" : ""; }

// Keeps what is far outside the plot near it: viewers lose precision with huge coordinates. A value that a logarithmic axis has no place for is
// at its low end.
static double py_near(const zk_chart_layout *l, double y) {
  double at = l->y.is_log && !(y > 0) ? l->frame.top + l->frame.height : zk_chart_py(l, y), room = 10 * l->frame.height;
  return at < -room ? -room : at > room ? room : at;
}

// ---- lines

static void write_path(const zk_chart_series *s, const zk_chart_layout *l, const double *values, const char *class, FILE *out) {
  fprintf(out, "<path class=\"%s k%d%s\" d=\"", class, s->color % ZK_CHART_NUM_COLORS, dash(s->color));
  for (int64_t i = 0; i < s->num_points; i++)
    fprintf(out, "%c%.1f %.1f", i ? 'L' : 'M', zk_chart_px(l, middle(&s->points[i])), py_near(l, values ? values[i] : s->points[i].mean));
  fputs("\"/>", out);
}

// From the lowest to the highest of each point's steps: there on the way out, back at the bottom.
static void write_band(const zk_chart_series *s, const zk_chart_layout *l, FILE *out) {
  fprintf(out, "<path class=\"band f%d\" d=\"", s->color % ZK_CHART_NUM_COLORS);
  for (int64_t i = 0; i < s->num_points; i++)
    fprintf(out, "%c%.1f %.1f", i ? 'L' : 'M', zk_chart_px(l, middle(&s->points[i])), py_near(l, s->points[i].high));
  for (int64_t i = s->num_points; i-- > 0;) fprintf(out, "L%.1f %.1f", zk_chart_px(l, middle(&s->points[i])), py_near(l, s->points[i].low));
  fputs("Z\"/>", out);
}

// Ends of lines of no length, which are round, and stay round where a page stretches the plot.
static void write_dots(const zk_chart_series *s, const zk_chart_layout *l, FILE *out) {
  fprintf(out, "<path class=\"dots k%d\" d=\"", s->color % ZK_CHART_NUM_COLORS);
  for (int64_t i = 0; i < s->num_points; i++) fprintf(out, "M%.1f %.1fh.01", zk_chart_px(l, middle(&s->points[i])), py_near(l, s->points[i].mean));
  fputs("\"/>", out);
}

static void write_series(const zk_chart_series *s, const zk_chart_layout *l, double smoothing, FILE *out) {
  double *smooth = malloc((size_t)s->num_points * sizeof *smooth);
  bool is_merged = s->points[0].first < s->points[0].last;
  if (smooth) zk_chart_smooth(s, smoothing, smooth);
  fprintf(out, "<g class=\"r%d\">", s->run);
  if (is_merged) write_band(s, l, out);
  else if (s->num_points >= ZK_CHART_LEAST_SMOOTHED) write_path(s, l, NULL, "raw", out);
  write_path(s, l, smooth, "line", out);
  if (s->num_points <= MOST_DOTS) write_dots(s, l, out);
  fputs("</g>\n", out);
  free(smooth);
}

void zk_chart_lines_write(const zk_chart *chart, const zk_chart_layout *l, FILE *out) {
  for (int i = chart->num_series - 1; i >= 0; i--) // the first on top
    if (chart->series[i].num_points) write_series(&chart->series[i], l, chart->smoothing, out);
}

// ---- areas

// The top of series `top`'s area at point i: the sum of all up to it. -1: the ground.
static double height_at(const zk_chart *c, int top, int64_t i) {
  double sum = 0;
  for (int s = 0; s <= top; s++) sum += c->series[s].points[i].mean;
  return sum;
}

static double edge_x(const zk_chart *c, const zk_chart_layout *l, int64_t i, int side) { // one point has a width, of a step
  const zk_chart_series *s = &c->series[0];
  return zk_chart_px(l, middle(&s->points[i]) + (s->num_points == 1 ? side * HALF_STEP : 0));
}

static void write_area(const zk_chart *c, const zk_chart_layout *l, int s, FILE *out) {
  const int64_t num = c->series[0].num_points;
  fprintf(out, "<path class=\"area f%d\" d=\"", c->series[s].color % ZK_CHART_NUM_COLORS);
  for (int64_t i = 0; i < num; i++)
    for (int side = -1; side <= (num == 1 ? 1 : -1); side += 2)
      fprintf(out, "%c%.1f %.1f", i || side > 0 ? 'L' : 'M', edge_x(c, l, i, side), py_near(l, height_at(c, s, i)));
  for (int64_t i = num; i-- > 0;)
    for (int side = num == 1 ? 1 : -1; side >= -1; side -= 2)
      fprintf(out, "L%.1f %.1f", edge_x(c, l, i, side), py_near(l, height_at(c, s - 1, i)));
  fputs("Z\"/>\n", out);
}

void zk_chart_areas_write(const zk_chart *chart, const zk_chart_layout *l, FILE *out) {
  for (int s = 0; s < chart->num_series; s++)
    if (chart->series[0].num_points) write_area(chart, l, s, out);
}
