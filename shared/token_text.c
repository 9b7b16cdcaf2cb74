// Tokens to pieces, and log-probabilities to bands.
#include "shared/token_text.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_BYTES = 16 };

static zk_status append(FILE *out, zk_token_text *t, int64_t first, int64_t end, const char *text, size_t num_bytes) {
  t->pieces[t->num_pieces++] = (zk_token_piece){first, end, t->num_bytes, num_bytes};
  t->num_bytes += num_bytes;
  return fwrite(text, 1, num_bytes, out) == num_bytes ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a completion's text");
}

static bool has_token(const zk_tokenizer *tokenizer, int32_t id) {
  size_t num_bytes;
  return tokenizer && zk_tokenizer_token_bytes(tokenizer, id, &num_bytes);
}

static zk_status put_all(const zk_tokenizer *tokenizer, const int32_t *ids, int64_t num_ids, zk_decode_stream *stream, FILE *out, zk_token_text *t) {
  int64_t first = 0; // of the tokens that are in no piece yet
  for (int64_t k = 0; k < num_ids; k++) {
    const char *text = NULL;
    size_t num_bytes = 0;
    if (has_token(tokenizer, ids[k])) {
      ZK_TRY(zk_decode_stream_push(stream, tokenizer, ids[k], 0, &text, &num_bytes));
      if (!num_bytes) continue;
      ZK_TRY(append(out, t, first, k + 1, text, num_bytes));
    } else {
      char id[ID_BYTES];
      if (first < k) { // a character that is not going to be finished
        ZK_TRY(zk_decode_stream_end(stream, &text, &num_bytes));
        ZK_TRY(append(out, t, first, k, text, num_bytes));
      }
      snprintf(id, sizeof id, "<%d>", (int)ids[k]);
      ZK_TRY(append(out, t, k, k + 1, id, strlen(id)));
    }
    first = k + 1;
  }
  if (first == num_ids) return ZK_OK;
  const char *text;
  size_t num_bytes;
  ZK_TRY(zk_decode_stream_end(stream, &text, &num_bytes));
  return append(out, t, first, num_ids, text, num_bytes);
}

zk_status zk_token_text_make(const zk_tokenizer *tokenizer, const int32_t *ids, int64_t num_ids, zk_token_text *out) {
  memset(out, 0, sizeof *out);
  zk_decode_stream stream = {0};
  size_t stream_bytes;
  out->pieces = malloc((2 * (size_t)num_ids + 1) * sizeof *out->pieces);
  FILE *file = out->pieces ? open_memstream(&out->text, &stream_bytes) : NULL;
  zk_status st = file ? put_all(tokenizer, ids, num_ids, &stream, file, out) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a completion's text");
  if (file && fclose(file) && st == ZK_OK) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a completion's text");
  zk_decode_stream_free(&stream);
  if (st != ZK_OK) zk_token_text_free(out);
  return st;
}

void zk_token_text_free(zk_token_text *text) {
  free(text->text);
  free(text->pieces);
  memset(text, 0, sizeof *text);
}

int zk_token_band(double logprob) { // ln 1/2, ln 1/10, ln 1/100, ln 1/1000
  static const double least[ZK_TOKEN_NUM_BANDS - 1] = {-0.6931471805599453, -2.302585092994046, -4.605170185988092, -6.907755278982137};
  int band = 0;
  while (band < ZK_TOKEN_NUM_BANDS - 1 && !(logprob >= least[band])) band++;
  return band;
}

const char *zk_token_band_text(int band) {
  static const char *const texts[ZK_TOKEN_NUM_BANDS] = {"1/2 and more", "1/10 to 1/2", "1/100 to 1/10", "1/1000 to 1/100", "below 1/1000"};
  return texts[band];
}
