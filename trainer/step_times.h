// What a line of metrics says of a training step's time: its phases, tokens a second, MFU.
#ifndef ZK_TRAINER_STEP_TIMES_H
#define ZK_TRAINER_STEP_TIMES_H

#include "shared/metrics.h"
#include "trainer/update.h"

// Puts time/train (seconds, from the host, over which the sequences were trained on `passes` times), time/<phase> of trainer/phases.h (this rank's since the
// last call, by its device's clock), perf/train_tokens_per_s,
// and on GPUs perf/mfu: trainer/flops.h over seconds x ranks x 989 TFLOP/s. With several ranks also perf/train_balance, and for each collective on device memory
// perf/<collective>_bytes and perf/<collective>_bytes_per_s, of what this rank has received. Waits for the device.
zk_status zk_step_times_put(zk_updater *updater, const zk_sequences *seqs, int passes, double seconds, zk_metrics_line *line);

#endif
