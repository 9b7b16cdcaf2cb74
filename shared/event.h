// TensorBoard's messages, as far as a run needs them: protocol buffers of the kinds Event and Summary, in their wire format.
//
//   Event   { 1: double wall_time; 2: int64 step; 3: string file_version | 5: Summary summary }
//   Summary { 1: repeated Value }      Value { 1: string tag; 2: float simple_value }
#ifndef ZK_SHARED_EVENT_H
#define ZK_SHARED_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "kernels/status.h"

// The first message of every file. malloc'ed into *out; ZK_OUT_OF_MEMORY.
zk_status zk_event_version(double wall_time_s, uint8_t **out, size_t *out_bytes);
// A step's scalars: every number of `line` but "step", its key the tag, rounded to float, in the order of `line`. wall_time_s: seconds since
// 1970. malloc'ed into *out; ZK_OUT_OF_MEMORY.
zk_status zk_event_scalars(double wall_time_s, int64_t step, json_t *line, uint8_t **out, size_t *out_bytes);

// Whether a message is one of file_version; else its step, 0 when it names none. False when it is no Event.
bool zk_event_read(const uint8_t *message, size_t num_bytes, bool *is_version, int64_t *step);

#endif
