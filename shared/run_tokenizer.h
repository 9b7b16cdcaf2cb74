// The tokenizer that a run's tokens are read with.
#ifndef ZK_SHARED_RUN_TOKENIZER_H
#define ZK_SHARED_RUN_TOKENIZER_H

#include "shared/tokenizer.h"

// The tokenizer of `asked` (a model folder; NULL: of RUN's checkpoint of step 0). NULL in *out, and not an error, when RUN has none, or one whose
// hash is not `hash` (16 hex digits of a trajectory's tokenizer_hash; "" or NULL: any), which is told: tokens are then shown as ids.
zk_status zk_run_tokenizer_load(const char *run_path, const char *asked, const char *hash, zk_tokenizer **out);

#endif
