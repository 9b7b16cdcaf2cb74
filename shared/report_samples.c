// Completions to read: of a few steps, a few prompts each, all that is known of a sample beside its text.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shared/log.h"
#include "shared/markup.h"
#include "shared/report_parts.h"
#include "shared/run_tokenizer.h"
#include "shared/token_text.h"
#include "shared/trajectory.h"

enum { MOST_SAMPLES = 8, MOST_TOKENS = 4096 };

// ---- text

static bool is_mismatch(const zk_trajectory *t, int64_t first, int64_t end) {
  for (int64_t k = first; k < end; k++)
    if (memcmp(&t->sampler_logprob[k], &t->trainer_logprob[k], sizeof(float))) return true;
  return false;
}

// A piece; its colour is that of its least likely token. What an environment replied has none, and is dimmed.
static void write_piece(const zk_trajectory *t, int64_t offset, const zk_token_text *text, const zk_token_piece *p, FILE *out) {
  const int64_t first = offset + p->first, end = offset + p->end;
  if (!t->loss_mask[end - 1]) {
    fputs("<i class=\"masked\" title=\"a reply of the environment\">", out);
    zk_markup_bytes(text->text + p->at, p->num_bytes, out);
    fputs("</i>", out);
    return;
  }
  float least = t->sampler_logprob[first];
  for (int64_t k = first; k < end; k++)
    if (!(t->sampler_logprob[k] >= least)) least = t->sampler_logprob[k];
  fprintf(out, "<i class=\"p%d%s\" title=\"", zk_token_band((double)least), is_mismatch(t, first, end) ? " differs" : "");
  for (int64_t k = first; k < end; k++)
    fprintf(out, "%stoken %lld, id %d: ln p = %.4g (%.3g%%)", k > first ? "\n" : "", (long long)(k - offset), (int)t->sample_tokens[k],
            (double)t->sampler_logprob[k], 100 * exp((double)t->sampler_logprob[k]));
  fputs("\">", out);
  zk_markup_bytes(text->text + p->at, p->num_bytes, out);
  fputs("</i>", out);
}

static zk_status write_completion(const zk_trajectory *t, int64_t i, const zk_tokenizer *tokenizer, FILE *out) {
  int64_t first = t->sample_offsets[i], num = t->sample_offsets[i + 1] - first, shown = num < MOST_TOKENS ? num : MOST_TOKENS;
  zk_token_text text;
  ZK_TRY(zk_token_text_make(tokenizer, t->sample_tokens + first, shown, &text));
  fputs("<details class=\"text\"><summary>", out);
  for (int64_t k = 0; k < text.num_pieces; k++) write_piece(t, first, &text, &text.pieces[k], out);
  if (!num) fputs("<span class=\"note\">no token</span>", out);
  if (shown < num) fprintf(out, "<span class=\"note\"> \u2026 and %lld more tokens</span>", (long long)(num - shown));
  fputs("</summary></details>", out);
  zk_token_text_free(&text);
  return ZK_OK;
}

static zk_status write_prompt(const zk_trajectory *t, int64_t p, const zk_tokenizer *tokenizer, FILE *out) {
  zk_token_text text;
  ZK_TRY(zk_token_text_make(tokenizer, t->prompt_tokens + t->prompt_offsets[p], t->prompt_offsets[p + 1] - t->prompt_offsets[p], &text));
  fprintf(out, "<h4>Prompt %llu</h4><pre class=\"prompt\">", (unsigned long long)t->prompt_id[p]);
  zk_markup_bytes(text.text, text.num_bytes, out);
  fputs("</pre>\n", out);
  zk_token_text_free(&text);
  return ZK_OK;
}

// ---- rows

// `name`: the column's, which narrow pages show in each cell.
static void number_cell(const char *name, double value, const char *format, FILE *out) {
  char text[48] = "\u2013";
  if (isfinite(value)) snprintf(text, sizeof text, format, value); // formats are this file's own
  fputs("<td class=\"num\" data-name=\"", out);
  zk_markup_text(name, out);
  fprintf(out, "\">%s</td>", text);
}

static double mean_logprob(const zk_trajectory *t, int64_t i) {
  double sum = 0;
  for (int64_t k = t->sample_offsets[i]; k < t->sample_offsets[i + 1]; k++)
    if (t->loss_mask[k]) sum += (double)t->sampler_logprob[k];
  return sum / (double)zk_trajectory_num_sampled(t, i, i + 1);
}

static zk_status write_sample(const zk_trajectory *t, int64_t i, const zk_tokenizer *tokenizer, FILE *out) {
  fputs("<tr>", out);
  number_cell("sample", (double)t->sample_index[i], "%.0f", out);
  number_cell("reward", (double)t->reward[i], "%.4g", out);
  for (int k = 0; k < t->num_components; k++) number_cell(t->component_names[k], (double)t->reward_component[i * t->num_components + k], "%.4g", out);
  number_cell("advantage", (double)t->advantage[i], "%+.3f", out);
  number_cell("tokens", (double)zk_trajectory_num_sampled(t, i, i + 1), "%.0f", out);
  number_cell("mean ln p", mean_logprob(t, i), "%.3f", out);
  fprintf(out, "<td data-name=\"end\">%s", zk_finish_reason_text(t->finish_reason[i]));
  if (t->reward_detail[i]) fprintf(out, "<br><span class=\"bad\">reward: %s</span>", zk_reward_detail_text(t->reward_detail[i]));
  fputs("</td><td class=\"wide\">", out);
  ZK_TRY(write_completion(t, i, tokenizer, out));
  fputs("</td></tr>\n", out);
  return ZK_OK;
}

