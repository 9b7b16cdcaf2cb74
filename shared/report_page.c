// The page around its parts.
#include <stdio.h>
#include <string.h>

#include "shared/markup.h"
#include "shared/report_parts.h"
#include "shared/version.h"

static void write_head(const zk_report_runs *runs, FILE *out) {
  fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\"><title>",
        out);
  for (int r = 0; r < runs->num_runs; r++) {
    if (r) fputs(", ", out);
    zk_markup_text(runs->runs[r].name, out);
  }
  fputs(" \u00b7 zerokl report</title>\n<style>\n", out);
  zk_chart_style_write(out);
  fputs(zk_report_css, out);
  fputs("</style></head><body>\n", out);
}

// What stays in sight: which run is which, and what changes all charts at once. Without scripts only the names are of use.
static void write_bar(const zk_report_runs *runs, const zk_report_options *options, FILE *out) {
  fputs("<div class=\"bar\"><div class=\"names\">", out);
  for (int r = 0; r < runs->num_runs; r++) {
    fprintf(out, "<label><input type=\"checkbox\" data-run=\"%d\" checked><span class=\"swatch b%d%s\"></span>", r, r % 10, r >= 10 ? " dashed" : "");
    zk_markup_text(runs->runs[r].name, out);
    fputs("</label>", out);
  }
  fprintf(out, "</div><div class=\"controls\"><label>smoothing <input id=\"smoothing\" type=\"range\" min=\"0\" max=\"0.99\" step=\"0.01\" value=\"%.2f\">"
               "<output id=\"weight\">%.2f</output></label><button id=\"all\" type=\"button\" hidden>all steps</button>"
               "<input id=\"filter\" type=\"search\" placeholder=\"metric\" aria-label=\"show only metrics with this in their name\"></div></div>\n",
          options->smoothing, options->smoothing);
}

static void write_chart(const zk_report_chart *c, FILE *out) {
  char id[160];
  snprintf(id, sizeof id, "chart-%s", c->id); // no section has such an id
  fprintf(out, "<figure data-key=\"%s ", c->id);
  zk_markup_text(c->subtitle, out);
  fputc(' ', out);
  zk_markup_text(c->title, out);
  fputs("\">", out);
  const zk_chart chart = zk_report_chart_on_page(c);
  zk_chart_write(&chart, id, out);
  fputs("</figure>\n", out);
}

// The charts of one group, in order; their number.
static int write_group(const zk_report_charts *charts, const char *group, FILE *out) {
  int num = 0;
  for (int i = 0; i < charts->num_charts; i++)
    if (!strcmp(charts->charts[i].group, group) && charts->charts[i].chart.num_series) {
      if (!num++) fputs("<div class=\"charts\">\n", out);
      write_chart(&charts->charts[i], out);
    }
  if (num) fputs("</div>\n", out);
  return num;
}

static bool is_first_of_group(const zk_report_charts *charts, int i) {
  for (int k = 0; k < i; k++)
    if (!strcmp(charts->charts[k].group, charts->charts[i].group)) return false;
  return true;
}

static void write_more(const zk_report_charts *charts, FILE *out) {
  for (int i = 0; i < charts->num_charts; i++) {
    const char *group = charts->charts[i].group;
    if (!*group || !strcmp(group, "phases") || !is_first_of_group(charts, i)) continue;
    fprintf(out, "<details class=\"more\"%s><summary>", strcmp(group, "reward") ? "" : " open");
    zk_markup_text(group, out);
    fputs("</summary>\n", out);
    write_group(charts, group, out);
    fputs("</details>\n", out);
  }
}

zk_status zk_report_page_write(const zk_report_runs *runs, const zk_report_charts *charts, const zk_report_options *options, FILE *out) {
  write_head(runs, out);
  fputs("<header><h1>zerokl report</h1></header>\n<main>\n<section id=\"runs\">", out);
  zk_report_runs_write(runs, out);
  fputs("</section>\n", out);
  write_bar(runs, options, out);
  fputs("<section id=\"curves\"><h2>Curves</h2>\n", out);
  if (!write_group(charts, "", out)) fputs("<p class=\"note\">There are no metrics yet.</p>", out);
  fputs("</section>\n<section id=\"time\"><h2>Time</h2>\n", out);
  if (!write_group(charts, "phases", out)) fputs("<p class=\"note\">No step is finished yet.</p>", out);
  fputs("</section>\n<section id=\"more\"><h2>All other metrics</h2>\n", out);
  write_more(charts, out);
  fputs("</section>\n", out);
  if (options->num_steps && options->num_groups) {
    fputs("<section id=\"samples\"><h2>Completions</h2>\n", out);
    ZK_TRY(zk_report_samples_write(runs, options, out));
    fputs("</section>\n", out);
  }
  fprintf(out, "</main><footer>zerokl %s</footer>\n<script type=\"application/json\" id=\"data\">", zk_version());
  zk_report_data_write(charts, out);
  fputs("</script>\n<script>\n", out);
  fputs(zk_report_js, out);
  fputs("</script></body></html>\n", out);
  return ZK_OK;
}
