// Runs CUDA kernels on a CPU, exactly and slowly: every thread of a block is a fiber, and the groups of blocks that must run at once (most groups are one
// block) are shared among OpenMP threads. Barriers, waits and warp exchanges switch fibers. Where all wait and nothing is left that could let one of them
// go on, the kernel would hang on a GPU: it is said who waits for what, and the process ends.
#include <omp.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>

#include <algorithm>

#include "order.h"
#include "simt_impl.h"

// Stacks are a little longer than a power of two, so that the frames of a block's fibers do not fall on the same few sets of the caches.
enum { MAX_THREADS = 1024, STACK_BYTES = (128 << 10) + 17 * 64 };
#define IDLE_LIMIT 2000000 // rounds in which everybody only looks again

thread_local zk_simt_place *zk_simt_here;
thread_local group *zk_simt_group;
static uint64_t order;

int zk_simt_num_sms = 4;

void zk_simt_set_order(uint64_t seed) { order = seed; }
void zk_simt_set_num_sms(int num_sms) { zk_simt_num_sms = num_sms; }

uint64_t zk_simt_draw(uint64_t below) {
  group *g = zk_simt_group;
  if (g->random == 0) return 0;
  g->random ^= g->random << 13, g->random ^= g->random >> 7, g->random ^= g->random << 17;
  return g->random % below;
}

void zk_simt_stop(const char *format, ...) {
  va_list list;
  va_start(list, format);
  fprintf(stderr, "emulated device: ");
  vfprintf(stderr, format, list);
  fprintf(stderr, "\n");
  va_end(list);
  abort();
}

// ---- fibers

// Saves the callee-saved registers and the stack pointer to *from, and continues at `to` (System V x86-64).
extern "C" void zk_simt_switch(void **from, void *to);
asm(R"(
.text
.globl zk_simt_switch
.type zk_simt_switch, @function
zk_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size zk_simt_switch, .-zk_simt_switch
)");

static int end_of_warp(const group *g, int i) {
  const int end = i / 32 * 32 + 32;
  return end < g->num_fibers ? end : g->num_fibers;
}

// To the next fiber of the warp that can go on, else to the scheduler.
static void leave(fiber_state state) {
  group *g = zk_simt_group;
  fiber *f = zk_simt_me();
  f->state = state;
  g->num_events += state != WAITING || f->wait.kind != FOR_WORDS; // who only looked has done nothing
  const int end = end_of_warp(g, g->current);
  int next = g->current + 1;
  while (next < end && g->fibers[(size_t)next].state != READY) next++;
  if (next == end) return zk_simt_switch(&f->stack_pointer, g->scheduler);
  g->current = next;
  zk_simt_here = &g->fibers[(size_t)next].place;
  zk_simt_switch(&f->stack_pointer, g->fibers[(size_t)next].stack_pointer);
}

static void fiber_main(void) {
  (*zk_simt_group->body)();
  zk_simt_ends();
  leave(DONE);
}

static void start(group *g, int i) {
  fiber *f = &g->fibers[(size_t)i];
  void **top = reinterpret_cast<void **>(g->stacks + (size_t)(i + 1) * STACK_BYTES);
  *--top = nullptr;                                   // keeps the stack aligned as after a call
  *--top = reinterpret_cast<void *>(fiber_main);
  for (int r = 0; r < 6; r++) *--top = nullptr;
  f->stack_pointer = top;
  f->state = READY;
  f->parity = f->num_mma = f->num_wgmma = 0;
  f->num_groups = 0, f->words_seen = UINT64_MAX, f->looked_at = nullptr, f->has_arrived = false;
  f->unread.clear(), f->unwritten.clear(), f->small_copies.clear();
}

static void run(group *g, int i) {
  g->current = i;
  zk_simt_here = &g->fibers[(size_t)i].place;
  zk_simt_switch(&g->scheduler, g->fibers[(size_t)i].stack_pointer);
}

