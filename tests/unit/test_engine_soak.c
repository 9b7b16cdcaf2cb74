// A million tokens of requests in fast succession through one engine: no page is lost, no byte of heap or device memory stays behind.
// label: slow
#include "engine_fixture.h"

#include <malloc.h>
#include <unistd.h>

enum { SCRATCH_BYTES = 4096 };

// Bytes of heap in use (0 where a sanitizer has the heap, which then finds what is never freed).
static size_t heap_in_use(void) {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

static long resident_bytes(void) {
  long total = 0, resident = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f) return 0;
  if (fscanf(f, "%ld %ld", &total, &resident) != 2) resident = 0;
  fclose(f);
  return resident * sysconf(_SC_PAGESIZE);
}

// 400 groups, submitted as others finish; a few of them cannot be run. Returns the tokens they had.
static long wave(zk_engine *e, int number) {
  long tokens = 0;
  for (int submitted = 0; submitted < 400 || zk_engine_num_open(e);) {
    for (; submitted < 400 && zk_engine_num_waiting(e) < 8; submitted++) {
      if (submitted % 50 == 7) OK(zk_engine_submit(e, &(zk_request){.tag = 1, .num_samples = 2})); // an empty prompt
      else tiny_submit(e, (number * 400 + submitted) % 1000, 0, 1 + submitted % 4);
    }
    OK(zk_engine_step(e));
    for (zk_completion c; zk_engine_take(e, &c); zk_completion_free(&c)) tokens += c.num_tokens;
  }
  assert_no_page_lost(e);
  return tokens;
}

static void run_soak(int speculate, long num_tokens) {
  test_model m;
  tiny_model_make(&m, ZK_F32, 1, 11);
  zk_engine_options o = tiny_options();
  o.max_sequence = 144, o.prefix_cache = true, o.speculate = speculate, o.steps_ahead = 1, o.kv_room = 1; // the one without guesses runs a step ahead
  o.kv_bytes = 3 * zk_engine_kv_bytes(&m.policy, &o); // some are preempted all the time
  zk_engine *e;
  OK(zk_engine_open(&m.policy, &o, &e));
  long tokens = wave(e, 0);
  OK(zk_policy_changed(&m.policy, m.stream));
  tokens += wave(e, 1);
  const size_t heap = heap_in_use(), device = zk_device_memory_peak(m.device);
  const long resident = resident_bytes();
  int num = 2;
  for (; tokens < num_tokens; num++) {
    tokens += wave(e, num);
    if (num % 5 == 0) OK(zk_policy_changed(&m.policy, m.stream)); // the same weights: what was cached is dropped all the same
    // An operation's scratch grows with the largest step it has seen; a byte lost with each token would be a hundred times that.
    if (heap_in_use() > heap + SCRATCH_BYTES) fail_msg("wave %d leaves %zu bytes of heap behind", num, heap_in_use() - heap);
    if (zk_device_memory_peak(m.device) > device + SCRATCH_BYTES) fail_msg("wave %d leaves device memory behind", num);
  }
  zk_engine_stats s;
  zk_engine_get_stats(e, &s);
  print_message("%ld tokens in %d waves: %d preemptions, %d rows reused, %d of %d guesses right; %zu bytes of heap, resident memory grew by %ld\n", tokens,
                num, (int)s.preemptions, (int)s.reused_rows, (int)s.accepted, (int)s.drafted, heap, resident_bytes() - resident);
  assert_true(s.preemptions > 0 && s.reused_rows > 0);
  OK(zk_policy_changed(&m.policy, m.stream));
  OK(zk_engine_step(e)); // notices, and drops the cache
  zk_engine_get_stats(e, &s);
  assert_int_equal(s.num_free_pages, s.num_pages);
#ifndef __SANITIZE_ADDRESS__
  assert_true(resident_bytes() - resident < (speculate ? 112L << 20 : 32L << 20)); // what is remembered to guess from has its own, fixed room
#endif
  zk_engine_close(e);
  test_model_close(&m);
}

static void a_million_tokens(void **state) {
  (void)state;
  run_soak(0, 700000);
  run_soak(4, 300000);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_million_tokens)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
