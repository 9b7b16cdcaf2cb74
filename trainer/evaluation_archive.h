// Evaluations of a run whose task asks a program (command.run): what it said of held-out samples is an input like any other, and is archived. A resume and
// `verify --replay` take it from there.
#ifndef ZK_TRAINER_EVALUATION_ARCHIVE_H
#define ZK_TRAINER_EVALUATION_ARCHIVE_H

#include "shared/run_dir.h"
#include "trainer/evaluate.h"

// zk_evaluate, of the weights after `step`, whose hash is given. Where the task asks a program the held-out samples go to RUN/evaluations, in the format of a step's trajectory
// without trainer_logprob and advantages; files that are there already are taken in the program's place. dir: rank 0's; NULL elsewhere; nothing else writes
// there meanwhile. ZK_BAD_ARCHIVE when a file cannot be read, or is of other samples than are drawn now. Collective.
zk_status zk_evaluation_archive(zk_session *session, zk_engine *engine, zk_run_dir *dir, const char *identity, int64_t step, uint64_t weights_hash,
                                zk_evaluation_sizes sizes, zk_evaluation *out);
// The samples an item that a part has in its file's name: 0 for greedy ones; -1: `sizes` has no such part.
int32_t zk_evaluation_part_samples(const zk_evaluation_sizes *sizes, int part);

#endif
