// Runs CUDA kernels on a CPU, exactly and slowly: every thread of a block is a fiber; blocks are shared among OpenMP threads. Barriers and warp
// exchanges switch fibers. A barrier that not all threads reach is reported, as a GPU would hang.
//
// Device memory lies in one arena that is unreadable except while a kernel or a copy runs, so that host code which follows a device
// pointer crashes here as it would misbehave on a GPU. Fresh memory is filled with NaNs.
#include "simt.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <map>
#include <mutex>

#include "kernels/tensor_core.h"

// ---- device memory

static const size_t arena_bytes = (size_t)16 << 30, arena_free_told = (size_t)4 << 30;
static char *arena;
static std::mutex arena_lock;
static std::map<char *, size_t> used; // address -> bytes
static int open_count;
bool zk_simt_is_lost;

void zk_simt_arena_open(void) {
  std::lock_guard<std::mutex> guard(arena_lock);
  if (open_count++ == 0 && arena != nullptr) mprotect(arena, arena_bytes, PROT_READ | PROT_WRITE);
}
void zk_simt_arena_close(void) {
  std::lock_guard<std::mutex> guard(arena_lock);
  if (--open_count == 0 && arena != nullptr) mprotect(arena, arena_bytes, PROT_NONE);
}

bool zk_simt_in_arena(const void *memory) {
  const char *at = static_cast<const char *>(memory);
  return arena != nullptr && at >= arena && at < arena + arena_bytes;
}

cudaError_t cudaMalloc(void **out, size_t bytes) {
  const size_t page = 4096, want = (bytes + page - 1) / page * page + page; // a gap that is never mapped to anything
  {
    std::lock_guard<std::mutex> guard(arena_lock);
    if (arena == nullptr) {
      void *memory = mmap(nullptr, arena_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED) return cudaErrorMemoryAllocation;
      arena = static_cast<char *>(memory);
    }
    char *at = arena;
    for (const auto &block : used) {
      if (at + want <= block.first) break;
      at = block.first + block.second;
    }
    if (at + want > arena + arena_bytes) return cudaErrorMemoryAllocation;
    used[at] = want;
    *out = at;
  }
  return cudaMemsetAsync(*out, 0xff, bytes);
}

cudaError_t cudaFree(void *memory) {
  if (memory == nullptr) return cudaSuccess;
  zk_simt_finish_all();
  std::lock_guard<std::mutex> guard(arena_lock);
  const auto block = used.find(static_cast<char *>(memory));
  if (block == used.end()) return cudaErrorInvalidValue;
  madvise(block->first, block->second, MADV_DONTNEED);
  used.erase(block);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
  std::lock_guard<std::mutex> guard(arena_lock);
  size_t sum = 0;
  for (const auto &block : used) sum += block.second;
  *total = arena_free_told;
  *available = sum < arena_free_told ? arena_free_told - sum : 0;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int) {
  const char *name = getenv("ZK_SIMT_GPU"); // another kind of GPU
  *out = {"emulated on this CPU", 9, 0, 4, arena_free_told};
  if (name) snprintf(out->name, sizeof out->name, "%s", name);
  return cudaSuccess;
}

// ---- fibers

// Stacks are a little longer than a power of two, so that the frames of a block's fibers do not fall on the same few sets of the caches.
enum { MAX_THREADS = 1024, STACK_BYTES = (128 << 10) + 17 * 64, SLOT_BYTES = 32 };
typedef enum { READY, AT_WARP, AT_BLOCK, DONE } fiber_state;

struct fiber {
  void *stack_pointer;
  zk_simt_place place;
  fiber_state state;
  unsigned mask;   // of the exchange it waits in
  unsigned parity; // which of the two slots its next exchange uses
  unsigned num_mma; // tensor-core steps so far
};

