// What a file or folder of ours holds, as one JSON object: printed as it is for programs, laid out by json_text for a
// person.
#ifndef ZK_SHARED_INSPECT_H
#define ZK_SHARED_INSPECT_H

#include <stdint.h>

#include <jansson.h>

#include "kernels/status.h"
#include "shared/command.h"

extern const zk_command zk_command_inspect;

typedef struct {
  int64_t group;         // which prompt's samples to show
  const char *tokenizer; // a model folder, or NULL: the run's checkpoint of step 0
} zk_inspect_options;

// Looks at `path` and describes it; `kind` of the object says what it is: "trajectory", "optimizer", "safetensors",
// "model", "checkpoint" or "run". The caller owns *out. Errors are those of the file's reader.
zk_status zk_inspect(const char *path, const zk_inspect_options *options, json_t **out);

// The parts of it, for one kind each; *out as above.
zk_status zk_inspect_trajectory(const char *path, const zk_inspect_options *options, json_t **out);
zk_status zk_inspect_optimizer(const char *path, json_t **out);
zk_status zk_inspect_safetensors(const char *path, json_t **out); // a file
zk_status zk_inspect_model(const char *path, json_t **out);       // a folder with a config.json, or of an adapter
zk_status zk_inspect_run(const char *path, json_t **out);

#endif
