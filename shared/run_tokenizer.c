// From a run directory to its tokenizer.
#include "shared/run_tokenizer.h"

#include <inttypes.h>
#include <string.h>

#include "shared/file_util.h"
#include "shared/log.h"

zk_status zk_run_tokenizer_load(const char *run_path, const char *asked, const char *hash, zk_tokenizer **out) {
  *out = NULL;
  if (asked) return zk_tokenizer_load(asked, out);
  zk_path model = zk_path_make("%s/checkpoints/step_000000", run_path);
  if (!zk_file_exists(zk_path_make("%s/tokenizer.json", model.s).s)) return ZK_OK;
  ZK_TRY(zk_tokenizer_load(model.s, out));
  zk_path ours = zk_path_make("%016" PRIx64, zk_tokenizer_hash(*out));
  if (hash && hash[0] && strcmp(ours.s, hash)) {
    ZK_LOG(WARN, "inspect", "%s: its tokenizer is not the one of the tokens (tokenizer_hash %s); they are shown as ids", model.s, hash);
    zk_tokenizer_free(*out);
    *out = NULL;
  }
  return ZK_OK;
}
