// What a block of the emulated device is made of: fibers, warps, blocks, and the group of blocks that run at once on one OS thread.
#ifndef ZK_SIMT_IMPL_H
#define ZK_SIMT_IMPL_H

#include <stdio.h>
#include <stdlib.h>

#include <deque>
#include <vector>

#include "kernels/tensor_core.h"
#include "simt.h"

enum { SLOT_BYTES = 32 };
typedef enum { READY, AT_WARP, AT_BLOCK, WAITING, DONE } fiber_state;

// Until what a waiting fiber waits.
typedef enum {
  FOR_PHASE,   // the phase of `parity` of an mbarrier is over
  FOR_COUNT,   // a named barrier, or the cluster's, has been completed once more: *count != value
  FOR_READS,   // of the fiber's groups of bulk stores all but the last `value` have been read
  FOR_COPIES,  // ... and written
  FOR_WORDS,   // somebody has written a word of words.cuh since: it looks again
} wait_kind;
struct wait_for {
  wait_kind kind;
  const void *at;
  uint64_t value;
};

struct fiber {
  void *stack_pointer;
  zk_simt_place place;
  fiber_state state;
  unsigned mask;      // of the exchange it waits in
  unsigned parity;    // which of the two slots its next exchange uses
  unsigned num_mma;   // tensor-core steps so far
  unsigned num_wgmma; // calls of the warpgroup's, likewise
  wait_for wait;
  uint64_t words_seen;          // how many words had been written when it last looked at one
  const void *looked_at;
  uint64_t cluster_seen;        // the cluster's barrier, when it arrived there
  bool has_arrived;             // there, and has not waited yet
  std::vector<std::function<void()>> small_copies; // its own, until it waits for them
  uint64_t num_groups;          // groups of bulk stores that it has committed
  std::vector<uint64_t> unread, unwritten; // of bulk stores: the group of each
};

// 16 bf16 of a row or a column, taken apart for zk_tc_step's arithmetic (kernels/tensor_core.h).
struct apart {
  zk_bf16 bits[ZK_TC_STEP];
  int32_t significand[ZK_TC_STEP], exponent[ZK_TC_STEP], sign[ZK_TC_STEP]; // sign: 0 or -1
  bool special, nan, zero; // an infinity or a NaN is among them; a NaN; all are zeros
  void begin() { special = nan = false, zero = true; }
  void set(int i, uint32_t word) {
    bits[i].bits = (uint16_t)word;
    significand[i] = zk_tc_significand(word & 0xffffu);
    exponent[i] = zk_tc_exponent(word & 0xffffu);
    sign[i] = -(int32_t)(word >> 15 & 1);
    special |= (word & 0x7f80u) == 0x7f80u, nan |= (word & 0x7fffu) > 0x7f80u, zero &= (word & 0x7fffu) == 0;
  }
};

// A wgmma step of a warp: the 16 rows of D that are its own. Operands in shared memory are read when the step is done.
struct wgmma_step {
  float *d[32]; // each lane's accumulators
  int n;
  bool accumulate, a_is_here, a_outer, b_outer;
  uint64_t a, b; // descriptors
  apart rows[16];
};

struct warp {
  uint64_t rank; // where some warps go before others: the lowest first
  alignas(16) char slot[2][32][SLOT_BYTES];
  unsigned num_mma; // tensor-core steps whose operands have been taken apart; these are the last one's
  apart rows[16], columns[8];
  unsigned num_wgmma;
  std::vector<wgmma_step> open;                // since the last commit
  std::deque<std::vector<wgmma_step>> groups; // committed, not done
};

struct named_barrier {
  unsigned threads, arrived;
  uint64_t completed;
  bool all, result;
};

struct block {
  char *shared;
  size_t shared_bytes, room;
  int votes, vote_result, num_alive; // threads that have not ended
  named_barrier named[16];
  named_barrier cluster; // of the cluster whose first block this is
};

struct copy {
  int block; // who asked
  std::function<void()> work;
};

// Blocks that run at once: one, those of a cluster, or all of a cooperative launch. An OS thread has one group at a time.
struct group {
  std::vector<fiber> fibers;
  std::vector<warp> warps;
  std::vector<block> blocks;
  std::deque<copy> copies; // asked of the copy engine, not done
  char *stacks;
  size_t num_stacks;
  void *scheduler;
  int num_blocks, num_fibers, fibers_per_block, cluster_blocks, current;
  uint64_t random, num_events; // events: whatever may let somebody go on
  bool by_rank;                // how the order is random
  uint64_t copies_rank;        // of the copy engine
  int slow_block;              // whose copies come when all wait; -1: no one's
  std::vector<int> ranking;    // warps, the lowest rank first
  uint64_t num_wakes;          // copies that may have let somebody go on
  const std::function<void()> *body;
};

extern thread_local group *zk_simt_group;

static inline fiber *zk_simt_me(void) { return &zk_simt_group->fibers[(size_t)zk_simt_group->current]; }
static inline warp *zk_simt_my_warp(void) { return &zk_simt_group->warps[(size_t)zk_simt_group->current / 32]; }
static inline int zk_simt_my_block_index(void) { return zk_simt_group->current / zk_simt_group->fibers_per_block; }
static inline block *zk_simt_my_block(void) { return &zk_simt_group->blocks[(size_t)zk_simt_my_block_index()]; }

void zk_simt_wait(wait_for what);        // comes back when it has come about
void zk_simt_pause(void);                // now and then, where the order is random: others go first
void zk_simt_ends(void);                 // the fiber does
bool zk_simt_has_come(const fiber *who); // what the fiber waits for
bool zk_simt_phase_is_over(const uint64_t *bar, uint32_t parity);
uint64_t zk_simt_draw(uint64_t below); // a random number; always 0 where no seed is given
[[noreturn]] void zk_simt_stop(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