static zk_status write_group(const zk_trajectory *t, int64_t p, const zk_tokenizer *tokenizer, FILE *out) {
  int64_t first = 0, num = 0, shown = 0;
  while (first < t->num_samples && t->prompt_index[first] != p) first++;
  while (first + num < t->num_samples && t->prompt_index[first + num] == p) num++;
  ZK_TRY(write_prompt(t, p, tokenizer, out));
  fputs("<div class=\"scroll\"><table class=\"samples\"><thead><tr><th class=\"num\">sample</th><th class=\"num\">reward</th>", out);
  for (int k = 0; k < t->num_components; k++) {
    fputs("<th class=\"num\">", out);
    zk_markup_text(t->component_names[k], out);
    fputs("</th>", out);
  }
  fputs("<th class=\"num\">advantage</th><th class=\"num\">tokens</th><th class=\"num\">mean ln p</th><th>end</th><th>completion</th></tr></thead><tbody>\n",
        out);
  for (; shown < num && shown < MOST_SAMPLES; shown++) ZK_TRY(write_sample(t, first + shown, tokenizer, out));
  fputs("</tbody></table></div>\n", out);
  if (shown < num) fprintf(out, "<p class=\"note\">The first %lld of %lld samples.</p>\n", (long long)shown, (long long)num);
  return ZK_OK;
}

// ---- steps

static zk_status write_step(const zk_report_run *run, int64_t step, bool is_open, const zk_report_options *options, FILE *out) {
  zk_trajectory t;
  zk_tokenizer *tokenizer = NULL;
  bool sealed;
  zk_path path = zk_run_dir_trajectory_path(&run->dir, step);
  fprintf(out, "<details class=\"step\"%s><summary>Step %lld</summary>\n", is_open ? " open" : "", (long long)step);
  zk_status st = zk_trajectory_read_unsealed(path.s, &t, &sealed);
  if (st == ZK_OK) {
    st = zk_run_tokenizer_load(run->dir.path.s, NULL, t.tokenizer_hash, &tokenizer);
    if (st == ZK_OK && !sealed) fputs("<p class=\"note bad\">These values do not match the file's content_hash: it was altered.</p>", out);
    for (int64_t p = 0; st == ZK_OK && p < t.num_prompts && p < options->num_groups; p++) st = write_group(&t, p, tokenizer, out);
    zk_tokenizer_free(tokenizer);
    zk_trajectory_free(&t);
  }
  if (st != ZK_OK && st != ZK_OUT_OF_MEMORY) { // one file is damaged: the rest of the report is not
    ZK_LOG(WARN, "report", "%s", zk_status_message());
    fputs("<p class=\"note bad\">", out);
    zk_markup_text(zk_status_message(), out);
    fputs("</p>", out);
    st = ZK_OK;
  }
  fputs("</details>\n", out);
  return st;
}

static zk_status write_run(const zk_report_runs *runs, const zk_report_run *run, const zk_report_options *options, FILE *out) {
  int64_t *steps = NULL;
  size_t num = 0;
  zk_status st = zk_run_dir_list_trajectories(&run->dir, &steps, &num);
  size_t shown = num < (size_t)options->num_steps ? num : (size_t)options->num_steps;
  fprintf(out, "<section class=\"r%d\">", run->number);
  if (runs->num_runs > 1) {
    fprintf(out, "<h3><span class=\"swatch b%d\"></span>", run->number % 10);
    zk_markup_text(run->name, out);
    fputs("</h3>\n", out);
  }
  if (st == ZK_OK && !num) fputs("<p class=\"note\">This run has no trajectory files.</p>", out);
  for (size_t i = shown; st == ZK_OK && i-- > 0;) { // the last first
    size_t at = shown > 1 ? i * (num - 1) / (shown - 1) : num - 1;
    st = write_step(run, steps[at], i + 1 == shown && runs->num_runs == 1, options, out);
  }
  fputs("</section>\n", out);
  free(steps);
  return st;
}

zk_status zk_report_samples_write(const zk_report_runs *runs, const zk_report_options *options, FILE *out) {
  fputs("<p class=\"note\">A token's colour is how likely the sampler found it: ", out);
  for (int b = 0; b < ZK_TOKEN_NUM_BANDS; b++) fprintf(out, "<i class=\"p%d key\">%s</i> ", b, zk_token_band_text(b));
  bool has_replies = false;
  for (int r = 0; r < runs->num_runs; r++) has_replies |= runs->runs[r].config && runs->runs[r].config->command.turns > 1;
  if (has_replies) fputs("Replies of the environment are <i class=\"masked\">dimmed</i>. ", out);
  fputs("A pointer over it shows the number; a click on a completion shows all of it.</p>\n", out);
  for (int r = 0; r < runs->num_runs; r++) ZK_TRY(write_run(runs, &runs->runs[r], options, out));
  return ZK_OK;
}
