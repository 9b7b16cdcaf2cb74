// Charts as JSON for report.js. Each: id, what the chart says of itself, frame [left, top, width, height], x and y at the frame's edges, and its
// series: name, run, color, x, y, and where points stand for several steps also their last step, lowest and highest value.
#include "shared/markup.h"
#include "shared/report_parts.h"

typedef double point_value(const zk_chart_point *p);
static double first(const zk_chart_point *p) { return p->first; }
static double last(const zk_chart_point *p) { return p->last; }
static double mean(const zk_chart_point *p) { return p->mean; }
static double low(const zk_chart_point *p) { return p->low; }
static double high(const zk_chart_point *p) { return p->high; }

static void write_array(const zk_chart_series *s, const char *key, point_value *value, FILE *out) {
  fprintf(out, ",\"%s\":[", key);
  for (int64_t i = 0; i < s->num_points; i++) fprintf(out, "%s%.7g", i ? "," : "", value(&s->points[i]));
  fputc(']', out);
}

static void write_series(const zk_chart_series *s, FILE *out) {
  fputs("{\"name\":", out);
  zk_markup_json_string(s->name, out);
  fprintf(out, ",\"run\":%d,\"color\":%d", s->run, s->color % 10);
  write_array(s, "x", first, out);
  write_array(s, "y", mean, out);
  if (s->num_points && s->points[0].first < s->points[0].last) {
    write_array(s, "last", last, out);
    write_array(s, "low", low, out);
    write_array(s, "high", high, out);
  }
  fputc('}', out);
}

void zk_report_data_write(const zk_report_charts *charts, FILE *out) {
  fputs("[", out);
  for (int i = 0; i < charts->num_charts; i++) {
    const zk_chart c = zk_report_chart_on_page(&charts->charts[i]);
    zk_chart_frame f;
    zk_chart_frame_make(&c, &f);
    fprintf(out, "%s{\"id\":\"chart-%s\",\"stacked\":%d,\"log\":%d,\"whole\":%d,\"exact\":%d,"
                 "\"frame\":[%.9g,%.9g,%.9g,%.9g],\"x\":[%.9g,%.9g],\"y\":[%.9g,%.9g],\"series\":[", i ? ",\n" : "",
            charts->charts[i].id, c.kind == ZK_CHART_STACKED, f.is_log, c.whole_y, c.is_exact, f.left, f.top, f.width, f.height, f.x_low, f.x_high, f.y_low, f.y_high);
    for (int s = 0; s < c.num_series; s++) {
      if (s) fputc(',', out);
      write_series(&c.series[s], out);
    }
    fputs("]}", out);
  }
  fputs("]", out);
}
