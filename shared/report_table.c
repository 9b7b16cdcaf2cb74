// Runs in a table, and what their configs have different.
#include <math.h>
#include <string.h>

#include "shared/markup.h"
#include "shared/report_parts.h"

// ---- a row a run

static void cell(const char *text, const char *class, FILE *out) {
  fprintf(out, "<td%s%s%s>", *class ? " class=\"" : "", class, *class ? "\"" : "");
  zk_markup_text(text, out);
  fputs("</td>", out);
}

// "0.400 → 0.490": a metric's first and last value.
static void ends_cell(const zk_report_run *run, const char *key, FILE *out) {
  double first, last;
  char text[64] = "\u2013";
  if (zk_report_ends(run, key, &first, &last)) snprintf(text, sizeof text, "%.3f \u2192 %.3f", first, last);
  cell(text, "num", out);
}

// A count below 10^15 with its digits in threes: "152,881".
static const char *grouped(double count, char out[32]) {
  char digits[20];
  int n = snprintf(digits, sizeof digits, "%lld", (long long)count), used = 0;
  for (int i = 0; i < n; i++) {
    if (i && (n - i) % 3 == 0) out[used++] = ',';
    out[used++] = digits[i];
  }
  out[used] = 0;
  return out;
}

static void mismatch_cell(const zk_report_run *run, FILE *out) {
  double first, last, tokens = zk_report_sum(run, "tokens/generated"), wrong = zk_report_sum(run, "mismatch/tokens");
  char text[96] = "\u2013", total[32];
  if (zk_report_ends(run, "mismatch/tokens", &first, &last)) snprintf(text, sizeof text, "%.0f of %s", wrong, grouped(tokens, total));
  cell(text, wrong > 0 ? "num bad" : "num", out);
}

static const char *duration(double seconds, char out[48]) {
  if (seconds < 120) snprintf(out, 48, "%.1f s", seconds);
  else if (seconds < 7200) snprintf(out, 48, "%.1f min", seconds / 60);
  else snprintf(out, 48, "%.1f h", seconds / 3600);
  return out;
}

// A line "key: value" of an identity text; "" when there is none.
static const char *identity_value(const zk_report_run *run, const char *key, char out[256]) {
  size_t n = strlen(key);
  out[0] = 0;
  for (const char *line = run->identity ? run->identity : ""; *line; line += strcspn(line, "\n"), line += *line == '\n')
    if (!strncmp(line, key, n) && line[n] == ':') snprintf(out, 256, "%.*s", (int)strcspn(line + n + 2, "\n"), line + n + 2);
  return out;
}

static void run_row(const zk_report_run *run, FILE *out) {
  char text[256], value[256];
  int64_t last = run->metrics ? zk_metrics_last_step(run->metrics) : -1;
  json_t *line = run->metrics ? zk_metrics_find(run->metrics, last) : NULL;
  fprintf(out, "<tr class=\"r%d\"><th><span class=\"swatch b%d\"></span>", run->number, run->number % 10);
  zk_markup_text(run->name, out);
  fputs("</th>", out);
  cell(identity_value(run, "task.name", value), "", out);
  cell(identity_value(run, "algorithm.name", value), "", out);
  cell(run->config ? zk_config_describe_numerics(run->config).s : identity_value(run, "numerics", value), "", out);
  if (run->config && last <= run->config->run.steps) snprintf(text, sizeof text, "%lld of %d", (long long)(last < 0 ? 0 : last), run->config->run.steps);
  else snprintf(text, sizeof text, "%lld", (long long)(last < 0 ? 0 : last));
  cell(text, "num", out);
  ends_cell(run, "reward/mean", out);
  ends_cell(run, "eval/accuracy", out);
  mismatch_cell(run, out);
  cell(duration(zk_report_sum(run, "time/step"), value), "num", out);
  const char *hash = json_string_value(json_object_get(line, "weights/hash"));
  cell(hash ? hash : "\u2013", "mono", out);
  fputs("</tr>\n", out);
}

// ---- what differs

// The next line's key of an identity text (sorted lines "key: value"), and where its line ends.
static int key_bytes(const char *line) { return (int)strcspn(line, ":\n"); }
static const char *next_line(const char *line) { return line + strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n'); }

static bool differs(const zk_report_runs *runs, const char *key) {
  char first[256], other[256];
  identity_value(&runs->runs[0], key, first);
  for (int r = 1; r < runs->num_runs; r++)
    if (strcmp(first, identity_value(&runs->runs[r], key, other))) return true;
  return false;
}

static bool has_key(const zk_report_run *run, const char *key) {
  size_t n = strlen(key);
  for (const char *line = run->identity; *line; line = next_line(line))
    if ((size_t)key_bytes(line) == n && !strncmp(line, key, n)) return true;
  return false;
}

static void difference_row(const zk_report_runs *runs, const char *key, FILE *out) {
  char value[256];
  fputs("<tr><th class=\"mono\">", out);
  zk_markup_text(key, out);
  fputs("</th>", out);
  for (int r = 0; r < runs->num_runs; r++) cell(has_key(&runs->runs[r], key) ? identity_value(&runs->runs[r], key, value) : "\u2013", "mono", out);
  fputs("</tr>\n", out);
}

// Every key that some run has, once: those of a run that no run before it has.
static int difference_rows(const zk_report_runs *runs, FILE *out) {
  int num = 0;
  for (int r = 0; r < runs->num_runs; r++)
    for (const char *line = runs->runs[r].identity; *line; line = next_line(line)) {
      char key[256];
      snprintf(key, sizeof key, "%.*s", key_bytes(line), line);
      bool is_new = true;
      for (int k = 0; k < r; k++) is_new &= !has_key(&runs->runs[k], key);
      if (!is_new || !differs(runs, key)) continue;
      if (out) difference_row(runs, key, out);
      num++;
    }
  return num;
}

static void write_differences(const zk_report_runs *runs, FILE *out) {
  for (int r = 0; r < runs->num_runs; r++)
    if (!runs->runs[r].identity) return;
  if (!difference_rows(runs, NULL)) {
    fputs("<p class=\"note\">These runs have the same config, but for keys that no bit depends on.</p>\n", out);
    return;
  }
  fputs("<details open><summary>What their configs have different</summary><div class=\"scroll\"><table><thead><tr><th>key</th>", out);
  for (int r = 0; r < runs->num_runs; r++) {
    fprintf(out, "<th><span class=\"swatch b%d\"></span>", r % 10);
    zk_markup_text(runs->runs[r].name, out);
    fputs("</th>", out);
  }
  fputs("</tr></thead><tbody>\n", out);
  difference_rows(runs, out);
  fputs("</tbody></table></div></details>\n", out);
}

void zk_report_runs_write(const zk_report_runs *runs, FILE *out) {
  fputs("<div class=\"scroll\"><table class=\"runs\"><thead><tr><th>run</th><th>task</th><th>algorithm</th><th>numerics</th><th class=\"num\">steps</th>"
        "<th class=\"num\">reward</th><th class=\"num\">held-out accuracy</th><th class=\"num\">tokens that differ</th><th class=\"num\">time</th>"
        "<th>weights/hash</th></tr></thead><tbody>\n",
        out);
  for (int r = 0; r < runs->num_runs; r++) run_row(&runs->runs[r], out);
  fputs("</tbody></table></div>\n", out);
  if (runs->num_runs > 1) write_differences(runs, out);
}
