// Opens a run for audit: its config, its steps, and a session in a schedule that is not the run's.
#include <stdlib.h>
#include <string.h>

#include "shared/log.h"
#include "trainer/plan.h"
#include "trainer/verify_impl.h"

static int other(int value, int choice, int second) { return value == choice ? second : choice; }

// Everything of class schedule that could touch a bit, if the law did not hold.
static void choose_schedule(const zk_verify_options *options, zk_config *c) {
  c->rollout.page_tokens = other(c->rollout.page_tokens, 32, 48);
  c->rollout.prefill_chunk = other(c->rollout.prefill_chunk, 257, 129);
  c->rollout.max_batch = c->rollout.max_batch > 1 ? c->rollout.max_batch - 1 : 2;
  c->rollout.kv_bytes = 0; // what was enough for the run's pages need not be for ours
  c->trainer.microbatch_tokens = c->trainer.microbatch_tokens > 4096 ? 4096 : 8192;
  c->trainer.recompute = true; // the least memory
  if (options->has_device) c->device = options->device;
}

static zk_status read_config(zk_auditor *a, zk_config *out) {
  char *text = NULL;
  ZK_TRY(zk_run_dir_read_config(&a->dir, &text));
  zk_path path = zk_run_dir_config_path(&a->dir);
  if (!text) return ZK_FAIL(ZK_BAD_INPUT, "%s: missing; without it there is nothing to audit against", path.s);
  zk_status st = zk_config_parse(path.s, text, strlen(text), 0, NULL, out);
  free(text);
  ZK_TRY(st);
  return zk_config_identity_text(out, &a->identity);
}

bool zk_auditor_has_checkpoint(const zk_auditor *a, int64_t step) {
  return zk_checkpoint_is_complete(zk_run_dir_checkpoint_path(&a->dir, step).s);
}

// ---- which steps ----------------------------------------------------------------------------------------------------

static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

// The last step that left anything; *has_trajectories tells train from sft where no checkpoint does.
static zk_status find_last_step(zk_auditor *a, int64_t *last, bool *has_trajectories) {
  int64_t *steps = NULL;
  size_t num = 0;
  ZK_TRY(zk_run_dir_list_trajectories(&a->dir, &steps, &num));
  *has_trajectories = num > 0;
  *last = num ? steps[num - 1] : 0;
  free(steps);
  int64_t checkpoint;
  ZK_TRY(zk_run_dir_latest_checkpoint(&a->dir, INT64_MAX, &checkpoint));
  *last = later(*last, checkpoint);
  if (a->metrics) *last = later(*last, zk_metrics_last_step(a->metrics));
  return ZK_OK;
}

static void find_kind(zk_auditor *a, bool has_trajectories) {
  zk_checkpoint_state state;
  bool is_sft = !has_trajectories && zk_auditor_has_checkpoint(a, a->start) &&
                zk_checkpoint_read_state(zk_run_dir_checkpoint_path(&a->dir, a->start).s, &state) == ZK_OK &&
                !strcmp(state.kind, "sft");
  memcpy(a->kind, is_sft ? "sft" : "train", is_sft ? 4 : 6);
}

// --sample begins where the first step that it can take does.
static zk_status find_sampled_start(zk_auditor *a) {
  if (strcmp(a->kind, "train")) return ZK_FAIL(ZK_BAD_INPUT, "--sample: %s is a run of `zerokl sft`, which samples nothing", a->dir.path.s);
  for (int64_t step = a->first_step; step <= a->last_step; step++) {
    if (!zk_verify_can_sample(a, step)) continue;
    a->start = step - 1;
    return ZK_OK;
  }
  return ZK_FAIL(ZK_BAD_INPUT, "--sample: %s: no step from %lld to %lld follows a stored checkpoint; its weights would have to be computed (without --sample)",
                 a->dir.path.s, (long long)a->first_step, (long long)a->last_step);
}

static zk_status find_steps(zk_auditor *a) {
  const zk_verify_options *o = a->options;
  int64_t last = 0;
  bool has_trajectories = false;
  ZK_TRY(find_last_step(a, &last, &has_trajectories));
  a->first_step = o->first_step ? o->first_step : 1;
  a->last_step = o->last_step ? o->last_step : last;
  if (a->last_step > last || (o->first_step && a->first_step > a->last_step))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: holds steps 1 to %lld, not %lld to %lld", a->dir.path.s, (long long)last,
                   (long long)a->first_step, (long long)a->last_step);
  ZK_TRY(zk_run_dir_latest_checkpoint(&a->dir, a->first_step - 1, &a->start));
  if (a->start < 0) a->start = 0; // from its origin, if that can be had
  find_kind(a, has_trajectories);
  return o->num_sample ? find_sampled_start(a) : ZK_OK;
}

// ---- the parts ------------------------------------------------------------------------------------------------------

