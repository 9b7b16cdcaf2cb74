// Where a training step's time goes, by the device's clock: a mark in the stream wherever one phase ends and the next begins, and no waiting for any.
#ifndef ZK_TRAINER_PHASES_H
#define ZK_TRAINER_PHASES_H

#include "kernels/device.h"

typedef enum {
  ZK_PHASE_FORWARD,   // embedding and layers
  ZK_PHASE_HEAD,      // LM head, log-probabilities, the loss on the host, back through the head
  ZK_PHASE_BACKWARD,  // layers and embedding (layers run again too, with trainer.recompute)
  ZK_PHASE_REDUCE,    // leaves' gradients to the shards' sums
  ZK_PHASE_OPTIMIZER, // global norm, AdamW with weights/hash and state/hash, working weights everywhere
  ZK_NUM_PHASES
} zk_phase;
const char *zk_phase_name(zk_phase phase); // "forward"

// The phases of what is queued on one stream.
typedef struct zk_phases zk_phases;
zk_status zk_phases_open(zk_stream *stream, zk_phases **out); // the caller closes it, before the stream
void zk_phases_close(zk_phases *phases);
// What is queued from here on belongs to `phase`, until the next begin or end; work that was queued between an end and a begin belongs to none.
zk_status zk_phases_begin(zk_phases *phases, zk_phase phase);
zk_status zk_phases_end(zk_phases *phases);
// Seconds of each phase since the last take; waits for the end of the last one.
zk_status zk_phases_take(zk_phases *phases, double seconds[ZK_NUM_PHASES]);

#endif