// ---- the scheduler

// Lets lanes of a warp go on whose whole mask has arrived; true if any.
static bool release_warp(group *g, int first, int last) {
  unsigned waiting = 0, alive = 0;
  for (int i = first; i < last; i++) {
    if (g->fibers[(size_t)i].state == AT_WARP) waiting |= 1u << (i - first);
    if (g->fibers[(size_t)i].state != DONE) alive |= 1u << (i - first);
  }
  bool any = false;
  for (int i = first; i < last; i++) {
    fiber *f = &g->fibers[(size_t)i];
    const unsigned needed = f->mask & alive;
    if (!(waiting >> (i - first) & 1) || (needed & waiting) != needed) continue;
    f->state = READY;
    any = true;
  }
  return any;
}

static void run_warp(group *g, int first) {
  const int last = end_of_warp(g, first);
  for (int i = first; i < last; i++) {
    fiber *f = &g->fibers[(size_t)i];
    if (f->state == WAITING && zk_simt_has_come(f)) f->state = READY;
  }
  do
    for (int i = first; i < last; i++)
      if (g->fibers[(size_t)i].state == READY) run(g, i);
  while (release_warp(g, first, last) && (g->random == 0 || zk_simt_draw(32) != 0)); // others may come between any two exchanges
}

// A block whose threads have all come to __syncthreads, or have ended, goes on. Returns the number of its threads that have ended.
static int release_block(group *g, int b) {
  block *of = &g->blocks[(size_t)b];
  fiber *first = &g->fibers[(size_t)(b * g->fibers_per_block)];
  int done = 0, at_block = 0;
  for (int i = 0; i < g->fibers_per_block; i++) done += first[i].state == DONE, at_block += first[i].state == AT_BLOCK;
  if (at_block == 0 || done + at_block != g->fibers_per_block) return done;
  of->vote_result = of->votes;
  of->votes = 0;
  for (int i = 0; i < g->fibers_per_block; i++)
    if (first[i].state == AT_BLOCK) first[i].state = READY;
  g->num_events++;
  return done;
}

// One of the copies, if there is one that may be done: those of the slow block only when `all_wait`.
static bool do_copy(group *g, bool all_wait) {
  const size_t n = g->copies.size(), from = n == 0 ? 0 : zk_simt_draw(n);
  size_t i = 0;
  while (i < n && g->copies[(from + i) % n].block == g->slow_block) i++;
  if (i == n && (n == 0 || !all_wait)) return false;
  i = (from + i) % n;
  std::swap(g->copies[i], g->copies.front());
  const std::function<void()> work = std::move(g->copies.front().work);
  g->copies.pop_front();
  work();
  g->num_events++;
  return true;
}

static void draw_slow_block(group *g) {
  const int num_blocks = g->num_blocks;
  g->slow_block = g->random != 0 && num_blocks > 1 ? (int)zk_simt_draw((uint64_t)num_blocks) : -1;
}

// Until one of them may have let somebody go on; where the order is random, now and then fewer.
static bool do_copies(group *g, bool all_wait) {
  const uint64_t before = g->num_wakes;
  if (!do_copy(g, all_wait)) return false;
  while (g->num_wakes == before && (g->random == 0 || zk_simt_draw(16) != 0) && do_copy(g, all_wait)) {}
  return true;
}

static const char *state_name(const fiber *f) {
  if (f->state == AT_WARP) return "at an exchange of its warp";
  if (f->state == AT_BLOCK) return "at __syncthreads";
  return f->wait.kind == FOR_PHASE   ? "for a phase of an mbarrier"
         : f->wait.kind == FOR_COUNT ? "at a barrier"
         : f->wait.kind == FOR_READS || f->wait.kind == FOR_COPIES ? "for its copies"
                                      : "looking again and again";
}