// 16 bf16 of a row or a column, taken apart for zk_tc_step's arithmetic (kernels/tensor_core.h).
struct apart {
  zk_bf16 bits[ZK_TC_STEP];
  int32_t significand[ZK_TC_STEP], exponent[ZK_TC_STEP], sign[ZK_TC_STEP]; // sign: 0 or -1
  bool special;                                                           // an infinity or a NaN is among them
  void set(int i, uint32_t word) {
    bits[i].bits = (uint16_t)word;
    significand[i] = zk_tc_significand(word & 0xffffu);
    exponent[i] = zk_tc_exponent(word & 0xffffu);
    sign[i] = -(int32_t)(word >> 15 & 1);
    special |= (word & 0x7f80u) == 0x7f80u;
  }
};

struct warp {
  alignas(16) char slot[2][32][SLOT_BYTES];
  unsigned num_mma; // tensor-core steps whose operands have been taken apart; these are the last one's
  apart rows[16], columns[8];
};

struct worker { // one OS thread's block
  fiber fibers[MAX_THREADS];
  warp warps[MAX_THREADS / 32];
  char *stacks;
  void *scheduler;
  int num_fibers, current, votes, vote_result, vote_count;
  const std::function<void()> *body;
};

thread_local zk_simt_place *zk_simt_here;
static thread_local worker *here;

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

// To the next fiber of the warp that can go on, else to the scheduler.
static void leave(fiber_state state) {
  worker *w = here;
  fiber *f = &w->fibers[w->current];
  f->state = state;
  const int end = min(w->current / 32 * 32 + 32, w->num_fibers);
  int next = w->current + 1;
  while (next < end && w->fibers[next].state != READY) next++;
  if (next == end) return zk_simt_switch(&f->stack_pointer, w->scheduler);
  w->current = next;
  zk_simt_here = &w->fibers[next].place;
  zk_simt_switch(&f->stack_pointer, w->fibers[next].stack_pointer);
}

static void fiber_main(void) {
  (*here->body)();
  leave(DONE);
}

static void start(worker *w, int i) {
  fiber *f = &w->fibers[i];
  void **top = reinterpret_cast<void **>(w->stacks + (size_t)(i + 1) * STACK_BYTES);
  *--top = nullptr;                                   // keeps the stack aligned as after a call
  *--top = reinterpret_cast<void *>(fiber_main);
  for (int r = 0; r < 6; r++) *--top = nullptr;
  f->stack_pointer = top;
  f->state = READY;
  f->parity = 0;
  f->num_mma = 0;
}

static void run(worker *w, int i) {
  w->current = i;
  zk_simt_here = &w->fibers[i].place;
  zk_simt_switch(&w->scheduler, w->fibers[i].stack_pointer);
}

// Lets lanes of a warp go on whose whole mask has arrived; true if any.
static bool release_warp(worker *w, int first, int last) {
  unsigned waiting = 0, alive = 0;
  for (int i = first; i < last; i++) {
    if (w->fibers[i].state == AT_WARP) waiting |= 1u << (i - first);
    if (w->fibers[i].state != DONE) alive |= 1u << (i - first);
  }
  bool any = false;
  for (int i = first; i < last; i++) {
    fiber *f = &w->fibers[i];
    const unsigned needed = f->mask & alive;
    if (!(waiting >> (i - first) & 1) || (needed & waiting) != needed) continue;
    f->state = READY;
    any = true;
  }
  return any;
}

static void run_warp(worker *w, int first, int last) {
  do
    for (int i = first; i < last; i++)
      if (w->fibers[i].state == READY) run(w, i);
  while (release_warp(w, first, last));
}

