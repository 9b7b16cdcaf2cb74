// A model folder copied to a new one, whole or not at all.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/file_util.h"
#include "shared/log.h"
#include "shared/model.h"

#define COPY_BLOCK ((int64_t)1 << 20) // elements at a time

static zk_status copy_weights(zk_model_reader *reader, zk_model_writer *writer, int64_t num_elements) {
  float *block = malloc((size_t)COPY_BLOCK * sizeof *block);
  if (!block) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate %lld bytes to copy weights", (long long)COPY_BLOCK * 4);
  zk_status st = ZK_OK;
  for (int64_t first = 0; st == ZK_OK && first < num_elements; first += COPY_BLOCK) {
    int64_t n = num_elements - first < COPY_BLOCK ? num_elements - first : COPY_BLOCK;
    st = zk_model_reader_read(reader, first, n, block);
    if (st == ZK_OK) st = zk_model_writer_append(writer, block, n);
  }
  free(block);
  return st;
}

typedef struct {
  const char *from;
  zk_dtype dtype;
} copy;

// Writes the model of `from` to the new folder `to`.
static zk_status copy_model(void *arg, const char *to) {
  const char *from = ((const copy *)arg)->from;
  zk_model_config config;
  zk_params params = {0};
  zk_model_reader *reader = NULL;
  zk_model_writer *writer = NULL;
  zk_status st;
  ZK_TRY_GOTO(st, done, zk_model_load_config(from, &config));
  ZK_TRY_GOTO(st, done, zk_params_create(&config, &params));
  ZK_TRY_GOTO(st, done, zk_model_reader_open(from, &params, &reader));
  ZK_TRY_GOTO(st, done, zk_model_writer_open(to, &config, &params, ((const copy *)arg)->dtype, ZK_MODEL_MAX_SHARD_BYTES, from, &writer));
  ZK_TRY_GOTO(st, done, copy_weights(reader, writer, params.num_elements));
  st = zk_model_writer_close(writer);
  writer = NULL;
done:
  zk_model_writer_abort(writer);
  zk_model_reader_close(reader);
  zk_params_destroy(&params);
  return st;
}

// Absent, or a folder with nothing in it: both may be replaced by rename.
static zk_status check_free(const char *dir) {
  DIR *folder = opendir(dir);
  if (!folder && errno == ENOENT) return ZK_OK;
  if (!folder) return ZK_FAIL(ZK_BAD_INPUT, "%s: %s", dir, strerror(errno));
  int num_entries = 0;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
    num_entries += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
  closedir(folder);
  return num_entries ? ZK_FAIL(ZK_BAD_INPUT, "%s: is not empty; give a folder that is, or a new one", dir) : ZK_OK;
}

zk_status zk_model_copy(const char *from, const char *dir, zk_dtype dtype) { return zk_model_folder_make(dir, copy_model, &(copy){from, dtype}); }

zk_status zk_model_folder_make(const char *dir, zk_model_fill *fill, void *arg) {
  int length = (int)strlen(dir);
  while (length > 1 && dir[length - 1] == '/') length--;
  zk_path to = zk_path_make("%.*s", length, dir), aside = zk_path_make("%.*s.%ld.tmp", length, dir, (long)getpid());
  ZK_TRY(check_free(to.s));
  if (mkdir(aside.s, 0777) != 0) return ZK_FAIL(ZK_IO, "%s: %s", to.s, strerror(errno));
  zk_status st = fill(arg, aside.s);
  if (st == ZK_OK && rename(aside.s, to.s) != 0) st = ZK_FAIL(ZK_IO, "%s: %s", to.s, strerror(errno));
  if (st == ZK_OK) return ZK_OK;
  zk_status_record first; // removing the folder may fail too: the first error is the one to tell
  zk_status_save(&first);
  if (zk_file_remove_tree(aside.s) != ZK_OK) ZK_LOG(WARN, "model", "%s could not be removed", aside.s);
  zk_status_restore(&first);
  return st;
}