[[noreturn]] static void tell_hang(const group *g) {
  fprintf(stderr, "emulated device: a kernel stands still. Those who have not ended wait:\n");
  for (int first = 0; first < g->num_fibers; first = end_of_warp(g, first))
    for (int i = first, same = 0; i < end_of_warp(g, first); i += same) {
      const fiber *f = &g->fibers[(size_t)i];
      const auto alike = [&](const fiber *x) {
        return x->state == f->state && (f->state != WAITING || (x->wait.kind == f->wait.kind && x->wait.at == f->wait.at && x->wait.value == f->wait.value));
      };
      for (same = 1; i + same < end_of_warp(g, first) && alike(f + same);) same++;
      const int b = i / g->fibers_per_block;
      if (f->state == DONE) continue;
      fprintf(stderr, "  block %d, warp %d, %d threads: %s", b, i % g->fibers_per_block / 32, same, state_name(f));
      if (f->state == WAITING && f->wait.kind == FOR_PHASE)
        fprintf(stderr, " %td bytes into shared memory, parity %d", static_cast<const char *>(f->wait.at) - g->blocks[(size_t)b].shared, (int)f->wait.value);
      fprintf(stderr, "\n");
    }
  abort();
}

// Every warp once; where the order is random one in four is left out, if it may be.
static void run_all(group *g, bool leave_out) {
  const int num_warps = (int)g->warps.size(), from = (int)zk_simt_draw((uint64_t)num_warps);
  for (int w = 0; w < num_warps; w++)
    if (!leave_out || g->random == 0 || zk_simt_draw(4) != 0) run_warp(g, (from + w) % num_warps * 32);
  while (g->random != 0 && zk_simt_draw(3) == 0 && do_copies(g, false)) {}
}

static void sort_by_rank(group *g) {
  g->ranking.resize(g->warps.size());
  for (size_t w = 0; w < g->ranking.size(); w++) g->ranking[w] = (int)w;
  std::sort(g->ranking.begin(), g->ranking.end(), [&](int a, int b) { return g->warps[(size_t)a].rank < g->warps[(size_t)b].rank; });
}

// The lowest rank first: who has done something is followed by the lowest again, as a rule (of many warps seldom, as it takes its time).
static void run_by_rank(group *g) {
  const uint64_t goes_on = g->warps.size() <= 64 ? 8 : 1;
  for (int w : g->ranking) {
    const uint64_t before = g->num_events;
    if (g->copies_rank > g->warps[(size_t)w].rank || !do_copies(g, false)) run_warp(g, 32 * w);
    if (g->num_events == before) continue;
    if (zk_simt_draw(64) == 0) {
      g->copies_rank = zk_simt_draw(1 << 30);
      if (zk_simt_draw(64) == 0) draw_slow_block(g);
      g->warps[zk_simt_draw(g->warps.size())].rank = zk_simt_draw(1 << 30);
      return sort_by_rank(g);
    }
    if (zk_simt_draw(goes_on) != 0) return;
  }
}

static void run_group(group *g) {
  const int num_blocks = g->num_blocks;
  int idle = 0;
  for (int i = 0; i < g->num_fibers; i++) start(g, i);
  for (warp &w : g->warps) w.num_mma = w.num_wgmma = 0, w.open.clear(), w.groups.clear(), w.rank = zk_simt_draw(1 << 30);
  g->copies_rank = zk_simt_draw(1 << 30);
  sort_by_rank(g), draw_slow_block(g);
  for (;;) {
    const uint64_t before = g->num_events;
    const bool leave_out = idle == 0;
    if (g->by_rank) run_by_rank(g);
    else run_all(g, leave_out);
    int done = 0;
    for (int b = 0; b < num_blocks; b++) done += release_block(g, b);
    if (done == g->num_fibers) break;
    if (g->num_events != before) {
      idle = 0;
      continue;
    }
    if (g->random != 0 && !g->by_rank && leave_out) { // once more, and nobody is left out
      idle = 1;
      continue;
    }
    if (do_copies(g, true)) { // of many blocks some at once, as a round takes its time
      for (size_t n = g->copies.size() / 32; n > 0; n--) do_copy(g, false);
      idle = 0;
      continue;
    }
    bool looks = false; // at what another group may do
    for (int i = 0; i < g->num_fibers; i++) looks = looks || (g->fibers[(size_t)i].state == WAITING && g->fibers[(size_t)i].wait.kind == FOR_WORDS);
    if (!looks || ++idle > IDLE_LIMIT) tell_hang(g);
    sched_yield();
  }
  while (do_copy(g, true)) {}
}