static void run_block(worker *w) {
  for (int i = 0; i < w->num_fibers; i++) start(w, i);
  for (int i = 0; i < w->num_fibers; i += 32) w->warps[i / 32].num_mma = 0;
  w->votes = w->vote_count = 0;
  for (;;) {
    int done = 0, at_block = 0;
    for (int first = 0; first < w->num_fibers; first += 32) run_warp(w, first, min(first + 32, w->num_fibers));
    for (int i = 0; i < w->num_fibers; i++) done += w->fibers[i].state == DONE, at_block += w->fibers[i].state == AT_BLOCK;
    if (done == w->num_fibers) return;
    if (done + at_block != w->num_fibers) {
      fprintf(stderr, "emulated device: a barrier that not all threads reach: %d of %d wait for the block, %d are done\n", at_block, w->num_fibers, done);
      abort();
    }
    w->vote_result = w->votes;
    w->votes = 0;
    for (int i = 0; i < w->num_fibers; i++)
      if (w->fibers[i].state == AT_BLOCK) w->fibers[i].state = READY;
  }
}

static worker *my_worker(void) {
  static thread_local worker *mine;
  if (mine == nullptr) {
    mine = new worker();
    void *stacks = mmap(nullptr, (size_t)MAX_THREADS * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) abort();
    mine->stacks = static_cast<char *>(stacks);
  }
  return mine;
}

static void place_fibers(worker *w, dim3 grid, dim3 block, int64_t index, void *shared) {
  const uint3 at = {(unsigned)(index % grid.x), (unsigned)(index / grid.x % grid.y), (unsigned)(index / grid.x / grid.y)};
  for (int i = 0; i < w->num_fibers; i++) {
    const uint3 thread = {(unsigned)i % block.x, (unsigned)i / block.x % block.y, (unsigned)i / block.x / block.y};
    w->fibers[i].place = {thread, at, block, grid, shared};
  }
}

static void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &body) {
  const int64_t num_blocks = (int64_t)grid.x * grid.y * grid.z, num_threads = (int64_t)block.x * block.y * block.z;
  zk_simt_arena_open();
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t b = 0; b < num_blocks; b++) {
    worker *w = here = my_worker();
    void *shared = aligned_alloc(1024, (shared_bytes + 2047) / 1024 * 1024);
    memset(shared, 0xff, shared_bytes);
    w->num_fibers = (int)num_threads;
    w->body = &body;
    place_fibers(w, grid, block, b, shared);
    run_block(w);
    free(shared);
  }
  zk_simt_arena_close();
}

void zk_simt_launch(zk_simt_stream *stream, dim3 grid, dim3 block, size_t shared_bytes, std::function<void()> body) {
  const int64_t num_blocks = (int64_t)grid.x * grid.y * grid.z, num_threads = (int64_t)block.x * block.y * block.z;
  if (num_threads < 1 || num_threads > MAX_THREADS || num_blocks < 1 || grid.y > 65535 || grid.z > 65535 || shared_bytes > 227 * 1024) {
    fprintf(stderr, "emulated device: a GPU refuses %lld blocks of %lld threads with %zu bytes of shared memory\n", (long long)num_blocks,
            (long long)num_threads, shared_bytes);
    abort();
  }
  zk_simt_queue(stream, [=] { run_grid(grid, block, shared_bytes, body); });
}

// ---- together

void __syncthreads(void) { leave(AT_BLOCK); }
static int vote(int value) {
  here->votes += value;
  leave(AT_BLOCK);
  return here->vote_result;
}
int __syncthreads_count(int predicate) { return vote(predicate != 0); }
int __syncthreads_or(int predicate) { return vote(predicate != 0) != 0; }
int __syncthreads_and(int predicate) { return vote(predicate == 0) == 0; }

unsigned zk_simt_lane(void) { return (unsigned)here->current % 32; }

