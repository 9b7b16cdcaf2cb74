// The lines that `zerokl score` reads: {"tokens": [...]} or {"text": "..."}, gathered into batches of sequences.
#ifndef ZK_TRAINER_SCORE_INPUT_H
#define ZK_TRAINER_SCORE_INPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "rollout/session.h"
#include "trainer/sequences.h"

typedef struct {
  zk_session *session; // its tokenizer is loaded when the first text comes
  const char *name;    // of the file, for errors
  FILE *file;          // borrowed
  int64_t line;        // lines read so far
  char *text;          // the line in hand
  size_t capacity;
} zk_score_input;

// A batch of lines in their order. Every sequence has at least one token; what may not be predicted from nothing is its first.
typedef struct {
  zk_tokens tokens;              // of all sequences, one after another
  int64_t first_line, num_lines; // line numbers first_line .. first_line + num_lines - 1
  int64_t *offsets;              // [num_lines + 1] into tokens
  int64_t capacity;              // lines that offsets has room for
} zk_score_batch;
void zk_score_batch_free(zk_score_batch *batch); // a zeroed batch is fine

// Reads lines until at least `min_tokens` tokens are together or the file ends (num_lines 0: it had ended). The batch is reused from
// call to call. ZK_BAD_INPUT names file and line: no JSON, no object, neither or both of "tokens" and "text", an id that the model does
// not have, more tokens than it has positions, an empty line, a file without a line. Other keys are the caller's own and are let be.
zk_status zk_score_input_read(zk_score_input *input, int64_t min_tokens, zk_score_batch *batch);

#endif
