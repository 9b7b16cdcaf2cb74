// The scheduler: which rows of which sequences make the next step. First come, first served; when pages run out, the sample
// admitted last gives its pages back and is recomputed later. Nothing here can change a bit of any sequence.
#include <stdlib.h>
#include <string.h>

#include "rollout/engine_impl.h"

void zk_queue_push(zk_queue *q, zk_sequence *seq) {
  seq->next = NULL;
  if (q->tail) q->tail->next = seq;
  else q->head = seq;
  q->tail = seq;
}

void zk_queue_push_front(zk_queue *q, zk_sequence *seq) {
  seq->next = q->head;
  q->head = seq;
  if (!q->tail) q->tail = seq;
}

zk_sequence *zk_queue_pop(zk_queue *q) {
  zk_sequence *seq = q->head;
  if (!seq) return NULL;
  q->head = seq->next;
  if (!q->head) q->tail = NULL;
  seq->next = NULL;
  return seq;
}

void zk_schedule_release(zk_engine *e, zk_sequence *seq) {
  for (int32_t i = seq->num_pages - 1; i >= 0; i--) zk_page_pool_drop(&e->pool, seq->pages[i]); // the end of a prefix is given up before its start
  seq->num_pages = seq->num_cached = seq->num_entries = 0;
  seq->entry = 0;
}

void zk_schedule_remove_running(zk_engine *e, int32_t idx) {
  memmove(e->running + idx, e->running + idx + 1, (size_t)(--e->num_running - idx) * sizeof *e->running);
}

void zk_schedule_drop_prefix(zk_engine *e, zk_group *group) {
  if (!group->prefix) return;
  zk_schedule_release(e, group->prefix);
  zk_sequence_free(group->prefix);
  group->prefix = NULL;
  group->prefix_state = ZK_PREFIX_NONE;
}

static int32_t pages_for(const zk_engine *e, int32_t tokens) {
  return (tokens + e->options.page_tokens - 1) / e->options.page_tokens;
}

// Pages that nobody uses, be they free or kept for what they hold.
static int32_t available(const zk_engine *e) { return e->pool.num_free + e->pool.num_idle; }

// Starts a sequence without pages on those that others have left, up to the row that has to be computed.
static void adopt(zk_engine *e, zk_sequence *seq) {
  const int32_t page_tokens = e->options.page_tokens, most = seq->is_prefix ? seq->num_tokens : seq->num_tokens - 1;
  if (!e->options.prefix_cache) return;
  while ((seq->num_pages + 1) * page_tokens <= most) {
    const int32_t page = zk_prefix_cache_find(&e->prefixes, seq->tokens + seq->num_pages * page_tokens, &seq->entry);
    if (page < 0) break;
    zk_page_pool_share(&e->pool, page);
    seq->pages[seq->num_pages++] = page;
  }
  seq->num_entries = seq->num_pages;
  seq->num_cached = seq->num_pages * page_tokens;
}

void zk_schedule_publish(zk_engine *e, zk_sequence *seq, int32_t num_tokens) {
  const int32_t page_tokens = e->options.page_tokens;
  if (!e->options.prefix_cache) return;
  for (; seq->num_entries < seq->num_pages && (seq->num_entries + 1) * page_tokens <= num_tokens; seq->num_entries++) {
    const int32_t *tokens = seq->tokens + seq->num_entries * page_tokens;
    if (zk_prefix_cache_find(&e->prefixes, tokens, &seq->entry) < 0) zk_prefix_cache_add(&e->prefixes, seq->pages[seq->num_entries], tokens, &seq->entry);
  }
}

// What the cache holds is a function of the weights too.
static zk_status check_weights(zk_engine *e) {
  if (e->weights_version == e->policy->version) return ZK_OK;
  if (e->num_running) return ZK_FAIL(ZK_INTERNAL, "the weights changed while %d sequences were being sampled", e->num_running);
  for (zk_group *g = e->groups; g; g = g->next) zk_schedule_drop_prefix(e, g);
  zk_prefix_cache_drop_all(&e->prefixes);
  e->weights_version = e->policy->version;
  return ZK_OK;
}

static void preempt(zk_engine *e, int32_t idx) {
  zk_sequence *seq = e->running[idx];
  zk_schedule_release(e, seq);
  zk_schedule_remove_running(e, idx);
  e->stats.preemptions++;
  if (seq->is_prefix) {
    zk_schedule_drop_prefix(e, seq->group);
    return;
  }
  zk_queue_push_front(&e->waiting, seq);
  e->num_waiting++;
  seq->group->num_waiting++;
}