static group *my_group(size_t num_fibers) {
  static thread_local group *mine;
  if (mine == nullptr) mine = new group();
  if (mine->num_stacks < num_fibers) {
    if (mine->stacks != nullptr) munmap(mine->stacks, mine->num_stacks * STACK_BYTES);
    mine->num_stacks = num_fibers < MAX_THREADS ? MAX_THREADS : num_fibers;
    void *stacks = mmap(nullptr, mine->num_stacks * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) zk_simt_stop("no room for the stacks of %zu threads", num_fibers);
    mine->stacks = static_cast<char *>(stacks);
  }
  return mine;
}

// A launch: the blocks of a group follow each other in x.
struct launch {
  dim3 grid, block;
  size_t shared_bytes;
  int blocks_at_once, cluster_blocks;
};

static void place_block(group *g, const launch &l, int64_t index, int b) {
  const dim3 &grid = l.grid, &of = l.block;
  const uint3 at = {(unsigned)(index % grid.x), (unsigned)(index / grid.x % grid.y), (unsigned)(index / grid.x / grid.y)};
  block *to = &g->blocks[(size_t)b];
  char *shared = to->shared;
  size_t room = to->room;
  if (room < l.shared_bytes + 1) { // kept from launch to launch
    free(shared);
    room = (l.shared_bytes + 2047) / 1024 * 1024;
    shared = static_cast<char *>(aligned_alloc(1024, room));
  }
  *to = {};
  to->shared = shared, to->room = room, to->shared_bytes = l.shared_bytes, to->num_alive = g->fibers_per_block;
  memset(to->shared, 0xff, l.shared_bytes);
  for (named_barrier &bar : to->named) bar.all = true;
  for (int i = 0; i < g->fibers_per_block; i++) {
    const uint3 thread = {(unsigned)i % of.x, (unsigned)i / of.x % of.y, (unsigned)i / of.x / of.y};
    g->fibers[(size_t)(b * g->fibers_per_block + i)].place = {thread, at, of, grid, to->shared};
  }
}

static void run_grid(const launch &l, uint64_t seed, const std::function<void()> &body) {
  const int64_t num_blocks = (int64_t)l.grid.x * l.grid.y * l.grid.z, num_groups = num_blocks / l.blocks_at_once;
  const int num_threads = (int)((int64_t)l.block.x * l.block.y * l.block.z);
  zk_simt_arena_open();
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t of = 0; of < num_groups; of++) {
    group *g = zk_simt_group = my_group((size_t)(num_threads * l.blocks_at_once));
    g->fibers_per_block = num_threads, g->num_fibers = num_threads * l.blocks_at_once;
    if (g->fibers.size() < (size_t)g->num_fibers) g->fibers.resize((size_t)g->num_fibers);
    g->warps.resize((size_t)(g->num_fibers + 31) / 32), g->num_blocks = l.blocks_at_once;
    if (g->blocks.size() < (size_t)l.blocks_at_once) g->blocks.resize((size_t)l.blocks_at_once);
    g->body = &body, g->cluster_blocks = l.cluster_blocks, g->random = seed == 0 ? 0 : (seed * 0x9e3779b97f4a7c15u + (uint64_t)of) | 1, g->by_rank = seed % 2 == 1;
    for (int b = 0; b < l.blocks_at_once; b++) place_block(g, l, of * l.blocks_at_once + b, b);
    run_group(g);
  }
  zk_simt_arena_close();
}

