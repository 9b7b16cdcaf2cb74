// Counting, merging over ranks, printing.
#include "trainer/verify_report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
#define X(id, name, about) name,
    ZK_VERIFY_LIST(X)
#undef X
};
static const char *const abouts[] = {
#define X(id, name, about) about,
    ZK_VERIFY_LIST(X)
#undef X
};

void zk_verify_count(zk_verify_report *report, zk_verify_check check, int64_t num) {
  report->rows[check].total += (uint64_t)num;
  report->rows[check].checked += (uint64_t)num;
}

static bool is_before(const zk_verify_row *a, int64_t sample, int64_t position) {
  return a->sample != sample ? a->sample < sample : a->position <= position;
}

void zk_verify_differ(zk_verify_report *report, zk_verify_check check, int64_t sample, int64_t position,
                      const char *fmt, ...) {
  zk_verify_row *row = &report->rows[check];
  row->differing++;
  if (row->first[0] && is_before(row, sample, position)) return;
  row->sample = sample, row->position = position;
  va_list args;
  va_start(args, fmt);
  vsnprintf(row->first, sizeof row->first, fmt, args);
  va_end(args);
}

void zk_verify_skip(zk_verify_report *report, zk_verify_check check, int64_t num, const char *fmt, ...) {
  zk_verify_row *row = &report->rows[check];
  row->total += (uint64_t)num;
  if (row->unchecked[0]) return;
  va_list args;
  va_start(args, fmt);
  vsnprintf(row->unchecked, sizeof row->unchecked, fmt, args);
  va_end(args);
}

// `row` of one rank into `into`, which holds the same step's findings of lower ranks.
static void join(zk_verify_row *into, const zk_verify_row *row) {
  into->total += row->total, into->checked += row->checked, into->differing += row->differing;
  if (row->first[0] && (!into->first[0] || !is_before(into, row->sample, row->position))) {
    into->sample = row->sample, into->position = row->position;
    memcpy(into->first, row->first, sizeof into->first);
  }
  if (!into->unchecked[0]) memcpy(into->unchecked, row->unchecked, sizeof into->unchecked);
}

// A later step's findings behind earlier ones.
static void follow(zk_verify_row *total, const zk_verify_row *step) {
  total->total += step->total, total->checked += step->checked, total->differing += step->differing;
  if (!total->first[0]) memcpy(total->first, step->first, sizeof total->first);
  if (!total->unchecked[0]) memcpy(total->unchecked, step->unchecked, sizeof total->unchecked);
}

zk_status zk_verify_merge(zk_comm *comm, zk_verify_report *step, zk_verify_report *total) {
  void *all = NULL;
  ZK_TRY(zk_comm_all_gather(comm, step, sizeof *step, &all, NULL));
  const zk_verify_report *ranks = all;
  *step = ranks[0];
  for (int r = 1; r < zk_comm_size(comm); r++) {
    for (int c = 0; c < ZK_VERIFY_NUM_CHECKS; c++) join(&step->rows[c], &ranks[r].rows[c]);
    step->num_steps += ranks[r].num_steps, step->num_tokens += ranks[r].num_tokens;
  }
  free(all);
  for (int c = 0; c < ZK_VERIFY_NUM_CHECKS; c++) follow(&total->rows[c], &step->rows[c]);
  total->num_steps += step->num_steps, total->num_tokens += step->num_tokens;
  memset(step, 0, sizeof *step);
  return ZK_OK;
}

// ---- what it comes to ---------------------------------------------------------------------------------------------

typedef struct {
  uint64_t differing;
  const zk_verify_row *first_differing, *first_unchecked;
} verdict;

static verdict judge(const zk_verify_report *report) {
  verdict v = {0};
  for (int c = 0; c < ZK_VERIFY_NUM_CHECKS; c++) {
    const zk_verify_row *row = &report->rows[c];
    v.differing += row->differing;
    // A value says more than a digest of the file it is in.
    if (row->differing && (!v.first_differing || v.first_differing == &report->rows[ZK_VERIFY_DIGESTS]))
      v.first_differing = row;
    if (row->checked < row->total && !v.first_unchecked) v.first_unchecked = row;
  }
  return v;
}

