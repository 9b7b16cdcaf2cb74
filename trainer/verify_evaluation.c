// `--replay`: held-out accuracies that metrics.jsonl records, sampled again at the weights that the chain has come to.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/evaluate.h"
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

zk_status zk_verify_evaluation(zk_auditor *a, int64_t step) {
  const json_t *line = a->metrics ? zk_metrics_find(a->metrics, step) : NULL;
  // What a program said of held-out items is in no archive.
  if (zk_task_asks(a->session.task)) return ZK_OK;
  if (!a->options->replay || a->step != step || !json_object_get(line, "eval/accuracy")) return ZK_OK;
  json_int_t prompts = json_integer_value(json_object_get(line, "eval/prompts"));
  if (prompts < 1 || prompts > (json_int_t)zk_task_num_heldout(a->session.task)) {
    zk_verify_count(a->once, ZK_VERIFY_METRICS, 1);
    zk_verify_differ(a->once, ZK_VERIFY_METRICS, -1, 0, "step %" PRId64 ": eval/prompts is no number of held-out items",
                     step);
    return ZK_OK;
  }
  zk_evaluation e;
  ZK_TRY(zk_turns_to(&a->turns, ZK_SIDE_SAMPLER, ZK_OK));
  ZK_TRY(zk_evaluate(&a->session, a->engine, sizes_of(a, line, (int32_t)prompts), (uint32_t)step, &e));
  return compare(a, step, &e);
}
