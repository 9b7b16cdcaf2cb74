// What an audit found: one row a kind of check, with how much was checked, how much differs, and the first difference.
#ifndef ZK_TRAINER_VERIFY_REPORT_H
#define ZK_TRAINER_VERIFY_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "shared/comm.h"

// X(enum, name in the table, what is counted)
#define ZK_VERIFY_LIST(X)                                                                                              \
  X(STEPS, "steps", "steps whose every check could be made")                                                           \
  X(DIGESTS, "digests", "files against manifest.jsonl, DONE and content_hash")                                         \
  X(RECORD, "record", "attributes and indices of trajectory files")                                                    \
  X(PROMPTS, "prompts", "prompt tokens, made again from the task")                                                     \
  X(TOKENS, "tokens", "drawn again from the random numbers, by the sampler's path")                                    \
  X(SAMPLER, "sampler_logprob", "by the sampler's path and by the trainer's")                                          \
  X(TRAINER, "trainer_logprob", "by the trainer's path, in another batch")                                             \
  X(LOGITS, "logits_hash", "all logits of a token, sampler's path against trainer's")                                  \
  X(FINISH, "finish_reason", "why completions ended, from their tokens")                                               \
  X(REWARDS, "reward", "completions graded again")                                                                     \
  X(COMPONENTS, "reward_component", "completions graded again")                                                        \
  X(REFERENCE, "reference_logprob", "by the reference model")                                                          \
  X(ADVANTAGES, "advantage", "from the rewards, less penalties")                                                                       \
  X(UPDATES, "update", "weights/hash and state/hash after each update")                                                \
  X(METRICS, "metrics", "values in metrics.jsonl that a step determines")                                              \
  X(CHECKPOINTS, "checkpoint", "weights and optimiser state in checkpoints")                                           \
  X(REPLAY, "replay", "tokens sampled again from the prompts")
typedef enum {
#define X(id, name, about) ZK_VERIFY_##id,
  ZK_VERIFY_LIST(X)
#undef X
      ZK_VERIFY_NUM_CHECKS
} zk_verify_check;

#define ZK_VERIFY_TEXT_BYTES 400

typedef struct {
  uint64_t total, checked, differing;
  int64_t sample, position;             // where in its step the first difference is
  char first[ZK_VERIFY_TEXT_BYTES];     // the first difference, "" when there is none
  char unchecked[ZK_VERIFY_TEXT_BYTES]; // the first reason why something was not checked, "" when all was
} zk_verify_row;

typedef struct {
  zk_verify_row rows[ZK_VERIFY_NUM_CHECKS];
  int64_t num_steps, num_tokens; // audited
  char off_policy[48];           // of a control run (rollout.numerics, rollout.weight_bits) its numerics: equality of sampler and trainer was not checked; else ""
} zk_verify_report;

// `num` more values were checked; whether they differ is told by zk_verify_differ, once a differing value.
void zk_verify_count(zk_verify_report *report, zk_verify_check check, int64_t num);
// A value differs. Of several in a step the text with the least (sample, position) is kept.
void zk_verify_differ(zk_verify_report *report, zk_verify_check check, int64_t sample, int64_t position,
                      const char *fmt, ...) __attribute__((format(printf, 5, 6)));
// `num` more values should have been checked and were not.
void zk_verify_skip(zk_verify_report *report, zk_verify_check check, int64_t num, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

// Adds the ranks' findings of one step to `total`, the same on every rank, and clears `step`. Collective.
zk_status zk_verify_merge(zk_comm *comm, zk_verify_report *step, zk_verify_report *total);

// The table: a row for each check that had anything to do, then one line of summary.
void zk_verify_print(const zk_verify_report *report, FILE *out);
// The same as one JSON object.
zk_status zk_verify_print_json(const zk_verify_report *report, FILE *out);
// ZK_OK only if all was checked (or `partial`) and equal; ZK_MISMATCH if anything differs; ZK_BAD_ARCHIVE if something
// could not be checked. The message is the first finding.
zk_status zk_verify_conclude(const zk_verify_report *report, const char *run_dir, bool partial);

#endif
