// JSON Lines data sets, one object a line: {"prompt": text or [{"role", "content"}...], "label": text or integer, "demonstration"?: text}, as slime has
// them too; or, as verl has them, {"prompt", "reward_model": {"ground_truth": text, integer or object}}. "data_source", "extra_info" and "metadata" are
// kept for reward programs. The label may be missing when no grader needs one.
#ifndef ZK_ROLLOUT_JSONL_H
#define ZK_ROLLOUT_JSONL_H

#include <stddef.h>
#include <stdint.h>

#include "rollout/grader.h"
#include "rollout/task.h"

typedef struct zk_jsonl zk_jsonl;

// Reads all of `path` once, checks each line, and keeps only where lines begin, so a data set need not fit in memory.
// Errors name file and line ("data.jsonl:17: ..."): ZK_IO when it cannot be read, ZK_BAD_INPUT when it is empty or a
// line is invalid JSON, not UTF-8, or lacks a field, has one of the wrong type or twice, or has a label that one of
// the graders cannot use: bit g of `labels` stands for grader g. Further fields are allowed and ignored.
zk_status zk_jsonl_open(const char *path, uint32_t labels, zk_jsonl **out);
void zk_jsonl_close(zk_jsonl *file); // NULL is fine

uint32_t zk_jsonl_num_lines(const zk_jsonl *file);
uint64_t zk_jsonl_identity(const zk_jsonl *file, uint32_t line_idx); // a hash of the line's prompt alone
uint64_t zk_jsonl_hash(const zk_jsonl *file);                        // a hash of all lines

// The item of line line_idx (from 0; item->source counts from 1), with `system` (may be NULL) before a prompt that has
// no system message of its own. Thread-safe. ZK_BAD_INPUT when the line is no longer what zk_jsonl_open read.
zk_status zk_jsonl_read(const zk_jsonl *file, uint32_t line_idx, const char *system, zk_task_item *out);

// One line from memory, without its newline; `name` and `line` (from 1) are for errors. *identity as above; both
// outputs are written only on success.
zk_status zk_jsonl_parse_line(const char *name, uint64_t line, uint32_t labels, const char *system,
                              const char *text, size_t num_bytes, zk_task_item *out, uint64_t *identity);

#endif