// Frees at least one page by taking from whoever came last, but not from running[keep] or those before it. False: nothing to take.
static bool make_room(zk_engine *e, int32_t keep, const zk_group *keep_prefix) {
  if (e->num_running - 1 > keep) {
    preempt(e, e->num_running - 1);
    return true;
  }
  for (zk_group *g = e->groups; g; g = g->next)
    if (g != keep_prefix && g->prefix_state == ZK_PREFIX_READY) {
      zk_schedule_drop_prefix(e, g);
      return true;
    }
  return false;
}

// Pages for the first `tokens` tokens of running[idx]; false when it must give way itself.
static bool grow(zk_engine *e, int32_t idx, int32_t tokens) {
  zk_sequence *seq = e->running[idx];
  while (seq->num_pages < pages_for(e, tokens)) {
    int32_t page = zk_prefix_cache_take(&e->prefixes);
    if (page >= 0) seq->pages[seq->num_pages++] = page;
    else if (e->num_in_flight || !make_room(e, idx, NULL)) return false;
  }
  return true;
}

// A sample starts on its prompt's pages: full ones are shared, the last, partly filled one is copied.
static zk_status fork_prefix(zk_engine *e, zk_sequence *seq, bool *forked) {
  const zk_sequence *prefix = seq->group->prefix;
  int32_t full = prefix->num_cached / e->options.page_tokens;
  bool partial = prefix->num_cached % e->options.page_tokens != 0;
  int32_t copy = partial ? zk_prefix_cache_take(&e->prefixes) : -1;
  *forked = !partial || copy >= 0;
  if (!*forked) return ZK_OK;
  for (int32_t i = 0; i < full; i++) {
    zk_page_pool_share(&e->pool, prefix->pages[i]);
    seq->pages[i] = prefix->pages[i];
  }
  seq->num_pages = full;
  if (partial) {
    zk_attention_desc desc = zk_decoder_attention_desc(e->policy, e->options.page_tokens);
    seq->pages[seq->num_pages++] = copy;
    for (int l = 0; l < e->policy->config.num_layers; l++)
      ZK_TRY(zk_kv_copy_page(e->stream, &desc, prefix->pages[full], copy, e->k_cache[l], e->v_cache[l]));
    e->stats.page_copies++;
  }
  seq->num_cached = prefix->num_cached;
  seq->num_entries = prefix->num_entries, seq->entry = prefix->entry;
  e->stats.forks++;
  return ZK_OK;
}

static zk_status start_prefix(zk_engine *e, zk_group *group) {
  zk_sequence *seq = calloc(1, sizeof *seq);
  if (!seq) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a sequence");
  seq->group = group, seq->is_prefix = true, seq->num_tokens = group->num_prompt - 1;
  seq->tokens = malloc((size_t)group->num_prompt * sizeof *seq->tokens);
  seq->pages = malloc((size_t)e->max_pages * sizeof *seq->pages);
  if (!seq->tokens || !seq->pages) {
    zk_sequence_free(seq);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a prompt of %d tokens", group->num_prompt);
  }
  memcpy(seq->tokens, group->prompt, (size_t)(group->num_prompt - 1) * sizeof *seq->tokens);
  group->prefix = seq;
  adopt(e, seq);
  e->stats.reused_rows += (uint64_t)seq->num_cached;
  group->prefix_state = seq->num_cached < seq->num_tokens ? ZK_PREFIX_RUNNING : ZK_PREFIX_READY;
  if (group->prefix_state == ZK_PREFIX_RUNNING) e->running[e->num_running++] = seq;
  return ZK_OK;
}

static void admit(zk_engine *e, zk_sequence *seq) {
  (void)zk_queue_pop(&e->waiting);
  e->running[e->num_running++] = seq;
  e->num_waiting--;
  seq->group->num_waiting--;
  // Nobody else will fork from this prompt: its pages live on in the samples.
  if (seq->group->num_waiting == 0) zk_schedule_drop_prefix(e, seq->group);
}

// While the head of the queue waits for its prompt, prompts behind it are begun, as many as a step prefills, of samples that will find room: one after
// another each group would wait a step for its own. Not before some sample runs: the first prompt may begin with what all begin with, and leave it to them.
static zk_status begin_ahead(zk_engine *e) {
  int32_t rows = 0, places = e->options.max_batch;
  for (int32_t i = 0; i < e->num_running; i++) {
    if (e->running[i]->is_prefix) rows += e->running[i]->num_tokens - e->running[i]->num_cached;
    else places--;
  }
  if (places == e->options.max_batch) return ZK_OK;
  for (zk_sequence *seq = e->waiting.head; seq && places > 0; seq = seq->next, places--) {
    zk_group *group = seq->group;
    if (group->prefix_state != ZK_PREFIX_NONE || group->num_prompt < 2 || group->num_waiting < 2) continue;
    if (rows >= e->options.prefill_chunk || e->num_running == e->options.max_batch) break;
    if (available(e) < pages_for(e, group->num_prompt - 1) + e->num_running) break; // and a page for each that runs
    ZK_TRY(start_prefix(e, group));
    rows += group->prefix->num_tokens - group->prefix->num_cached;
  }
  return ZK_OK;
}

