// Which model an adapter's folder says that it was trained on, by name: all that PEFT writes down of its base.
#ifndef ZK_SHARED_ADAPTER_BASE_NAME_H
#define ZK_SHARED_ADAPTER_BASE_NAME_H

#include <stdbool.h>

#include "shared/file_util.h"

// base_model_name_or_path of DIR/adapter_config.json, "" where it has none or cannot be read.
zk_path zk_adapter_base_name(const char *dir);
// Whether a model's folder is of that name, whatever owner and folders stand before either: "Qwen/Qwen3-8B" is /models/Qwen3-8B, and
// .../models--Qwen--Qwen3-8B/snapshots/0a1b; it is not /models/Qwen3-8B-Base.
bool zk_adapter_base_is_named(const char *name, const char *model_dir);

#endif
