// The walk: weights before step 1, then each step's record, tokens and update, which give the weights before the next.
//
// The chain is what has been recomputed so far. It never takes a stored weight when it has one of its own; where what
// is stored leads astray (a tampered trajectory) it goes on from the next checkpoint that the metrics vouch for, and
// steps between stay unchecked.
#include "trainer/verify.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shared/log.h"
#include "trainer/verify_impl.h"

// ---- the chain ------------------------------------------------------------------------------------------------------

static bool agrees_with_metrics(const zk_auditor *a, int64_t step) {
  uint64_t weights = 0, state = 0;
  return a->metrics && zk_metrics_find(a->metrics, step) &&
         zk_metrics_get_hash(a->metrics, step, "weights/hash", &weights) == ZK_OK &&
         zk_metrics_get_hash(a->metrics, step, "state/hash", &state) == ZK_OK && weights == a->weights_hash &&
         state == a->state_hash;
}

// Whether the next step says that it began with the chain's weights.
static bool agrees_with_next(const zk_auditor *a, int64_t step) {
  zk_trajectory next;
  bool sealed;
  if (zk_trajectory_read_unsealed(zk_run_dir_trajectory_path(&a->dir, step + 1).s, &next, &sealed) != ZK_OK)
    return false;
  bool same = next.weights_hash == a->weights_hash;
  zk_trajectory_free(&next);
  return same;
}

// Decides what the next step is audited with: the chain where anything vouches for it, else the step's checkpoint, else
// nothing.
static zk_status settle(zk_auditor *a, int64_t step) {
  bool usable = false;
  if (zk_auditor_has_checkpoint(a, step)) {
    ZK_TRY(zk_comm_agree(a->comm, a->once == &a->here ? zk_verify_folder(a, step) : ZK_OK));
    ZK_TRY(zk_verify_checkpoint(a, step, &usable));
  }
  if (a->step == step && agrees_with_metrics(a, step)) return ZK_OK;
  bool loaded = false;
  if (usable) ZK_TRY(zk_verify_load(a, step, &loaded));
  if (loaded) return ZK_OK;
  // An sft step takes nothing from the archive, so that its chain cannot be led astray by it.
  if (a->step == step && (!strcmp(a->kind, "sft") || agrees_with_next(a, step))) return ZK_OK;
  a->step = ZK_VERIFY_UNKNOWN;
  return ZK_OK;
}

static zk_status begin(zk_auditor *a) {
  if (a->from_origin) {
    ZK_TRY(zk_optimizer_hashes(&a->updater.optimizer, a->session.stream, &a->weights_hash, &a->state_hash));
    a->step = 0;
    zk_verify_hashes(a, 0);
    if (!zk_auditor_has_checkpoint(a, 0))
      zk_verify_skip(a->once, ZK_VERIFY_CHECKPOINTS, 1, "the checkpoint of step 0 is missing");
  }
  ZK_TRY(settle(a, a->start));
  if (a->start + 1 == a->first_step) ZK_TRY(zk_verify_evaluation(a, a->start));
  return zk_verify_merge(a->comm, &a->here, &a->total);
}

// ---- one step -------------------------------------------------------------------------------------------------------

// A step whose update could not be made again.
static void skip_step(zk_auditor *a, int64_t step, int64_t num_tokens, const char *why) {
  for (size_t c = 0; c < zk_verify_num_token_checks(a) && num_tokens; c++)
    zk_verify_skip(a->once, zk_verify_token_checks[c], num_tokens, "step %" PRId64 ": %s", step, why);
  zk_verify_skip(a->once, ZK_VERIFY_UPDATES, 2, "step %" PRId64 ": %s", step, why);
  zk_verify_skip(a->once, ZK_VERIFY_STEPS, 1, "step %" PRId64 ": %s", step, why);
}

static const char unknown_weights[] = "the weights before it are not known";

// What a sound trajectory holds besides its update.
static zk_status audit_values(zk_auditor *a, zk_verify_step *s) {
  ZK_TRY(zk_comm_agree(a->comm, zk_verify_finish(a, s)));
  ZK_TRY(zk_verify_reference(a, s));
  ZK_TRY(zk_comm_agree(a->comm, zk_verify_rewards(a, s)));
  if (a->step != s->step - 1) return ZK_OK;
  ZK_TRY(zk_verify_tokens(a, s, NULL));
  return a->options->replay ? zk_verify_replay(a, s) : ZK_OK;
}

