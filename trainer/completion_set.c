// Completions compared token by token and bit by bit.
#include "trainer/completion_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "shared/token_text.h"

enum { MOST_SHOWN = 8, END = -1 };

static bool same_text(const zk_completion *a, const zk_completion *b) {
  return a->num_tokens == b->num_tokens && a->finish == b->finish && !memcmp(a->tokens, b->tokens, (size_t)a->num_tokens * sizeof *a->tokens);
}

static bool same(const zk_completion *a, const zk_completion *b) {
  return same_text(a, b) && !memcmp(a->logprob, b->logprob, (size_t)a->num_tokens * sizeof *a->logprob);
}

static zk_status grow(zk_completion_set *s) {
  const size_t num = (size_t)s->num_unique + 1;
  zk_completion *unique = realloc(s->unique, num * sizeof *unique);
  if (unique) s->unique = unique;
  int64_t *count = unique ? realloc(s->count, num * sizeof *count) : NULL;
  if (!count) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %zu completions", num);
  s->count = count;
  return ZK_OK;
}

zk_status zk_completion_set_add(zk_completion_set *s, zk_completion *c) {
  for (int32_t i = 0; i < s->num_unique; i++)
    if (same(&s->unique[i], c)) {
      s->count[i]++;
      zk_completion_free(c);
      return ZK_OK;
    }
  zk_status st = grow(s);
  if (st != ZK_OK) {
    zk_completion_free(c);
    return st;
  }
  s->unique[s->num_unique] = *c;
  s->count[s->num_unique++] = 1;
  return ZK_OK;
}

void zk_completion_set_free(zk_completion_set *s) {
  for (int32_t i = 0; i < s->num_unique; i++) zk_completion_free(&s->unique[i]);
  free(s->unique);
  free(s->count);
  *s = (zk_completion_set){0};
}

int32_t zk_completion_set_num_texts(const zk_completion_set *s) {
  int32_t num = 0;
  for (int32_t i = 0; i < s->num_unique; i++) {
    int32_t before = 0;
    while (before < i && !same_text(&s->unique[before], &s->unique[i])) before++;
    num += before == i;
  }
  return num;
}

static int32_t token_at(const zk_completion *c, int32_t position) { return position < c->num_tokens ? c->tokens[position] : END; }

int32_t zk_completion_set_parting(const zk_completion_set *s) {
  for (int32_t p = 0; s->num_unique > 1; p++) {
    bool all_ended = true;
    for (int32_t i = 0; i < s->num_unique; i++) {
      if (token_at(&s->unique[i], p) != token_at(&s->unique[0], p)) return p;
      all_ended &= p >= s->unique[i].num_tokens;
    }
    if (all_ended) break;
  }
  return -1;
}

typedef struct {
  int32_t token;
  int64_t count;
} part;

static int by_count(const void *a, const void *b) {
  const part *x = a, *y = b;
  if (x->count != y->count) return x->count < y->count ? 1 : -1;
  return (x->token > y->token) - (x->token < y->token);
}

static int32_t count_parts(const zk_completion_set *s, int32_t position, part *parts) {
  int32_t num = 0;
  for (int32_t i = 0; i < s->num_unique; i++) {
    const int32_t token = token_at(&s->unique[i], position);
    int32_t k = 0;
    while (k < num && parts[k].token != token) k++;
    if (k == num) parts[num++] = (part){token, 0};
    parts[k].count += s->count[i];
  }
  qsort(parts, (size_t)num, sizeof *parts, by_count);
  return num;
}

static zk_status write_part(const part *p, const zk_tokenizer *tokenizer, FILE *out) {
  if (p->token == END) return fprintf(out, "%lld (end)", (long long)p->count) < 0 ? ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a split") : ZK_OK;
  zk_token_text text;
  ZK_TRY(zk_token_text_make(tokenizer, &p->token, 1, &text));
  fprintf(out, "%lld \"%s\"", (long long)p->count, text.text);
  zk_token_text_free(&text);
  return ZK_OK;
}

zk_status zk_completion_set_split(const zk_completion_set *s, int32_t position, const zk_tokenizer *tokenizer, char **out_text) {
  size_t num_bytes;
  *out_text = NULL;
  part *parts = malloc(((size_t)s->num_unique + 1) * sizeof *parts);
  FILE *out = parts ? open_memstream(out_text, &num_bytes) : NULL;
  zk_status st = out ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a split");
  const int32_t num = out ? count_parts(s, position, parts) : 0, shown = num < MOST_SHOWN ? num : MOST_SHOWN;
  for (int32_t i = 0; st == ZK_OK && i < shown; i++) {
    if (i) fputs(", ", out);
    st = write_part(&parts[i], tokenizer, out);
  }
  if (out && shown < num) fprintf(out, " and %d more", num - shown);
  if (out && fclose(out) && st == ZK_OK) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a split");
  if (st != ZK_OK) free(*out_text), *out_text = NULL;
  free(parts);
  return st;
}

uint64_t zk_completion_set_hash(const zk_completion_set *s) {
  if (!s->num_unique) return 0;
  const zk_completion *c = s->unique;
  const size_t bytes = (size_t)c->num_tokens * sizeof *c->tokens;
  return XXH64(c->logprob, bytes, XXH64(c->tokens, bytes, 0));
}
