// A chart around its series: title, legend, grid, ticks.
#include "shared/chart.h"

#include "shared/chart_impl.h"
#include "shared/markup.h"

static void write_text(FILE *out, double x, double y, const char *anchor, const char *class, const char *text) {
  fprintf(out, "<text x=\"%.1f\" y=\"%.1f\"", x, y);
  if (*anchor) fprintf(out, " text-anchor=\"%s\"", anchor);
  if (*class) fprintf(out, " class=\"%s\"", class);
  fputc('>', out);
  zk_markup_text(text, out);
  fputs("</text>", out);
}

static void write_rule(FILE *out, const char *class, double x1, double y1, double x2, double y2) {
  fprintf(out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", class, x1, y1, x2, y2);
}

static void write_axes(const zk_chart_layout *l, FILE *out) {
  const zk_chart_frame *f = &l->frame;
  char label[ZK_AXIS_LABEL_BYTES];
  fputs("<g class=\"y\">", out);
  for (int i = 0; i < l->y.num_ticks; i++) {
    double y = zk_chart_py(l, l->y.ticks[i]);
    write_rule(out, l->y.ticks[i] == 0 || i == 0 ? "base" : "grid", f->left, y, f->left + f->width, y);
    write_text(out, f->left - 6, y + 4, "end", "", zk_axis_label(&l->y, l->y.ticks[i], label));
  }
  fputs("</g>\n<g class=\"x\">", out);
  for (int i = 0; i < l->x.num_ticks; i++)
    write_text(out, zk_chart_px(l, l->x.ticks[i]), f->top + f->height + 16, "middle", "", zk_axis_label(&l->x, l->x.ticks[i], label));
  fputs("</g>", out);
  write_text(out, f->left - 12, f->top + f->height + 16, "end", "", "step");
  fputc('\n', out);
}

static void write_legend(const zk_chart *c, FILE *out) {
  for (int i = 0; i < c->num_series; i++) {
    double x = ZK_CHART_EDGE;
    int row = 0, color = c->series[i].color % ZK_CHART_NUM_COLORS;
    zk_chart_legend_place(c, i, &x, &row);
    double y = ZK_CHART_LEGEND_Y + row * ZK_CHART_LEGEND_ROW;
    if (c->kind == ZK_CHART_STACKED) fprintf(out, "<rect class=\"area f%d\" x=\"%.1f\" y=\"%.1f\" width=\"9\" height=\"9\" rx=\"2\"/>", color, x, y - 9);
    else fprintf(out, "<path class=\"line k%d%s\" d=\"M%.1f %.1fh10\"/>", color, c->series[i].color >= ZK_CHART_NUM_COLORS ? " dash" : "", x, y - 4);
    write_text(out, x + 14, y, "", "", c->series[i].name);
  }
  fputc('\n', out);
}

// What was cut off is told.
static void write_beyond(const zk_chart_layout *l, FILE *out) {
  if (!l->num_beyond) return;
  char text[96];
  snprintf(text, sizeof text, "%lld beyond, up to %.3g", (long long)l->num_beyond, l->highest);
  write_text(out, l->frame.left + l->frame.width, ZK_CHART_SUBTITLE_Y, "end", "", text);
}

void zk_chart_write(const zk_chart *c, const char *id, FILE *out) {
  zk_chart_layout l;
  zk_chart_layout_make(c, &l);
  const zk_chart_frame *f = &l.frame;
  fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 %d %.0f\" role=\"img\"", ZK_CHART_WIDTH, f->total_height);
  if (id) fprintf(out, " id=\"%s\"", id);
  else fprintf(out, " width=\"%d\" height=\"%.0f\"", ZK_CHART_WIDTH, f->total_height);
  fputs("><title>", out);
  zk_markup_text(c->title, out);
  fputs("</title>\n", out);
  if (!id) {
    fputs("<style>", out);
    zk_chart_style_write(out);
    fputs("</style><rect class=\"bg\" width=\"100%\" height=\"100%\"/>\n", out);
  }
  write_text(out, ZK_CHART_EDGE, ZK_CHART_TITLE_Y, "", "t", c->title);
  write_text(out, ZK_CHART_EDGE, ZK_CHART_SUBTITLE_Y, "", "", c->subtitle);
  write_beyond(&l, out);
  if (c->has_legend) write_legend(c, out);
  write_axes(&l, out);
  fprintf(out, "<clipPath id=\"%s-clip\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/></clipPath>"
               "<g clip-path=\"url(#%s-clip)\"><g class=\"plot\">\n",
          id ? id : "plot",
          f->left - 3, f->top - 3, f->width + 6, f->height + 6, id ? id : "plot");
  if (c->kind == ZK_CHART_STACKED) zk_chart_areas_write(c, &l, out);
  else zk_chart_lines_write(c, &l, out);
  fputs("</g></g></svg>\n", out);
}
