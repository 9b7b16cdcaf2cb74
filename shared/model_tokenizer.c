// Does this tokenizer belong to this model?
#include "shared/model.h"

static zk_status check_token(const char *field, int id, const char *what, const zk_tokenizer *tokenizer) {
  if (zk_tokenizer_token_text(tokenizer, id)) return ZK_OK;
  return ZK_FAIL(ZK_BAD_INPUT, "%s: has no token with id %d, which is the model's %s: it belongs to another model",
                 what, id, field);
}

zk_status zk_model_check_tokenizer(const zk_model_config *config, const char *what, const zk_tokenizer *tokenizer) {
  int num_ids = zk_tokenizer_vocab_size(tokenizer);
  if (num_ids > config->vocab) {
    int num_missing = 0;
    for (int id = config->vocab; id < num_ids; id++) num_missing += zk_tokenizer_token_text(tokenizer, id) != NULL;
    return ZK_FAIL(
        ZK_BAD_INPUT,
        "%s: %d of its tokens (ids up to %d) are outside the model's vocabulary of %d: it belongs to another model",
        what, num_missing, num_ids - 1, config->vocab);
  }
  for (int i = 0; i < config->num_eos; i++) ZK_TRY(check_token("eos_token_id", config->eos_ids[i], what, tokenizer));
  if (config->bos_id >= 0) ZK_TRY(check_token("bos_token_id", config->bos_id, what, tokenizer));
  return ZK_OK;
}