void zk_simt_launch_together(zk_simt_stream *stream, dim3 grid, dim3 block, size_t shared_bytes, int blocks_at_once, std::function<void()> body) {
  const int64_t num_blocks = (int64_t)grid.x * grid.y * grid.z, num_threads = (int64_t)block.x * block.y * block.z;
  if (num_threads < 1 || num_threads > MAX_THREADS || num_blocks < 1 || grid.y > 65535 || grid.z > 65535 || shared_bytes > 227 * 1024)
    zk_simt_stop("a GPU refuses %lld blocks of %lld threads with %zu bytes of shared memory", (long long)num_blocks, (long long)num_threads, shared_bytes);
  if (blocks_at_once < 1 || num_blocks % blocks_at_once != 0 || (blocks_at_once > 1 && num_threads % 32 != 0))
    zk_simt_stop("%lld blocks of %lld threads, and %d of them at once", (long long)num_blocks, (long long)num_threads, blocks_at_once);
  // Blocks that leave no room for another on their multiprocessor stay there as a rule, and may wait for each other: where there are no more than those.
  const bool stay = order != 0 && blocks_at_once == 1 && shared_bytes > 113 * 1024 && num_blocks <= zk_simt_num_sms && num_threads % 32 == 0;
  const launch l = {grid, block, shared_bytes, stay ? (int)num_blocks : blocks_at_once, blocks_at_once};
  const uint64_t seed = order;
  zk_simt_queue(stream, [=] { run_grid(l, seed, body); });
}

void zk_simt_launch(zk_simt_stream *stream, dim3 grid, dim3 block, size_t shared_bytes, std::function<void()> body) {
  zk_simt_launch_together(stream, grid, block, shared_bytes, 1, std::move(body));
}

// ---- together

void zk_simt_wait(wait_for what) {
  fiber *f = zk_simt_me();
  f->wait = what;
  if (!zk_simt_has_come(f)) leave(WAITING);
}

void zk_simt_pause(void) {
  if (zk_simt_group->random != 0 && zk_simt_draw(8) == 0) leave(READY);
}

void __syncthreads(void) { leave(AT_BLOCK); }
static int vote(int value) {
  block *mine = zk_simt_my_block();
  mine->votes += value;
  leave(AT_BLOCK);
  return mine->vote_result;
}
int __syncthreads_count(int predicate) { return vote(predicate != 0); }
int __syncthreads_or(int predicate) { return vote(predicate != 0) != 0; }
int __syncthreads_and(int predicate) { return vote(predicate == 0) == 0; }

unsigned zk_simt_lane(void) { return (unsigned)(zk_simt_group->current % zk_simt_group->fibers_per_block) % 32; }

void zk_simt_warp_exchange(unsigned mask, const void *mine, size_t bytes, const void **all, size_t *stride) {
  fiber *f = zk_simt_me();
  warp *of = zk_simt_my_warp();
  const unsigned parity = f->parity;
  f->parity ^= 1;
  f->mask = mask;
  memcpy(of->slot[parity][zk_simt_lane()], mine, bytes);
  leave(AT_WARP);
  *all = of->slot[parity];
  *stride = SLOT_BYTES;
}

unsigned __ballot_sync(unsigned mask, int predicate) {
  const void *all;
  size_t stride;
  zk_simt_warp_exchange(mask, &predicate, sizeof predicate, &all, &stride);
  unsigned ballot = 0;
  for (unsigned lane = 0; lane < 32; lane++) {
    int other;
    memcpy(&other, static_cast<const char *>(all) + lane * stride, sizeof other);
    if ((mask >> lane & 1) && other) ballot |= 1u << lane;
  }
  return ballot;
}