// Takes waiting samples in while there is room. The head of the queue may have to wait for its prompt; then all wait.
static zk_status admit_waiting(zk_engine *e) {
  while (e->waiting.head && e->num_running < e->options.max_batch) {
    zk_sequence *seq = e->waiting.head;
    zk_group *group = seq->group;
    int32_t needed = pages_for(e, seq->num_tokens);
    // Sharing pays when others of the group will fork too; a sample alone, or one that was preempted, prefills by itself.
    bool share = group->num_prompt > 1 && (group->prefix_state != ZK_PREFIX_NONE || group->num_waiting > 1);
    if (share && group->prefix_state == ZK_PREFIX_RUNNING) return begin_ahead(e);
    if (share && group->prefix_state == ZK_PREFIX_NONE) {
      if (e->num_running && available(e) < pages_for(e, group->num_prompt - 1)) return ZK_OK;
      ZK_TRY(start_prefix(e, group));
      continue;
    }
    if (share) needed -= (group->num_prompt - 1) / e->options.page_tokens;
    else adopt(e, seq), needed -= seq->num_pages;
    if (available(e) < needed) {
      if (!share) zk_schedule_release(e, seq);
      if (e->num_running) return ZK_OK;
      if (make_room(e, -1, group)) continue;
      if (!share) return ZK_FAIL(ZK_INTERNAL, "%d free KV pages cannot hold a sequence of %d tokens", available(e), seq->num_tokens);
      zk_schedule_drop_prefix(e, group);
      continue;
    }
    if (share) {
      bool forked = false;
      ZK_TRY(fork_prefix(e, seq, &forked));
      if (!forked) return ZK_OK;
    } else e->stats.reused_rows += (uint64_t)seq->num_cached;
    admit(e, seq);
  }
  return ZK_OK;
}

// Guesses for a sample that is about to draw: as many as pay, and as pages are lying idle for; nobody gives way to a guess.
static zk_status draft(zk_engine *e, zk_sequence *seq) {
  const int32_t capacity = seq->group->num_prompt + seq->max_new;
  int32_t most = capacity - seq->num_tokens - 1; // the last token of all is drawn, never read
  if (most > seq->draft_most) most = seq->draft_most;
  while (seq->num_pages * e->options.page_tokens < seq->num_tokens + most && available(e) > e->num_running)
    seq->pages[seq->num_pages++] = zk_prefix_cache_take(&e->prefixes);
  if (most > seq->num_pages * e->options.page_tokens - seq->num_tokens) most = seq->num_pages * e->options.page_tokens - seq->num_tokens;
  ZK_TRY(zk_draft_propose(&e->drafts, seq->group->name, &seq->grams, seq->tokens, seq->num_tokens, capacity, most, &seq->num_draft));
  seq->batch_rows += seq->num_draft;
  return ZK_OK;
}

zk_status zk_schedule_plan(zk_engine *e, bool *must_take) {
  *must_take = false;
  ZK_TRY(check_weights(e));
  ZK_TRY(admit_waiting(e));
  int32_t chunk = e->options.prefill_chunk;
  for (int32_t i = 0; i < e->num_running; i++) {
    zk_sequence *seq = e->running[i];
    int32_t need = seq->num_tokens - seq->num_cached, rows = need;
    if (need > 1) {
      rows = need < chunk ? need : chunk;
      chunk -= rows;
    }
    seq->batch_rows = rows;
    if (rows && !grow(e, i, seq->num_cached + rows)) {
      seq->batch_rows = 0;
      if (e->num_in_flight) { // whoever gives way must know its tokens, and may have ended already
        *must_take = true;
        return ZK_OK;
      }
      if (i == 0) return ZK_FAIL(ZK_INTERNAL, "the KV cache of %d pages cannot hold one sequence", e->pool.num_pages);
      preempt(e, i); // it is the last one now
    } else if (need == 1 && e->options.speculate && !seq->is_prefix && !seq->forced)
      ZK_TRY(draft(e, seq));
  }
  return ZK_OK;
}