static const char *summary(const verdict *v, char text[96]) {
  if (v->differing) {
    snprintf(text, 96, "%" PRIu64 " value%s%s", v->differing, v->differing == 1 ? " differs" : "s differ",
             v->first_unchecked ? ", and not everything could be checked" : "");
    return text;
  }
  return v->first_unchecked ? "nothing differs, but not everything could be checked" : "all equal";
}

static void print_row(const zk_verify_row *row, const char *name, FILE *out) {
  char counts[64];
  snprintf(counts, sizeof counts, "%" PRIu64 " of %" PRIu64, row->checked, row->total);
  fprintf(out, "%-16s  %24s  %9" PRIu64 "  %s\n", name, counts, row->differing, row->first[0] ? row->first : "-");
  if (row->checked < row->total) fprintf(out, "%-16s  %24s  %9s  not checked: %s\n", "", "", "", row->unchecked);
}

void zk_verify_print(const zk_verify_report *report, FILE *out) {
  fprintf(out, "%-16s  %24s  %9s  %s\n", "check", "checked", "differing", "first difference");
  for (int c = 0; c < ZK_VERIFY_NUM_CHECKS; c++)
    if (report->rows[c].total || report->rows[c].differing) print_row(&report->rows[c], names[c], out);
  verdict v = judge(report);
  char text[96];
  fprintf(out, "verify: %" PRId64 " step%s, %" PRId64 " tokens: %s\n", report->num_steps,
          report->num_steps == 1 ? "" : "s", report->num_tokens, summary(&v, text));
  if (report->off_policy[0])
    fprintf(out, "off-policy (%s): sampler and trainer were each compared with themselves; they are not equal, and nobody claims it\n",
            report->off_policy);
}

static json_t *row_json(const zk_verify_row *row, int check) {
  json_t *object =
      json_pack("{s:s, s:s, s:I, s:I, s:I}", "check", names[check], "about", abouts[check], "total",
                (json_int_t)row->total, "checked", (json_int_t)row->checked, "differing", (json_int_t)row->differing);
  if (object && row->first[0]) json_object_set_new(object, "first_difference", json_string(row->first));
  if (object && row->checked < row->total) json_object_set_new(object, "not_checked", json_string(row->unchecked));
  return object;
}

zk_status zk_verify_print_json(const zk_verify_report *report, FILE *out) {
  verdict v = judge(report);
  char text[96];
  json_t *rows = json_array();
  for (int c = 0; c < ZK_VERIFY_NUM_CHECKS; c++)
    if (report->rows[c].total || report->rows[c].differing) json_array_append_new(rows, row_json(&report->rows[c], c));
  json_t *root = json_pack("{s:I, s:I, s:b, s:b, s:s, s:o}", "steps", (json_int_t)report->num_steps, "tokens",
                           (json_int_t)report->num_tokens, "equal", !v.differing, "complete", !v.first_unchecked,
                           "summary", summary(&v, text), "checks", rows);
  if (report->off_policy[0]) json_object_set_new(root, "off_policy", json_string(report->off_policy));
  bool written = root && json_dumpf(root, out, JSON_INDENT(2)) == 0 && fputc('\n', out) != EOF;
  json_decref(root);
  return written ? ZK_OK : ZK_FAIL(ZK_IO, "cannot write the audit's JSON");
}

zk_status zk_verify_conclude(const zk_verify_report *report, const char *run_dir, bool partial) {
  verdict v = judge(report);
  char text[96];
  if (v.first_differing)
    return ZK_FAIL(ZK_MISMATCH, "%s: %s; first: %s", run_dir, summary(&v, text), v.first_differing->first);
  if (v.first_unchecked && !partial)
    return ZK_FAIL(ZK_BAD_ARCHIVE, "%s: not everything could be checked: %s (--partial allows that)", run_dir,
                   v.first_unchecked->unchecked);
  return ZK_OK;
}
