// A completion as pieces of readable text, each with the tokens it came from, so that what is known of a token can be shown where its text is.
#ifndef ZK_SHARED_TOKEN_TEXT_H
#define ZK_SHARED_TOKEN_TEXT_H

#include <stdint.h>

#include "shared/tokenizer.h"

// Tokens [first, end) gave text[at, at + num_bytes). A piece is whole UTF-8 characters: a token that only begins one has no piece of its own
// and belongs to that of the token that ends it.
typedef struct {
  int64_t first, end;
  size_t at, num_bytes;
} zk_token_piece;

typedef struct {
  char *text; // UTF-8, ill-formed bytes as U+FFFD, NUL at the end
  size_t num_bytes;
  zk_token_piece *pieces; // [num_pieces], in order; together they are all tokens and all of the text
  int64_t num_pieces;
} zk_token_text;

// Special tokens are shown as their file writes them ("<|im_end|>"). Without a tokenizer (NULL), and for ids that it has no token for, the
// text is the id in angle brackets, "<17>". ZK_OUT_OF_MEMORY; freed with zk_token_text_free.
zk_status zk_token_text_make(const zk_tokenizer *tokenizer, const int32_t *ids, int64_t num_ids, zk_token_text *out);
void zk_token_text_free(zk_token_text *text); // a zeroed one is fine

// How likely the sampler found a token, in five bands from the log-probability (natural, at most 0): 0 for 1/2 and more, 1 from 1/10, 2 from
// 1/100, 3 from 1/1000, 4 below that or not a number. What colours stand for.
enum { ZK_TOKEN_NUM_BANDS = 5 };
int zk_token_band(double logprob);
const char *zk_token_band_text(int band); // "1/2 and more"

#endif
