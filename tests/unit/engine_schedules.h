// Random schedules against the reference order: requests in random company, order and time, in engines of random shape. The seed of each
// schedule is its number, so one that fails can be run alone.
#ifndef ZK_TESTS_ENGINE_SCHEDULES_H
#define ZK_TESTS_ENGINE_SCHEDULES_H

#include "reference_decoder.h"

#include "rollout/engine_impl.h"

enum { NUM_REQUESTS = 24, SAMPLES = 3, NUM_COMPLETIONS = NUM_REQUESTS * SAMPLES, NUM_KINDS = 4 };

// A model and a way of sampling, with all completions as they must be.
typedef struct {
  test_model model;
  zk_engine_options options;
  zk_completion want[NUM_COMPLETIONS];
} schedule_kind;

static inline void schedule_kind_make(schedule_kind *k, int kind) {
  tiny_model_make(&k->model, kind & 1 ? ZK_BF16 : ZK_F32, 1 + (kind & 1), 11);
  k->options = tiny_options();
  k->options.max_sequence = 144; // the longest there is, so that a small cache is one that a single sequence can fill
  if (kind & 2) k->options.temperature = 0; // greedy: repeats itself, so that guesses come true
  run_alone(&k->model, k->options, NUM_REQUESTS, SAMPLES, k->want);
  for (int i = 0; i < NUM_COMPLETIONS; i++) assert_is_reference(&k->model.policy, &k->options, i / SAMPLES, &k->want[i]);
}

static inline void schedule_kind_close(schedule_kind *k) {
  free_completions(k->want, NUM_COMPLETIONS);
  test_model_close(&k->model);
}

typedef struct {
  uint64_t state;
} schedule_random;
static inline int below(schedule_random *r, int n) {
  r->state = r->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (int)((r->state >> 33) % (uint64_t)n);
}

static inline zk_engine_options random_options(schedule_random *r, const schedule_kind *k) {
  static const int32_t pages[] = {16, 32, 48, 64}, chunks[] = {1, 2, 5, 13, 32, 64, 200};
  zk_engine_options o = k->options;
  o.max_batch = 1 + below(r, 12), o.page_tokens = pages[below(r, 4)], o.prefill_chunk = chunks[below(r, 7)];
  o.speculate = below(r, 2) ? below(r, 9) : 0;
  o.prefix_cache = below(r, 2), o.steps_ahead = below(r, 2);
  o.kv_room = 1;
  const size_t least = zk_engine_kv_bytes(&k->model.policy, &o);
  o.kv_bytes = below(r, 3) ? least + (size_t)below(r, 4) * least / 3 : 64 * least; // one to two sequences of full length, or no want of room
  return o;
}

typedef struct {
  uint64_t preemptions, forks, drafted, accepted, reused_rows, completions, different, flips;
  int last_different; // request of it
} schedule_totals;

// Flips a bit of a key in the cache of a sample that runs alone in its group and shares no page. Returns its request, -1 when there is none.
static inline int flip_a_key(zk_engine *e) {
  for (int i = 0; i < e->num_running; i++) {
    zk_sequence *seq = e->running[i];
    if (seq->is_prefix || seq->num_cached < 1 || seq->group->num_open > 1 || e->pool.uses[seq->pages[0]] != 1 || seq->max_new < 5) continue;
    if (seq->num_tokens - seq->group->num_prompt + 3 > seq->max_new) continue;
    const zk_attention_desc desc = zk_decoder_attention_desc(e->policy, e->options.page_tokens);
    const size_t page_bytes = zk_kv_cache_bytes(e->policy->device, &desc, 2) - zk_kv_cache_bytes(e->policy->device, &desc, 1);
    ((unsigned char *)e->k_cache[0])[(size_t)seq->pages[0] * page_bytes + 3] ^= 0x40; // the top of an exponent
    return (int)seq->group->tag;
  }
  return -1;
}

// One engine, a few waves of requests, all of them compared. fault: a seeded one in one sequence.
static inline void run_schedule(const schedule_kind *k, uint64_t number, bool fault, schedule_totals *totals) {
  schedule_random r = {number * UINT64_C(0x9e3779b97f4a7c15) + 1};
  zk_engine_options o = random_options(&r, k);
  if (fault) o.prefix_cache = false, o.kv_bytes = 64 * o.kv_bytes, o.speculate = o.steps_ahead = 0; // nobody is preempted, whose pages would be made anew
  zk_engine *e;
  OK(zk_engine_open(&k->model.policy, &o, &e));
  bool is_open[NUM_REQUESTS] = {false};
  int left = 3 + below(&r, 8), flipped = -1;
  while (left || zk_engine_num_open(e)) {
    while (left && (!zk_engine_num_open(e) || !below(&r, 3))) { // requests come and go
      const int request = below(&r, NUM_REQUESTS), num = fault ? 1 : 1 + below(&r, SAMPLES);
      if (is_open[request]) break;
      is_open[request] = true;
      tiny_submit(e, request, below(&r, SAMPLES - num + 1), num);
      left--;
    }
    OK(zk_engine_step(e));
    if (fault && flipped < 0) flipped = flip_a_key(e);
    for (zk_completion c; zk_engine_take(e, &c);) {
      is_open[c.tag] = false;
      totals->completions++;
      if (!same_completion(&c, &k->want[c.tag * SAMPLES + (uint64_t)c.sample])) totals->different++, totals->last_different = (int)c.tag;
      zk_completion_free(&c);
    }
  }
  if (flipped >= 0) totals->flips++;
  assert_no_page_lost(e);
  zk_engine_stats s;
  zk_engine_get_stats(e, &s);
  totals->preemptions += s.preemptions, totals->forks += s.forks, totals->drafted += s.drafted, totals->accepted += s.accepted;
  totals->reused_rows += s.reused_rows;
  zk_engine_close(e);
  if (fault && flipped >= 0 && (totals->different != totals->flips || totals->last_different != flipped))
    fail_msg("schedule %d: a bit was flipped in request %d, %d completions differ, the last of them of %d", (int)number, flipped,
             (int)totals->different, totals->last_different);
}

// Schedules [0, num), and num / 20 with a fault, which must be seen in the one sequence that has it and in no other.
static inline void run_schedules(int num) {
  static schedule_kind kinds[NUM_KINDS];
  schedule_totals totals = {0}, faulty = {0};
  for (int i = 0; i < NUM_KINDS; i++) schedule_kind_make(&kinds[i], i);
  for (int i = 0; i < num; i++) {
    run_schedule(&kinds[i % NUM_KINDS], (uint64_t)i, false, &totals);
    if (totals.different) fail_msg("schedule %d, kind %d: request %d differs", i, i % NUM_KINDS, totals.last_different);
  }
  for (int i = 0; i < num / 20; i++) run_schedule(&kinds[i % NUM_KINDS], (uint64_t)i, true, &faulty);
  print_message("%d schedules: %d completions, %d preemptions, %d forks, %d of %d guesses right, %d rows reused; %d of %d flipped bits seen\n", num,
                (int)totals.completions, (int)totals.preemptions, (int)totals.forks, (int)totals.accepted, (int)totals.drafted,
                (int)totals.reused_rows, (int)faulty.different, (int)faulty.flips);
  assert_true(totals.preemptions > 0 && totals.forks > 0 && totals.accepted > 0 && totals.accepted < totals.drafted && totals.reused_rows > 0);
  assert_true(faulty.flips > 0);
  for (int i = 0; i < NUM_KINDS; i++) schedule_kind_close(&kinds[i]);
}

#endif
