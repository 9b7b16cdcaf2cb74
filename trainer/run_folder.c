// One folder, one identity.
#include "trainer/run_folder.h"

#include <stdlib.h>
#include <string.h>

// Compares the config that RUN was begun with with this one.
static zk_status compare_config(const zk_run_dir *dir, const zk_config *config, const char *identity) {
  char *text = NULL;
  ZK_TRY(zk_run_dir_read_config(dir, &text));
  if (!text) return ZK_OK;
  zk_path path = zk_run_dir_config_path(dir);
  zk_config *old = malloc(sizeof *old);
  char *old_identity = NULL;
  zk_status st = old ? zk_config_parse(path.s, text, strlen(text), 0, NULL, old) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a config");
  if (st == ZK_OK) st = zk_config_identity_text(old, &old_identity);
  if (st == ZK_OK) st = zk_config_compare_identity(config->run.dir, old_identity, "this config", identity);
  if (st == ZK_BAD_INPUT) (void)zk_status_context(st, "%s belongs to another run; choose another run.dir", config->run.dir);
  free(text);
  free(old);
  free(old_identity);
  return st;
}

zk_status zk_run_folder_open(const zk_config *config, const char *identity, zk_run_dir *out) {
  ZK_TRY(zk_run_dir_open(config->run.dir, ZK_RUN_DIR_LOCK_WAIT_MS, out));
  zk_status st = compare_config(out, config, identity);
  if (st != ZK_OK) zk_run_dir_close(out);
  return st;
}

zk_status zk_run_folder_write_config(zk_run_dir *dir, const zk_config *config) {
  char *old = NULL, *text = NULL;
  size_t bytes = 0;
  ZK_TRY(zk_run_dir_read_config(dir, &old));
  bool exists = old != NULL;
  free(old);
  if (exists) return ZK_OK;
  FILE *f = open_memstream(&text, &bytes);
  if (!f) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for config.yaml");
  zk_status st = zk_config_write_yaml(config, f);
  fclose(f);
  if (st == ZK_OK) st = zk_run_dir_write_config(dir, text);
  free(text);
  return st;
}
