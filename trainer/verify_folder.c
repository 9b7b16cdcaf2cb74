// A checkpoint is a folder that others load: its config, an adapter's too, and its tokenizer must be the run's.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/adapter_folder.h"
#include "trainer/verify_impl.h"

static void differ(zk_auditor *a, int64_t step, const char *file, const char *how) {
  zk_verify_differ(a->once, ZK_VERIFY_CHECKPOINTS, -1, 0, "checkpoint step %" PRId64 ": %s %s", step, file, how);
}

#define MAX_CONFIG_BYTES ((size_t)1 << 20)

static void compare_file(zk_auditor *a, int64_t step, const char *ours, const char *theirs, const char *name) {
  char *expected = NULL, *stored = NULL;
  size_t expected_bytes = 0, stored_bytes = 0;
  zk_verify_count(a->once, ZK_VERIFY_CHECKPOINTS, 1);
  if (zk_file_read(zk_path_make("%s/%s", ours, name).s, MAX_CONFIG_BYTES, &expected, &expected_bytes) != ZK_OK ||
      zk_file_read(zk_path_make("%s/%s", theirs, name).s, MAX_CONFIG_BYTES, &stored, &stored_bytes) != ZK_OK)
    differ(a, step, name, "cannot be read");
  else if (expected_bytes != stored_bytes || memcmp(expected, stored, stored_bytes))
    differ(a, step, name, "is not the model's");
  free(expected);
  free(stored);
}

// Writes the config files that a checkpoint of this model has, and compares.
static zk_status check_config(zk_auditor *a, int64_t step, const char *dir) {
  const char *base = getenv("TMPDIR");
  zk_path ours = zk_path_make("%s/zerokl-verify-XXXXXX", base && *base ? base : "/tmp");
  if (!mkdtemp(ours.s)) return ZK_FAIL(ZK_IO, "%s: cannot make a temporary folder", ours.s);
  zk_status st = zk_model_config_save(ours.s, &a->session.policy.config, "float32");
  if (st == ZK_OK) {
    compare_file(a, step, ours.s, dir, "config.json");
    compare_file(a, step, ours.s, dir, "generation_config.json");
  }
  const zk_policy *p = &a->session.policy;
  if (st == ZK_OK && p->adapter.lora.rank)
    st = zk_adapter_folder_write(ours.s, &p->adapter.lora, a->session.config.model.path, p->numerics, p->frozen_hash);
  if (st == ZK_OK && p->adapter.lora.rank) {
    compare_file(a, step, ours.s, dir, "adapter_config.json");
    compare_file(a, step, ours.s, dir, "zerokl_base.json");
  }
  zk_status removed = zk_file_remove_tree(ours.s);
  return st == ZK_OK ? removed : st;
}

static bool same_text(const char *a, const char *b) { return a && b ? !strcmp(a, b) : a == b; }

static void check_tokenizer(zk_auditor *a, int64_t step, const char *dir) {
  const zk_tokenizer *ours = a->session.tokenizer;
  zk_tokenizer *stored = NULL;
  zk_verify_count(a->once, ZK_VERIFY_CHECKPOINTS, 1);
  if (zk_tokenizer_load(dir, &stored) != ZK_OK) differ(a, step, "its tokenizer", zk_status_message());
  else if (zk_tokenizer_hash(stored) != zk_tokenizer_hash(ours) || zk_tokenizer_eos(stored) != zk_tokenizer_eos(ours) ||
           !same_text(zk_tokenizer_chat_template(stored), zk_tokenizer_chat_template(ours)))
    differ(a, step, "its tokenizer", "is not the run's");
  zk_tokenizer_free(stored);
}

zk_status zk_verify_folder(zk_auditor *a, int64_t step) {
  zk_path dir = zk_run_dir_checkpoint_path(&a->dir, step);
  check_tokenizer(a, step, dir.s);
  return check_config(a, step, dir.s);
}
