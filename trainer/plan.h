// The memory plan: what a worker will take of its device, before it takes anything.
//
// On a GPU the KV cache takes what is left: what is free, less what training will still take after the cache is made. Where that is little, sampling and
// training take turns: each gives back what it alone needs before the other begins (zk_side_rest), and the cache takes what is free while training rests.
#ifndef ZK_TRAINER_PLAN_H
#define ZK_TRAINER_PLAN_H

#include <stdio.h>

#include "rollout/session.h"

// What a command does with the model: sample; sample and compare by the trainer's forward pass; train (and sample, or evaluate).
typedef enum { ZK_PLAN_EVALUATE, ZK_PLAN_SAMPLE, ZK_PLAN_TRAIN } zk_plan_kind;

// Which work needs it; for what is held while that rests it makes a difference only in turns.
typedef enum { ZK_PLAN_ALWAYS, ZK_PLAN_SAMPLING, ZK_PLAN_TRAINING } zk_plan_phase;

typedef struct {
  const char *what;  // "master weights"
  const char *lower; // what makes it less: "start more workers"
  size_t bytes;
  bool is_most;      // an upper bound that short sequences stay below
  zk_plan_phase phase;
} zk_plan_row;

enum { ZK_PLAN_MAX_ROWS = 16 };
typedef struct {
  zk_plan_row rows[ZK_PLAN_MAX_ROWS];
  int num_rows;
  bool in_turns;           // sampling and training are never in memory together
  size_t total, available; // of one worker; a device that workers share is divided among them. In turns, total is the greater phase's
} zk_plan;

// Adds up. `shape` is a policy that holds device, numerics, config, params and num_positions, and no memory. num_sharers: workers
// that share this one's device, itself included. `available`: bytes this
// worker may take; takes_rest: the cache may take all that is left of them (a GPU), else what it usually needs.
void zk_plan_make(const zk_config *config, zk_plan_kind kind, const zk_policy *shape, int num_ranks, int num_sharers, size_t available, bool takes_rest, zk_plan *out);
// ZK_OUT_OF_MEMORY, naming the largest part and what to lower, when it does not fit. with_bounds: rows that are upper bounds count too.
zk_status zk_plan_fits(const zk_plan *plan, bool with_bounds, const char *device);

// Prints the resolved config (YAML) and, as comments after it, bytes by purpose for one of num_ranks workers. Reads the model's
// config.json and checks the adapter that lora.path names, as a run would; allocates no device memory. ZK_OUT_OF_MEMORY when the plan does not fit what is
// free, after printing it.
zk_status zk_plan_print(const zk_config *config, zk_plan_kind kind, zk_comm *comm, FILE *out);
// The same check at the start of a run, with one line of talk. (On a CPU, where free memory is an estimate, upper bounds do not count.) Collective.
zk_status zk_plan_check(const zk_config *config, zk_plan_kind kind, zk_comm *comm);

// Whether a run's sampling and training take turns at the device's memory, as trainer.turns says; asked when all but engine and activations is there.
// Collective: all workers take turns, or none does.
zk_status zk_plan_turns(const zk_session *session, bool *out);
// The session's engine options, with the room that a cache may take beside what the session's work will still take; in_turns: beside what sampling
// will, the trainer being at rest. Collective.
zk_status zk_plan_engine_options(const zk_session *session, zk_plan_kind kind, bool in_turns, zk_engine_options *out);

#endif