// Where the first weights come from: "" for their origin (model.init, or the folder model.path), which also checks
// checkpoint 0 itself; else the checkpoint that the audit starts at.
static zk_status choose_model(zk_auditor *a, const zk_config *c, zk_path *dir) {
  *dir = (zk_path){""};
  bool has_origin = !c->model.path[0] || zk_file_is_directory(c->model.path);
  if (!has_origin && c->lora.rank > 0)
    return ZK_FAIL(ZK_BAD_INPUT, "model.path %s is not here: checkpoints of this run hold its adapter alone, and its base is nowhere else", c->model.path);
  if (c->lora.path[0] && !zk_file_is_directory(c->lora.path)) has_origin = false;
  a->from_origin = a->start == 0 && has_origin && !a->options->num_sample;
  if (a->from_origin) return ZK_OK;
  if (a->start == 0 && !has_origin && zk_comm_rank(a->comm) == 0)
    ZK_LOG(WARN, "verify", "%s %s is not here: the weights before step 1 are taken from %s", c->lora.path[0] ? "lora.path" : "model.path",
           c->lora.path[0] ? c->lora.path : c->model.path, zk_run_dir_checkpoint_path(&a->dir, 0).s);
  *dir = zk_run_dir_checkpoint_path(&a->dir, a->start);
  if (!zk_auditor_has_checkpoint(a, a->start))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: not a complete checkpoint, and there is no other to start from", dir->s);
  return ZK_OK;
}

static zk_status open_parts(zk_auditor *a, const zk_config *c, const char *model_dir) {
  ZK_TRY(zk_session_open(c, a->comm, model_dir[0] ? model_dir : NULL, &a->session));
  bool rl = !strcmp(a->kind, "train");
  const zk_path first = zk_run_dir_checkpoint_path(&a->dir, 0);
  double temperature = rl ? c->rollout.temperature : 1, top_p = rl ? c->rollout.top_p : 1;
  int32_t top_k = rl ? c->rollout.top_k : 0;
  if (a->options->num_sample) ZK_TRY(zk_updater_open_forward(&a->session, temperature, top_k, top_p, &a->updater));
  else ZK_TRY(zk_updater_open(&a->session, temperature, top_k, top_p, &a->updater));
  // A sample of a run computes no update, and takes the reference's log-probabilities as they are.
  if (rl && !a->options->num_sample) ZK_TRY(zk_reference_open(&a->session, a->from_origin ? zk_session_origin(&a->session) : first.s, &a->reference));
  if (!rl && !a->options->replay) return ZK_OK;
  zk_engine_options o;
  if (!a->options->num_sample) ZK_TRY(zk_turns_open(&a->session, &a->turns)); // --sample has no gradients
  ZK_TRY(zk_plan_engine_options(&a->session, a->options->num_sample ? ZK_PLAN_SAMPLE : ZK_PLAN_TRAIN, a->turns.is_on, &o));
  o.want_logits_hash = true, o.prefix_cache = false; // an audit computes everything itself
  ZK_TRY(zk_comm_agree(a->comm, zk_engine_open(zk_session_sampler(&a->session), &o, &a->engine)));
  a->turns.engine = a->engine;
  return ZK_OK;
}

// What this audit can show of a run whose sums have no written order.
static void tell_vendor(const zk_auditor *a, const zk_config *c) {
  if ((c->numerics != ZK_VENDOR && zk_config_sampler_numerics(c) != ZK_VENDOR) || zk_comm_rank(a->comm) != 0) return;
  ZK_LOG(WARN, "verify",
         "numerics: vendor: digests, records, prompts, rewards and advantages are checked as in any run; log-probabilities, logits and "
         "updates come from sums whose order batch and machine change, so that a difference in them does not show that anything was altered, "
         "and equality promises nothing elsewhere");
}

static zk_status read_run(zk_auditor *a, zk_config *c, zk_path *model_dir) {
  ZK_TRY(zk_run_dir_open_read(a->options->run_dir, &a->dir));
  ZK_TRY(read_config(a, c));
  zk_path path = zk_run_dir_metrics_path(&a->dir);
  if (zk_metrics_open_read(path.s, &a->metrics) != ZK_OK) {
    a->metrics = NULL;
    if (zk_file_exists(path.s)) zk_verify_differ(a->once, ZK_VERIFY_METRICS, -1, 0, "%s", zk_status_message());
    else zk_verify_skip(a->once, ZK_VERIFY_METRICS, 1, "%s is missing", path.s);
  }
  ZK_TRY(find_steps(a));
  choose_schedule(a->options, c);
  tell_vendor(a, c);
  if (zk_config_is_off_policy(c)) memcpy(a->total.off_policy, zk_config_describe_numerics(c).s, sizeof a->total.off_policy);
  return choose_model(a, c, model_dir);
}

zk_status zk_auditor_open(const zk_verify_options *options, zk_comm *comm, zk_auditor *a) {
  memset(a, 0, sizeof *a);
  a->options = options, a->comm = comm, a->dir.lock_fd = -1, a->step = ZK_VERIFY_UNKNOWN;
  a->once = zk_comm_rank(comm) == 0 ? &a->here : &a->nowhere;
  zk_config *c = malloc(sizeof *c);
  zk_path model_dir;
  zk_status st =
      zk_comm_agree(comm, c ? read_run(a, c, &model_dir) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a config"));
  if (st == ZK_OK) st = open_parts(a, c, model_dir.s);
  free(c);
  return st;
}

void zk_auditor_close(zk_auditor *a) {
  zk_engine_close(a->engine);
  zk_reference_close(a->reference);
  if (a->updater.session) zk_updater_close(&a->updater);
  if (a->session.comm) zk_session_close(&a->session);
  zk_metrics_close(a->metrics);
  zk_run_dir_close(&a->dir);
  free(a->identity);
}