void zk_simt_warp_exchange(unsigned mask, const void *mine, size_t bytes, const void **all, size_t *stride) {
  worker *w = here;
  fiber *f = &w->fibers[w->current];
  warp *group = &w->warps[w->current / 32];
  const unsigned parity = f->parity;
  f->parity ^= 1;
  f->mask = mask;
  memcpy(group->slot[parity][w->current % 32], mine, bytes);
  leave(AT_WARP);
  *all = group->slot[parity];
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

// zk_tc_step without a branch for each product: magnitudes below 2^27 fit words of 32 bits, and so does the sum of 16 of them.
#if defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
__attribute__((target_clones("avx2", "default"), optimize("O3")))
#endif
static float step_apart(const apart &a, const apart &b, float acc) {
  const uint32_t acc_bits = zk_float_bits(acc), acc_field = acc_bits >> 23 & 255u;
  if (a.special || b.special || acc_field == 255u) return zk_tc_step(a.bits, b.bits, acc);
  const int64_t acc_significand = (acc_bits & 0x7fffffu) | (acc_field != 0 ? 0x800000u : 0u);
  const int32_t acc_exponent = (int32_t)(acc_field == 0 ? 1u : acc_field) - 127;
  int32_t products[ZK_TC_STEP], exponents[ZK_TC_STEP], largest = acc_significand != 0 ? acc_exponent : ZK_TC_LEAST_EXPONENT, sum = 0;
  for (int i = 0; i < ZK_TC_STEP; i++) {
    products[i] = a.significand[i] * b.significand[i];
    exponents[i] = products[i] != 0 ? a.exponent[i] + b.exponent[i] : ZK_TC_LEAST_EXPONENT;
    largest = exponents[i] > largest ? exponents[i] : largest;
  }
  for (int i = 0; i < ZK_TC_STEP; i++) {
    const int32_t below = largest - exponents[i], sign = a.sign[i] ^ b.sign[i];
    const uint32_t term = ((uint32_t)products[i] << (ZK_TC_FRACTION_BITS - 14)) >> (below < 31 ? below : 31);
    sum += ((int32_t)term ^ sign) - sign;
  }
  const int64_t of_acc = acc_significand != 0 ? zk_tc_shift(acc_significand, ZK_TC_FRACTION_BITS - 23 - (largest - acc_exponent)) : 0;
  return zk_tc_truncate(sum + (acc_bits >> 31 ? -of_acc : of_acc), largest - ZK_TC_FRACTION_BITS);
}

// The operands of a step, of which each lane gave its registers.
static void take_apart(warp *group, const void *all, size_t stride) {
  const auto reg = [&](unsigned lane, unsigned i) {
    uint32_t word;
    memcpy(&word, static_cast<const char *>(all) + lane * stride + 4 * i, 4);
    return word;
  };
  const auto set = [](apart *to, unsigned k, uint32_t word) { to->set((int)k, word & 0xffffu), to->set((int)k + 1, word >> 16); };
  for (unsigned i = 0; i < 16; i++) {
    group->rows[i].special = false;
    for (unsigned k = 0; k < 16; k += 2) set(&group->rows[i], k, reg(4 * (i % 8) + k % 8 / 2, i / 8 + 2 * (k / 8)));
  }
  for (unsigned i = 0; i < 8; i++) {
    group->columns[i].special = false;
    for (unsigned k = 0; k < 16; k += 2) set(&group->columns[i], k, reg(4 * i + k % 8 / 2, 4 + k / 8));
  }
}

void zk_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
  uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const void *all;
  size_t stride;
  zk_simt_warp_exchange(0xffffffffu, mine, sizeof mine, &all, &stride);
  worker *w = here;
  warp *group = &w->warps[w->current / 32];
  if (++w->fibers[w->current].num_mma != group->num_mma) { // the first lane to go on: none has come to the next step yet
    take_apart(group, all, stride);
    group->num_mma++;
  }
  const unsigned g = zk_simt_lane() / 4, t = zk_simt_lane() % 4; // rows g and g + 8, columns 2t and 2t + 1
  for (unsigned q = 0; q < 4; q++) d[q] = step_apart(group->rows[g + 8 * (q >> 1)], group->columns[2 * t + (q & 1)], d[q]);
}
