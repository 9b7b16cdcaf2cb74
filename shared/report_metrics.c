// The table of known metrics, and the list of those that runs have.
#include "shared/report_metrics.h"

#include <stdlib.h>
#include <string.h>

enum { MAIN = 1, WHOLE = 2, CUT = 4, EXACT = 8 };
static const struct {
  const char *key, *title, *unit; // a key that ends in @ is the beginning of keys
  int flags;
} known[] = {
    {"reward/mean", "Reward", "mean of the step's samples", MAIN},
    {"eval/accuracy", "Held-out accuracy", "greedy", MAIN},
    {"eval/avg@", "Held-out accuracy", "mean of that many samples", MAIN},
    {"eval/pass@", "Held-out items solved", "by some of that many samples", MAIN},
    {"policy/loss", "Loss", "", MAIN},
    {"mismatch/tokens", "Tokens whose bits differ", "sampler against trainer", MAIN | WHOLE | EXACT},
    {"mismatch/kl_k3", "KL of sampler and trainer", "nat, estimator k3", MAIN},
    {"policy/kl_reference", "KL to the reference", "nat", MAIN},
    {"policy/entropy", "Entropy", "nat a token", MAIN},
    {"response/length_mean", "Length of completions", "tokens, mean", MAIN},
    {"response/clip_ratio", "Completions cut off at the limit", "fraction", MAIN},
    {"policy/grad_norm", "Gradient norm", "before clipping", MAIN},
    {"policy/lr", "Learning rate", "", MAIN | EXACT},
    {"perf/rollout_tokens_per_s", "Sampling", "tokens a second", MAIN | CUT},
    {"perf/train_tokens_per_s", "Training", "tokens a second", MAIN | CUT},
    {"perf/mfu", "Model flops utilisation", "of the GPUs' peak", MAIN | CUT},
    {"perf/memory_peak_bytes", "Device memory, peak", "bytes", 0},
    {"reward/std", "Spread of rewards", "standard deviation of the step's samples", 0},
    {"reward/zero_std_groups", "Groups whose rewards are all equal", "", WHOLE},
    {"eval/reward", "Held-out reward", "greedy", 0},
    {"policy/importance_cap_frac", "Importance weights above the cap", "fraction", 0},
    {"reward/penalty", "Penalty on rewards", "for length or divergence, mean", 0},
    {"command/errors", "Samples that the program gave no reward", "", WHOLE},
    {"sampling/prompts_tried", "Prompts tried", "dynamic sampling", WHOLE},
    {"policy/clip_frac", "Tokens whose ratio is clipped", "fraction", 0},
    {"policy/ratio_max", "Largest importance ratio", "", 0},
    {"mismatch/max_abs", "Largest difference of log-probabilities", "nat", 0},
    {"mismatch/kl_k1", "KL of sampler and trainer", "nat, estimator k1", 0},
    {"response/errors", "Completions that went wrong", "", WHOLE},
    {"tokens/generated", "Tokens sampled", "", WHOLE},
    {"tokens/prompt", "Tokens of prompts", "", WHOLE},
    {"tokens/trained", "Tokens trained on", "", WHOLE},
    {"time/step", "Time of a step", "seconds", CUT},
};
enum { NUM_KNOWN = sizeof known / sizeof *known };

const zk_report_phase zk_report_phases[] = {
    {"time/rollout", "sampling", 0}, {"time/reward", "rewards", 4},   {"time/turns", "memory turns", 9},
    {"time/forward", "forward", 1},  {"time/head", "LM head", 3},     {"time/backward", "backward", 6},
    {"time/reduce", "reduce", 5},    {"time/optimizer", "optimizer", 2}, {"time/verify", "comparing bits", 8},
};
const int zk_report_num_phases = sizeof zk_report_phases / sizeof *zk_report_phases;

const char *zk_report_group(const char *key, char out[96]) {
  const char *slash = strchr(key, '/');
  snprintf(out, 96, "%.*s", slash ? (int)(slash - key) : 5, slash ? key : "other");
  return out;
}

static int find_known(const char *key) {
  for (int i = 0; i < NUM_KNOWN; i++) {
    size_t n = strlen(known[i].key);
    bool is_prefix = known[i].key[n - 1] == '@'; // eval/pass@8
    if (is_prefix ? !strncmp(known[i].key, key, n) : !strcmp(known[i].key, key)) return i;
  }
  return NUM_KNOWN;
}

static bool is_listed(const zk_report_metrics *m, const char *key) {
  for (int i = 0; i < m->num_metrics; i++)
    if (!strcmp(m->metrics[i].key, key)) return true;
  return false;
}

static zk_status add(zk_report_metrics *m, const char *key) {
  if (strlen(key) >= sizeof m->metrics->key || is_listed(m, key)) return ZK_OK; // no metric of ours has a longer key
  zk_report_metric *grown = realloc(m->metrics, ((size_t)m->num_metrics + 1) * sizeof *grown);
  if (!grown) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %d metrics", m->num_metrics);
  m->metrics = grown;
  zk_report_metric *metric = &grown[m->num_metrics++];
  *metric = (zk_report_metric){.title = NULL, .unit = ""};
  snprintf(metric->key, sizeof metric->key, "%s", key);
  int k = find_known(key), flags = k < NUM_KNOWN ? known[k].flags : !strncmp(key, "time/", 5) || !strncmp(key, "perf/", 5) ? CUT : 0;
  if (k < NUM_KNOWN) metric->title = known[k].title, metric->unit = known[k].unit;
  metric->is_main = flags & MAIN, metric->whole = flags & WHOLE, metric->cut_outliers = flags & CUT, metric->is_exact = flags & EXACT;
  return ZK_OK;
}

static zk_status add_line(zk_report_metrics *m, json_t *line) {
  const char *key;
  json_t *value;
  json_object_foreach(line, key, value) {
    if (json_is_number(value) && strcmp(key, "step")) ZK_TRY(add(m, key));
  }
  return ZK_OK;
}

// Main ones as in the table; then groups, and in them keys, in alphabetical order.
static int compare(const void *a, const void *b) {
  const zk_report_metric *x = a, *y = b;
  if (x->is_main != y->is_main) return y->is_main - x->is_main;
  char p[96], q[96];
  int order = x->is_main ? find_known(x->key) - find_known(y->key) : strcmp(zk_report_group(x->key, p), zk_report_group(y->key, q));
  return order ? order : strcmp(x->key, y->key);
}

zk_status zk_report_metrics_find(const zk_report_runs *runs, zk_report_metrics *out) {
  *out = (zk_report_metrics){0};
  zk_status st = ZK_OK;
  for (int r = 0; r < runs->num_runs; r++) {
    const zk_metrics *m = runs->runs[r].metrics;
    for (int64_t step = 0; m && st == ZK_OK && step <= zk_metrics_last_step(m); step++) st = add_line(out, zk_metrics_find(m, step));
  }
  if (st == ZK_OK && out->num_metrics) qsort(out->metrics, (size_t)out->num_metrics, sizeof *out->metrics, compare);
  for (int i = 0; i < out->num_metrics; i++) // now that they stay where they are
    if (!out->metrics[i].title) out->metrics[i].title = out->metrics[i].key;
  if (st != ZK_OK) zk_report_metrics_free(out);
  return st;
}

void zk_report_metrics_free(zk_report_metrics *metrics) {
  free(metrics->metrics);
  *metrics = (zk_report_metrics){0};
}
