// `--replay`: held-out accuracies that metrics.jsonl records, sampled again at the weights that the chain has come to.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/evaluation_archive.h"
#include "trainer/recorded_step.h"
#include "trainer/rl.h"
#include "trainer/verify_impl.h"

// Compares every value that an evaluation puts into a line of metrics.
static zk_status compare(zk_auditor *a, int64_t step, const zk_evaluation *e) {
  zk_metrics_line line;
  zk_metrics_line_init(&line, step);
  zk_evaluation_put(e, &line);
  zk_path text = zk_path_make("%s}", line.status == ZK_OK ? line.text : "");
  json_t *again = json_loads(text.s, 0, NULL), *value;
  const char *key;
  json_object_foreach(again, key, value)
      zk_verify_metrics(a, step, &(zk_verify_metric){key, json_number_value(value)}, 1);
  zk_status st = again ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for an evaluation's line");
  json_decref(again);
  zk_metrics_line_free(&line);
  return st;
}

static bool has(const json_t *line, const char *what, int number) {
  char key[48];
  snprintf(key, sizeof key, "eval/%s@%d", what, number);
  return json_object_get(line, key) != NULL;
}

// What was asked for: the config's numbers, if the line has values of that many samples; of an earlier config the greedy ones.
static zk_evaluation_sizes sizes_of(const zk_auditor *a, const json_t *line, int32_t num_prompts) {
  zk_evaluation_sizes sizes = zk_evaluation_sizes_of(&a->session.config);
  sizes.num_prompts = num_prompts;
  if (!has(line, "avg", sizes.num_samples) || !has(line, "pass", sizes.k ? sizes.k : sizes.num_samples)) sizes.num_samples = sizes.k = 0;
  return sizes;
}

// ---- of a task that asks a program: with what it said, as RUN/evaluations has it

typedef struct {
  zk_verify_step stored[ZK_EVALUATION_NUM_PARTS]; // only what comparing needs
  zk_evaluation_part parts[ZK_EVALUATION_NUM_PARTS];
} recorded_evaluation;

static void close_recorded(recorded_evaluation *r) {
  for (int i = 0; i < ZK_EVALUATION_NUM_PARTS; i++) {
    zk_trajectory_free(&r->stored[i].stored);
    zk_trajectory_free(&r->parts[i].sampled);
    free(r->stored[i].prompt_id);
  }
}

// Reads a part. *found is false, with the reason entered, when there is none that could be of this evaluation.
static zk_status open_part(zk_auditor *a, int64_t step, const zk_evaluation_sizes *sizes, int32_t samples, zk_verify_step *s, bool *found) {
  const zk_path path = zk_run_dir_evaluation_path(&a->dir, step, sizes->num_prompts, samples);
  bool is_sealed;
  *found = false;
  if (zk_trajectory_read_unsealed(path.s, &s->stored, &is_sealed) != ZK_OK) {
    zk_verify_skip(a->once, ZK_VERIFY_REPLAY, 1, "%s", zk_status_message());
    return ZK_OK;
  }
  zk_verify_count(a->once, ZK_VERIFY_DIGESTS, 1);
  if (!is_sealed) zk_verify_differ(a->once, ZK_VERIFY_DIGESTS, -1, 0, "%s: content_hash does not match its content", path.s);
  if (!zk_recorded_fits(&a->session, &s->stored, step, sizes->num_prompts, samples ? samples : 1)) {
    zk_verify_count(a->once, ZK_VERIFY_RECORD, 1);
    zk_verify_differ(a->once, ZK_VERIFY_RECORD, -1, 0, "%s: not the evaluation that metrics.jsonl tells of", path.s);
    return ZK_OK;
  }
  s->step = step, s->t = s->stored;
  s->prompt_id = calloc((size_t)s->stored.num_prompts + 1, sizeof *s->prompt_id);
  if (!s->prompt_id) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for an evaluation of %d items", sizes->num_prompts);
  for (int64_t p = 0; p < s->stored.num_prompts; p++) s->prompt_id[p] = (uint32_t)s->stored.prompt_id[p];
  *found = true;
  return ZK_OK;
}

// Token by token as a step's replay; then everything that the file holds, attributes too.
static zk_status compare_part(zk_auditor *a, const zk_verify_step *s, zk_trajectory *again) {
  zk_trajectory_difference d;
  for (int64_t i = 0; i < s->stored.num_samples; i++) zk_verify_compare_sample(a, s, again, i);
  ZK_TRY(zk_rl_describe(&a->session, a->identity, s->step, a->weights_hash, again));
  zk_verify_count(a->once, ZK_VERIFY_RECORD, 1);
  if (!zk_trajectory_equal(&s->stored, again, &d))
    zk_verify_differ(a->once, ZK_VERIFY_RECORD, 0, d.index, "evaluation after step %" PRId64 ": %s, element %" PRId64 ": %s is stored, %s comes out", s->step, d.dataset, d.index,
                     d.a, d.b);
  return ZK_OK;
}

static zk_status evaluate_recorded(zk_auditor *a, int64_t step, zk_evaluation_sizes sizes, zk_evaluation *e, bool *done) {
  recorded_evaluation r;
  memset(&r, 0, sizeof r);
  zk_status st = zk_evaluation_resolve(&a->session, &sizes);
  *done = true;
  for (int i = 0; i < ZK_EVALUATION_NUM_PARTS && st == ZK_OK && *done; i++) {
    const int32_t samples = zk_evaluation_part_samples(&sizes, i);
    if (samples < 0) continue;
    st = open_part(a, step, &sizes, samples, &r.stored[i], done);
    r.parts[i].recorded = &r.stored[i].stored;
  }
  st = zk_comm_agree(a->comm, st);
  uint64_t is_missing = !*done;
  if (st == ZK_OK) st = zk_comm_max_u64(a->comm, &is_missing, 1);
  *done = !is_missing;
  if (st == ZK_OK && *done) st = zk_evaluate(&a->session, a->engine, sizes, (uint32_t)step, r.parts, e);
  for (int i = 0; i < ZK_EVALUATION_NUM_PARTS && st == ZK_OK && *done; i++)
    if (zk_evaluation_part_samples(&sizes, i) >= 0) st = compare_part(a, &r.stored[i], &r.parts[i].sampled);
  close_recorded(&r);
  return st;
}

zk_status zk_verify_evaluation(zk_auditor *a, int64_t step) {
  const json_t *line = a->metrics ? zk_metrics_find(a->metrics, step) : NULL;
  if (!a->options->replay || a->step != step || !json_object_get(line, "eval/accuracy")) return ZK_OK;
  json_int_t prompts = json_integer_value(json_object_get(line, "eval/prompts"));
  if (prompts < 1 || prompts > (json_int_t)zk_task_num_heldout(a->session.task)) {
    zk_verify_count(a->once, ZK_VERIFY_METRICS, 1);
    zk_verify_differ(a->once, ZK_VERIFY_METRICS, -1, 0, "step %" PRId64 ": eval/prompts is no number of held-out items",
                     step);
    return ZK_OK;
  }
  zk_evaluation e;
  const zk_evaluation_sizes sizes = sizes_of(a, line, (int32_t)prompts);
  bool done = true;
  ZK_TRY(zk_turns_to(&a->turns, ZK_SIDE_SAMPLER, ZK_OK));
  if (zk_task_asks(a->session.task)) ZK_TRY(evaluate_recorded(a, step, sizes, &e, &done));
  else ZK_TRY(zk_evaluate(&a->session, a->engine, sizes, (uint32_t)step, NULL, &e));
  return done ? compare(a, step, &e) : ZK_OK;
}
