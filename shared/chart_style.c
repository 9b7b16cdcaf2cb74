// Colours and fonts of charts.
#include "shared/chart.h"
#include "shared/chart_impl.h"

// Apart in hue and in lightness, so that red-green blindness leaves them apart; on white and on near-black 3:1 and more.
static const char *const palette[ZK_CHART_NUM_COLORS][2] = {
    {"#0069b4", "#5aacff"}, // blue
    {"#d1520a", "#ff8f45"}, // vermilion
    {"#00866b", "#35d3a4"}, // green
    {"#b03f8f", "#f59ad6"}, // pink
    {"#8f7000", "#e6c552"}, // ochre
    {"#3a97cf", "#a6dcff"}, // sky
    {"#6a4cc0", "#b7a3ff"}, // violet
    {"#6b747d", "#98a2ad"}, // grey
    {"#7d4a26", "#cf9f78"}, // brown
    {"#252b31", "#eef1f4"}, // ink
};

static void write_palette(FILE *out, int dark) {
  for (int i = 0; i < ZK_CHART_NUM_COLORS; i++)
    fprintf(out, ".k%d{stroke:%s}.f%d{fill:%s}.b%d{background:%s}", i, palette[i][dark], i, palette[i][dark], i, palette[i][dark]);
}

static void write_ground(FILE *out, const char *back, const char *text, const char *muted, const char *grid, const char *axis) {
  fprintf(out, ".bg{fill:%s}.chart text{fill:%s}.chart .t{fill:%s}.grid{stroke:%s}.base{stroke:%s}\n", back, muted, text, grid, axis);
}

void zk_chart_style_write(FILE *out) {
  fputs(".chart text{font:11px system-ui,-apple-system,'Segoe UI',Roboto,Ubuntu,'DejaVu Sans',sans-serif}"
        ".chart .t{font-size:13px;font-weight:600}.grid,.base{stroke-width:1;shape-rendering:crispEdges}"
        ".line,.raw{fill:none;stroke-linejoin:round;stroke-linecap:round}.line{stroke-width:1.8}"
        ".dots{fill:none;stroke-linecap:round;stroke-width:4.4}.raw{stroke-width:1;stroke-opacity:.32}"
        ".band{fill-opacity:.2}.area{fill-opacity:.88}.dash{stroke-dasharray:6 4}\n",
        out);
  write_ground(out, "#ffffff", "#1b2027", "#57606a", "#e6eaee", "#b4bcc4");
  write_palette(out, 0);
  fputs("\n@media (prefers-color-scheme:dark){", out);
  write_ground(out, "#14181d", "#e8ecf0", "#a3adb8", "#2a3138", "#4b555f");
  write_palette(out, 1);
  fputs("}\n", out);
}
