// A million tokens of requests in fast succession through one engine: no page is lost, no byte of heap or device memory stays behind.
// ZK_TEST_DEVICE=cuda runs it on a GPU, with a model that its matrix kernels take and with what a driver may keep for itself allowed for.
// label: slow; cost: 10
#include "engine_fixture.h"

#include <malloc.h>
#include <unistd.h>

enum { CUDA_WIDER = 4 }; // sequences in a step and in the queue, against a CPU's; with three times the pages some are still preempted all the time

static bool on_gpu(void) {
  const char *kind = getenv("ZK_TEST_DEVICE");
  return kind && !strcmp(kind, "cuda");
}

// An operation's scratch grows with the largest step it has seen, a driver's memory with the graphs it is given; a byte lost with each token would be
// a hundred times the one, and as much as the other.
static size_t slack(void) { return on_gpu() ? 1 << 20 : 4096; }
static long resident_slack(int speculate) { return ((speculate ? 112L : 32L) + (on_gpu() ? 64L : 0L)) << 20; }
enum { DRIVER_SLACK = 32 << 20 };

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

static void make_model(test_model *m) {
  if (!on_gpu()) {
    tiny_model_make(m, ZK_F32, 1, 11);
    return;
  }
  zk_model_config c = zk_model_config_default(ZK_MODEL_QWEN3);
  c.num_layers = 2, c.hidden = 256, c.num_heads = 4, c.num_kv_heads = 2, c.head_dim = 128, c.intermediate = 512, c.vocab = 1024;
  c.max_position = 512, c.tie_embeddings = 1, c.num_eos = 1, c.eos_ids[0] = 39;
  test_model_open_on(m, ZK_DEVICE_CUDA, ZK_BF16, &c);
  test_model_give(m, test_model_weights(m, 11, 0.1));
}

// What the device itself says is in use, by whomever: 0 on a CPU, whose memory is everybody's.
static size_t device_in_use(const test_model *m, size_t before) {
  const size_t now = zk_device_memory_free(m->device);
  return on_gpu() && now < before ? before - now : 0;
}

// 400 groups, submitted as others finish; a few of them cannot be run. Returns the tokens they had.
static long wave(zk_engine *e, int number) {
  long tokens = 0;
  for (int submitted = 0; submitted < 400 || zk_engine_num_open(e);) {
    for (; submitted < 400 && zk_engine_num_waiting(e) < (on_gpu() ? 8 * CUDA_WIDER : 8); submitted++) {
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
  make_model(&m);
  zk_engine_options o = tiny_options();
  o.max_sequence = 144, o.prefix_cache = true, o.speculate = speculate, o.steps_ahead = 1, o.kv_room = 1; // the one without guesses runs a step ahead
  o.kv_bytes = 3 * zk_engine_kv_bytes(&m.policy, &o); // some are preempted all the time
  if (on_gpu()) o.kv_bytes *= 3, o.max_batch *= CUDA_WIDER;
  zk_engine *e;
  OK(zk_engine_open(&m.policy, &o, &e));
  long tokens = wave(e, 0);
  OK(zk_policy_changed(&m.policy, m.stream));
  int num = 1;
  for (; num == 1 || tokens < num_tokens / 4; num++) tokens += wave(e, num); // until the largest steps have been
  const size_t heap = heap_in_use(), device = zk_device_memory_peak(m.device), device_free = zk_device_memory_free(m.device);
  const long resident = resident_bytes();
  for (; tokens < num_tokens; num++) {
    tokens += wave(e, num);
    if (num % 5 == 0) OK(zk_policy_changed(&m.policy, m.stream)); // the same weights: what was cached is dropped all the same
    if (heap_in_use() > heap + slack()) fail_msg("wave %d leaves %zu bytes of heap behind", num, heap_in_use() - heap);
    if (zk_device_memory_peak(m.device) > device + slack()) fail_msg("wave %d leaves %zu bytes of device memory behind", num, zk_device_memory_peak(m.device) - device);
    if (device_in_use(&m, device_free) > DRIVER_SLACK) fail_msg("wave %d leaves device memory with the driver", num);
  }
  zk_engine_stats s;
  zk_engine_get_stats(e, &s);
  print_message("%ld tokens in %d waves: %d preemptions, %d rows reused, %d of %d guesses right, %d of %d steps from graphs; %zu bytes of heap; resident "
                "memory grew by %ld, the device's by %zu, of it ours %zu\n",
                tokens, num, (int)s.preemptions, (int)s.reused_rows, (int)s.accepted, (int)s.drafted, (int)s.graph_steps, (int)s.steps, heap,
                resident_bytes() - resident, device_in_use(&m, device_free), zk_device_memory_peak(m.device) - device);
  assert_true(s.preemptions > 0 && s.reused_rows > 0);
  OK(zk_policy_changed(&m.policy, m.stream));
  OK(zk_engine_step(e)); // notices, and drops the cache
  zk_engine_get_stats(e, &s);
  assert_int_equal(s.num_free_pages, s.num_pages);
#ifndef __SANITIZE_ADDRESS__
  assert_true(resident_bytes() - resident < resident_slack(speculate)); // what is remembered to guess from has its own, fixed room
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
