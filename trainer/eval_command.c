// `zerokl eval`: a session, an engine, one evaluation.
#include "trainer/eval_command.h"

#include <stdio.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "trainer/config_command.h"
#include "trainer/evaluate.h"

// Random numbers are those of step 0, so that a run which starts from this model says the same in line 0 of its metrics.
enum { STEP = 0 };

static zk_status print(const zk_session *s, const zk_evaluation *e, double seconds) {
  const zk_config *c = &s->config;
  uint64_t hash;
  ZK_TRY(zk_policy_weights_hash(&s->policy, s->stream, &hash));
  zk_metrics_line line;
  zk_metrics_line_init(&line, STEP);
  zk_evaluation_put(e, &line);
  zk_metrics_put_string(&line, "model", c->model.path[0] ? c->model.path : "model.init");
  if (c->lora.rank > 0) zk_metrics_put_string(&line, "adapter", c->lora.path[0] ? c->lora.path : "new");
  zk_metrics_put_string(&line, "task", zk_task_name(s->task));
  zk_metrics_put_hash(&line, "weights/hash", hash);
  zk_metrics_put_double(&line, "time/eval", seconds);
  zk_status st = zk_metrics_line_print(&line, stdout);
  zk_metrics_line_free(&line);
  return st;
}

static void tell(const zk_session *s, const zk_evaluation *e, double seconds) {
  char samples[96] = "";
  if (e->sizes.num_samples)
    snprintf(samples, sizeof samples, ", avg@%d %.3f, pass@%d %.3f", e->sizes.num_samples, e->avg_at_n, e->sizes.k, e->pass_at_k);
  ZK_LOG(INFO, "eval", "%s: held-out accuracy %.3f (greedy, %d items of %.1f tokens)%s, %.1f s", zk_task_name(s->task), e->accuracy, e->sizes.num_prompts,
         e->length_mean, samples, seconds);
}

static zk_status evaluate(zk_session *s, zk_engine *engine) {
  const double start = zk_clock_s();
  zk_evaluation e;
  ZK_TRY(zk_evaluate(s, engine, zk_evaluation_sizes_of(&s->config), STEP, NULL, &e));
  const double seconds = zk_clock_s() - start;
  tell(s, &e, seconds);
  return zk_comm_agree(s->comm, zk_comm_rank(s->comm) == 0 ? print(s, &e, seconds) : ZK_OK);
}

static zk_status eval(const zk_config *config, zk_comm *comm, void *arg) {
  (void)arg;
  zk_session session;
  zk_engine *engine = NULL;
  ZK_TRY(zk_session_open(config, comm, NULL, &session));
  zk_engine_options o;
  zk_status st = zk_plan_engine_options(&session, ZK_PLAN_EVALUATE, false, &o);
  if (st == ZK_OK) st = zk_comm_agree(comm, zk_engine_open(zk_session_sampler(&session), &o, &engine));
  if (st == ZK_OK) st = evaluate(&session, engine);
  zk_engine_close(engine);
  zk_session_close(&session);
  return st;
}

static zk_status run_eval(int argc, char **argv) {
  return zk_config_command(argc, argv,
                           "Samples the task's held-out set: greedy, and with eval.samples=n also n samples an item for avg@n and pass@k (eval.k; n where that is 0). One JSON "
                           "object on standard output.\vThe model is CONFIG's own; give model.path=RUN/checkpoints/step_000100 for a later one. "
                           "eval.prompts=N takes the first N items. Under mpirun the workers share the items; the numbers stay the same.",
                           NULL, ZK_PLAN_EVALUATE, eval, NULL);
}

const zk_command zk_command_eval = {"eval", "accuracy on the task's held-out set: greedy, avg@k, pass@k", run_eval};
