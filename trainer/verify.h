// The auditor: recomputes everything that a run directory claims, and says what is not so.
//
// It trusts config.yaml and the law alone. Reading order: verify.c (the walk over the steps), verify_archive.c
// (digests), verify_record.c (what a trajectory says of itself), verify_reward.c, verify_tokens.c (both sides, token by
// token), verify_update.c, verify_checkpoint.c; verify_sample.c is another, shorter walk; verify_report.h is what they write to.
#ifndef ZK_TRAINER_VERIFY_H
#define ZK_TRAINER_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/comm.h"
#include "shared/config.h"
#include "trainer/verify_report.h"

typedef struct {
  const char *run_dir;
  int64_t first_step, last_step; // audited, both included; 0: from the first, to the last there is
  int64_t num_sample;            // 0: everything; N: the tokens of N sequences, spread evenly over steps that follow a stored checkpoint,
                                 // everything that needs no model, and no updates
  bool replay;                   // also sample again: each step from its prompts, and held-out accuracies
  bool has_device;               // false: the run's own
  zk_config_device device;
} zk_verify_options;

// Audits a run of `zerokl train` or `zerokl sft`, read-only and without its lock. What differs or cannot be checked is
// in *out, the same on every rank and for any number of ranks; the status says only whether the audit itself could be
// carried out (no such run, no memory, a config that this build refuses). Collective.
zk_status zk_verify(const zk_verify_options *options, zk_comm *comm, zk_verify_report *out);

#endif
