// What the auditor's files share: where it stands, and one step under audit.
#ifndef ZK_TRAINER_VERIFY_IMPL_H
#define ZK_TRAINER_VERIFY_IMPL_H

#include "rollout/collect_step.h"
#include "shared/metrics.h"
#include "shared/run_dir.h"
#include "trainer/checkpoint.h"
#include "trainer/reference.h"
#include "trainer/turns.h"
#include "trainer/verify.h"

#define ZK_VERIFY_UNKNOWN ((int64_t)-1)

typedef struct {
  const zk_verify_options *options;
  zk_comm *comm;
  zk_run_dir dir;
  char *identity;     // of config.yaml
  char kind[8];       // "train" or "sft"
  zk_session session; // its config: the run's identity in another schedule
  zk_updater updater;
  zk_reference *reference; // NULL without a KL term, and for sft
  zk_engine *engine;   // NULL for sft
  zk_turns turns;      // at the device's memory
  zk_metrics *metrics; // NULL when there is none that can be read
  int64_t start;       // step whose state the audit starts from
  bool from_origin;    // ... which is made again from model.init or model.path, not read from checkpoint 0
  int64_t first_step, last_step;
  // The chain: weights and optimiser state recomputed so far are those after `step`; ZK_VERIFY_UNKNOWN when they are of
  // no step.
  int64_t step;
  uint64_t weights_hash, state_hash;
  // Findings. `here`: of this rank's share of the step. `once`: of what every rank does alike; rank 0's is `here`,
  // others' goes nowhere.
  zk_verify_report here, nowhere, total, *once;
} zk_auditor;

// A trajectory under audit. `t` is what can be computed with: `stored`, but for token ids that the model does not have
// (0 instead) and indices, which are known. It shares its other columns.
typedef struct {
  int64_t step;
  zk_trajectory stored, t;
  int32_t *tokens;     // memory of t's tokens
  int32_t *index;      // memory of t's prompt_index and sample_index
  float *reference;    // memory of t's reference_logprob, computed again; NULL: t has the stored one
  uint32_t *prompt_id; // [num_prompts] as the task has them
  bool is_sound;       // the shape is the config's: everything can be computed
  char why_unsound[160];
} zk_verify_step;

// ---- verify_open.c
zk_status zk_auditor_open(const zk_verify_options *options, zk_comm *comm, zk_auditor *out);
void zk_auditor_close(zk_auditor *a);
bool zk_auditor_has_checkpoint(const zk_auditor *a, int64_t step);

// ---- verify_archive.c: digests of everything between start and last_step. Rank 0 alone looks.
void zk_verify_digests(zk_auditor *a);

// ---- verify_record.c
// Reads a step's trajectory. *found is false, with the reason entered as unchecked or as a difference, when there is
// none to read.
zk_status zk_verify_step_open(zk_auditor *a, int64_t step, zk_verify_step *out, bool *found);
void zk_verify_step_close(zk_verify_step *s);
// Attributes and indices.
void zk_verify_record(zk_auditor *a, zk_verify_step *s);
// "step 3, prompt 17, sample 2", for messages about sample i.
typedef struct {
  char s[96];
} zk_verify_place;
zk_verify_place zk_verify_place_of(const zk_verify_step *s, int64_t sample);

// ---- verify_reward.c: prompts, finish reasons, rewards, advantages of a sound step.
zk_status zk_verify_prompts(zk_auditor *a, zk_verify_step *s);
zk_status zk_verify_finish(zk_auditor *a, const zk_verify_step *s);
zk_status zk_verify_rewards(zk_auditor *a, const zk_verify_step *s);

// ---- verify_reference.c: log-probabilities by the reference model, which become s->t's. Collective.
zk_status zk_verify_reference(zk_auditor *a, zk_verify_step *s);

// ---- verify_tokens.c: every token through both sides, at the weights before the step; with picked [num_samples], those samples' tokens
// alone. Collective.
zk_status zk_verify_tokens(zk_auditor *a, const zk_verify_step *s, const bool *picked);
enum { ZK_VERIFY_NUM_TOKEN_CHECKS = 4 };
extern const zk_verify_check zk_verify_token_checks[ZK_VERIFY_NUM_TOKEN_CHECKS]; // what it checks of each token
size_t zk_verify_num_token_checks(const zk_auditor *a); // of these; without the last, which compares both sides, where they differ by design
// ---- verify_sample.c: --sample N: the walk over the steps with N sequences' tokens and no updates. Collective.
zk_status zk_verify_sample(zk_auditor *a);
// Whether the weights before a step are stored, and the step is too.
bool zk_verify_can_sample(const zk_auditor *a, int64_t step);
// ---- verify_replay.c: the step sampled again. Collective.
zk_status zk_verify_replay(zk_auditor *a, const zk_verify_step *s);

// One sample of it, as it is stored and as it came out.
void zk_verify_compare_sample(zk_auditor *a, const zk_verify_step *s, const zk_trajectory *again, int64_t sample);

// ---- verify_evaluation.c: --replay: the held-out accuracies of the step's line, at the weights after the step.
// Collective.
zk_status zk_verify_evaluation(zk_auditor *a, int64_t step);

// ---- verify_update.c: the step's update, from what is stored; moves the chain to `step` (or to ZK_VERIFY_UNKNOWN).
// Collective.
zk_status zk_verify_update(zk_auditor *a, const zk_verify_step *s);
zk_status zk_verify_sft_update(zk_auditor *a, int64_t step);
// Compares the chain's hashes with the line of its step.
void zk_verify_hashes(zk_auditor *a, int64_t step);
// Compares values that the step determines with its line.
typedef struct {
  const char *key;
  double value;
} zk_verify_metric;
void zk_verify_metrics(zk_auditor *a, int64_t step, const zk_verify_metric *values, size_t num);
#define ZK_VERIFY_METRICS_OF(a, step, values) zk_verify_metrics(a, step, values, sizeof(values) / sizeof *(values))

// ---- verify_checkpoint.c
// Compares checkpoint `step` with state.json, metrics.jsonl, and element for element with the chain when that is at
// `step`. *usable: what it holds hashes to what metrics.jsonl says of the step (to what state.json says, when there are
// no metrics). Collective.
zk_status zk_verify_checkpoint(zk_auditor *a, int64_t step, bool *usable);
// ---- verify_folder.c: what a checkpoint's folder says besides its values: the model's config, the adapter's and its
// base, and the tokenizer. Rank 0 alone looks.
zk_status zk_verify_folder(zk_auditor *a, int64_t step);
// Goes on from a checkpoint: its weights and optimiser state become the chain's. *loaded is false when they cannot be.
// Collective.
zk_status zk_verify_load(zk_auditor *a, int64_t step, bool *loaded);

#endif
