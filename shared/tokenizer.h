// Text <-> token ids: byte-level BPE read from a Hugging Face folder's tokenizer.json, ids equal to the reference
// library's.
//
// A tokenizer is immutable after loading and any thread may use it; encoding takes a lock (its cache of words), the
// rest does not.
#ifndef ZK_SHARED_TOKENIZER_H
#define ZK_SHARED_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

typedef struct zk_tokenizer zk_tokenizer;

// A growable array of ids. Start with {0}; functions that write to it append. Free with zk_tokens_free.
typedef struct zk_tokens {
  int32_t *ids;
  size_t num_tokens, capacity;
} zk_tokens;

void zk_tokens_free(zk_tokens *tokens); // leaves it empty
zk_status zk_tokens_push(zk_tokens *tokens, int32_t id); // ZK_OUT_OF_MEMORY

// Reads tokenizer.json, tokenizer_config.json (bos_token, eos_token, pad_token, chat_template) and chat_template.jinja
// (if there, it wins) from a model folder. ZK_IO when tokenizer.json cannot be read, ZK_BAD_INPUT when it is malformed,
// ZK_UNSUPPORTED, by name, for a component that would change ids and is not delivered.
zk_status zk_tokenizer_load(const char *model_dir, zk_tokenizer **out);

// The same from memory; `config` (the text of tokenizer_config.json) and `jinja` may be NULL with 0 bytes.
zk_status zk_tokenizer_parse(const char *json, size_t json_bytes, const char *config, size_t config_bytes,
                             const char *jinja, size_t jinja_bytes, zk_tokenizer **out);
void zk_tokenizer_free(zk_tokenizer *tok); // NULL is fine

enum {
  ZK_ENCODE_PLAIN = 0, // the text of a special token is text
  ZK_ENCODE_PARSE_SPECIAL =
      1 << 0, // "<|im_start|>" inside the text becomes its id, as the reference library does by default
  ZK_ENCODE_ADD_SPECIAL = 1 << 1 // what the file's post_processor adds around one text (Llama 3: bos in front)
};

// Appends the ids of `text` (`text_bytes` bytes; NUL bytes allowed; invalid UTF-8 becomes U+FFFD, one for each maximal
// invalid sequence as in the Unicode standard's recommended practice) to `out`. A prompt of plain text is encoded with
// PARSE_SPECIAL | ADD_SPECIAL; a rendered chat carries its own bos, so with PARSE_SPECIAL only.
zk_status zk_tokenizer_encode(const zk_tokenizer *tok, const char *text, size_t text_bytes, unsigned flags,
                              zk_tokens *out);

// The bytes of `ids`, malloc'ed into *out_text with a NUL behind them that *out_bytes does not count (the bytes need
// not be valid UTF-8). skip_special drops special tokens. An id that has no token (a hole, or padding rows of the
// model's vocabulary) gives no bytes; a negative id is ZK_BAD_INPUT.
zk_status zk_tokenizer_decode(const zk_tokenizer *tok, const int32_t *ids, size_t num_ids, int skip_special,
                              char **out_text, size_t *out_bytes);

// The bytes of one token, borrowed from the tokenizer: concatenated over ids they are exactly zk_tokenizer_decode's
// text. NULL and 0 for an id without a token. A token may hold a part of a UTF-8 character.
const char *zk_tokenizer_token_bytes(const zk_tokenizer *tok, int32_t id, size_t *out_bytes);

// A byte stream that only lets whole UTF-8 characters out: feed tokens as they are sampled, print what comes out. Start
// with {0}. The text returned is borrowed from the stream until the next call, NUL behind it; invalid bytes come out as
// U+FFFD.
typedef struct zk_decode_stream {
  char *text;
  size_t text_bytes, capacity;
  char pending[4]; // a character begun and not finished
  size_t pending_bytes;
} zk_decode_stream;
zk_status zk_decode_stream_push(zk_decode_stream *stream, const zk_tokenizer *tok, int32_t id, int skip_special,
                                const char **out_text, size_t *out_bytes);
zk_status zk_decode_stream_end(zk_decode_stream *stream, const char **out_text,
                               size_t *out_bytes); // what is still pending
void zk_decode_stream_free(zk_decode_stream *stream);

// Largest id + 1 over vocabulary and added tokens: the least vocab_size a model needs.
int32_t zk_tokenizer_vocab_size(const zk_tokenizer *tok);
// Id of the token written exactly `text` (an added token, or a vocabulary entry in the file's own alphabet); -1 if
// none.
int32_t zk_tokenizer_find(const zk_tokenizer *tok, const char *text);
// The token as the file writes it; NULL for an id without a token. Borrowed.
const char *zk_tokenizer_token_text(const zk_tokenizer *tok, int32_t id);
int zk_tokenizer_is_special(const zk_tokenizer *tok, int32_t id);
// From tokenizer_config.json; -1 where it names none.
int32_t zk_tokenizer_bos(const zk_tokenizer *tok);
int32_t zk_tokenizer_eos(const zk_tokenizer *tok);
int32_t zk_tokenizer_pad(const zk_tokenizer *tok);
// The chat template's source; NULL if the folder has none. Borrowed.
const char *zk_tokenizer_chat_template(const zk_tokenizer *tok);

// Identity: a 64-bit hash of all that decides ids and bytes (vocabulary, merges, added tokens, normaliser,
// pre-tokeniser, post- processor), independent of the file's layout and of keys that decide nothing.
uint64_t zk_tokenizer_hash(const zk_tokenizer *tok);

// Writes tokenizer.json and tokenizer_config.json of the byte tokenizer into `dir` (which exists): ids 0..255 are the
// bytes 0..255, written in GPT-2's alphabet, then <|endoftext|> (eos), <|im_start|>, <|im_end|>, <|pad|>; no merges, no
// chat template.
enum { ZK_BYTE_TOKENIZER_VOCAB = 260, ZK_BYTE_TOKENIZER_EOS = 256, ZK_BYTE_TOKENIZER_PAD = 259 };
zk_status zk_tokenizer_write_bytes(const char *dir);

// Copies the tokenizer's files that exist in src_dir (tokenizer.json, tokenizer_config.json, special_tokens_map.json,
// added_tokens.json, chat_template.jinja, vocab.json, merges.txt) to dst_dir, byte for byte, each flushed to disk.
// ZK_IO with the file's name on failure.
zk_status zk_tokenizer_copy_files(const char *src_dir, const char *dst_dir);

#endif
