// RUN/tensorboard/events.out.tfevents.zerokl: metrics.jsonl once more, as TensorBoard reads it. Each line of metrics is one event with all its
// numbers under the same names.
//
// The file follows metrics.jsonl and holds nothing that is not there, so that a run that was killed anywhere goes on with every step in it
// once: what a kill left of a last record is cut off, and what metrics have and the file has not is added. TensorBoard may read meanwhile.
#ifndef ZK_SHARED_TENSORBOARD_H
#define ZK_SHARED_TENSORBOARD_H

#include "shared/metrics.h"

typedef struct zk_tensorboard zk_tensorboard;

// Opens (makes, when absent) the event file of a run directory whose lock the caller holds, keeps its records up to the first that is damaged
// or not of the next line of `metrics`, and follows. Not collective; one writer. ZK_IO, ZK_OUT_OF_MEMORY.
zk_status zk_tensorboard_open(const char *run_path, const zk_metrics *metrics, zk_tensorboard **out);
void zk_tensorboard_close(zk_tensorboard *tb); // NULL is fine

// Appends, in one flushed write, the lines of metrics that are not there yet. A line that is found now for the first time gets this moment as
// its wall time; of several the last one does, and those before it are earlier by their successors' time/step.
zk_status zk_tensorboard_follow(zk_tensorboard *tb, const zk_metrics *metrics);

#endif