static zk_status audit_trajectory(zk_auditor *a, zk_verify_step *s) {
  bool wanted = s->step >= a->first_step, known = a->step == s->step - 1;
  if (s->is_sound) ZK_TRY(zk_comm_agree(a->comm, zk_verify_prompts(a, s)));
  if (wanted) zk_verify_record(a, s);
  if (wanted && s->is_sound) ZK_TRY(audit_values(a, s));
  if (known && s->is_sound) ZK_TRY(zk_verify_update(a, s));
  if (!wanted) return ZK_OK;
  if (!known || !s->is_sound) {
    skip_step(a, s->step, s->t.num_sample_tokens, known ? "its shape is not the config's" : unknown_weights);
    return ZK_OK;
  }
  zk_verify_count(a->once, ZK_VERIFY_STEPS, 1);
  a->once->num_steps++;
  a->once->num_tokens += s->t.num_sample_tokens;
  return ZK_OK;
}

static zk_status audit_train_step(zk_auditor *a, int64_t step) {
  zk_verify_step s;
  bool found;
  zk_status st = zk_verify_step_open(a, step, &s, &found);
  if (st == ZK_OK && found) st = audit_trajectory(a, &s);
  if (st == ZK_OK && !found) skip_step(a, step, 0, "its trajectory is missing or cannot be read");
  zk_verify_step_close(&s);
  return st;
}

static zk_status audit_sft_step(zk_auditor *a, int64_t step) {
  if (a->step != step - 1) {
    skip_step(a, step, 0, unknown_weights);
    return ZK_OK;
  }
  ZK_TRY(zk_verify_sft_update(a, step));
  if (step < a->first_step) return ZK_OK;
  zk_verify_count(a->once, ZK_VERIFY_STEPS, 1);
  a->once->num_steps++;
  return ZK_OK;
}

static zk_status audit_step(zk_auditor *a, int64_t step) {
  ZK_TRY(!strcmp(a->kind, "sft") ? audit_sft_step(a, step) : audit_train_step(a, step));
  if (a->step != step) a->step = ZK_VERIFY_UNKNOWN;
  ZK_TRY(settle(a, step));
  if (step >= a->first_step) ZK_TRY(zk_verify_evaluation(a, step));
  zk_progress_update("verify", (long)(step - a->start), (long)(a->last_step - a->start), "steps");
  return zk_verify_merge(a->comm, &a->here, &a->total);
}

static zk_status audit(zk_auditor *a) {
  zk_verify_digests(a);
  if (a->options->num_sample) return zk_verify_sample(a);
  ZK_TRY(begin(a));
  for (int64_t step = a->start + 1; step <= a->last_step; step++) ZK_TRY(audit_step(a, step));
  return ZK_OK;
}

static void tell_recorded(const zk_auditor *a) {
  if (zk_task_asks(a->session.task) && zk_comm_rank(a->comm) == 0)
    ZK_LOG(INFO, "verify", "rewards and replies of command.run are taken as they were recorded, the program is not run");
}

static void tell_unfinished(const zk_auditor *a) {
  if (!a->options->last_step && a->last_step < a->session.config.run.steps)
    ZK_LOG(INFO, "verify", "%s holds %" PRId64 " of %d steps", a->dir.path.s, a->last_step,
           a->session.config.run.steps);
}

zk_status zk_verify(const zk_verify_options *options, zk_comm *comm, zk_verify_report *out) {
  zk_auditor *a = malloc(sizeof *a);
  zk_status st = zk_comm_agree(comm, a ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the auditor"));
  if (st == ZK_OK) st = zk_auditor_open(options, comm, a);
  if (st == ZK_OK) tell_unfinished(a);
  if (st == ZK_OK) tell_recorded(a);
  if (st == ZK_OK) st = audit(a);
  zk_progress_end();
  if (st == ZK_OK) *out = a->total;
  if (a) zk_auditor_close(a);
  free(a);
  return st;
}
