// An adapter on disk, in PEFT's format: adapter_config.json, adapter_model.safetensors (read and written as any weights: shared/model.h), and
// zerokl_base.json, which PEFT does not read: the hash of the base that it was trained on.
#ifndef ZK_SHARED_ADAPTER_FOLDER_H
#define ZK_SHARED_ADAPTER_FOLDER_H

#include "shared/policy.h"

// Writes DIR/adapter_config.json and DIR/zerokl_base.json. base: the base's folder or name, "" where there is none (a model from scratch).
// base_hash: of its working weights in `numerics`.
zk_status zk_adapter_folder_write(const char *dir, const zk_lora *lora, const char *base, zk_numerics numerics, uint64_t base_hash);
// Checks DIR/adapter_config.json against what is asked for: a plain LoRA of this rank, alpha and these target modules, beside the base as it is (PiSSA,
// OLoRA and others of PEFT's first values change the base). Shapes are checked when the weights are opened. ZK_BAD_INPUT, ZK_UNSUPPORTED and ZK_IO name the file and what differs.
zk_status zk_adapter_folder_check(const char *dir, const zk_lora *lora);
// The same of text[num_bytes], which `name` stands for in messages.
zk_status zk_adapter_config_check(const char *name, const char *text, size_t num_bytes, const zk_lora *lora);
// What DIR/zerokl_base.json says.
zk_status zk_adapter_folder_read_base(const char *dir, zk_numerics *numerics, uint64_t *base_hash);
// Checks DIR/zerokl_base.json, if there is one and its numerics are these: ZK_BAD_INPUT when the base's hash is another's.
zk_status zk_adapter_folder_check_base(const char *dir, zk_numerics numerics, uint64_t base_hash);

#endif
