// What `zerokl export` writes of a run that trained an adapter: the adapter merged with its base, or the adapter as PEFT loads it.
#ifndef ZK_TRAINER_EXPORT_ADAPTER_H
#define ZK_TRAINER_EXPORT_ADAPTER_H

#include "shared/config.h"
#include "shared/model.h"
#include "shared/run_dir.h"

// RUN's config.yaml, which the caller frees, also after a failure.
zk_status zk_export_config(const zk_run_dir *run, zk_config **out);
// Merges checkpoint folder `from` with the base that config names, into `dir`, absent or empty. ZK_BAD_INPUT when the base is not the one that
// the adapter was trained on.
zk_status zk_export_merged(const zk_config *config, const char *from, const char *dir, zk_dtype dtype);
// Copies its adapter and tokenizer.
zk_status zk_export_adapter(const zk_config *config, const char *from, const char *dir, zk_dtype dtype);

#endif
