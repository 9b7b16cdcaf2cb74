// What Hopper adds to a block of threads, on the emulated device: barriers that count arrivals and bytes, the copy engine, barriers among some warps,
// clusters. Copies are done when the scheduler picks them (simt.cpp).
#include <algorithm>
#include <atomic>

#include "order.h"
#include "simt_impl.h"

// ---- mbarriers: a word of shared memory, as [phase][arrivals of a phase][those missing][bytes missing]

struct mbarrier {
  uint32_t phase : 1, of_phase : 15, missing : 16;
  int32_t bytes;
};
static_assert(sizeof(mbarrier) == 8, "an mbarrier is a word");

static void look(mbarrier *b) {
  if (b->missing != 0 || b->bytes != 0) return;
  b->phase ^= 1;
  b->missing = b->of_phase;
  zk_simt_group->num_wakes++;
}

static char *in_shared(const void *p) {
  block *mine = zk_simt_my_block();
  const char *at = static_cast<const char *>(p);
  if (at < mine->shared || at >= mine->shared + mine->shared_bytes) zk_simt_stop("an address that is not in the block's shared memory");
  return const_cast<char *>(at);
}
uint32_t zk_shared_address(const void *p) { return (uint32_t)(in_shared(p) - zk_simt_my_block()->shared); }

// The shared memory of block `b` of the group, which is no more when the block has ended.
static char *shared_of(uint32_t b) {
  const block &of = zk_simt_group->blocks[b];
  if (of.num_alive == 0) zk_simt_stop("shared memory of block %u, which has ended, is still used", b);
  return of.shared;
}
static uint32_t first_of_cluster(void) {
  const int mine = zk_simt_my_block_index();
  return (uint32_t)(mine - mine % zk_simt_group->cluster_blocks);
}
// The same place in block `b` of the cluster.
static char *in_block(const void *p, uint32_t b) { return shared_of(first_of_cluster() + b) + zk_shared_address(p); }

static void arrive(char *bar, uint32_t count, int32_t bytes) {
  mbarrier *b = reinterpret_cast<mbarrier *>(bar);
  if (b->missing < count) zk_simt_stop("%u arrivals at an mbarrier that lacks %u", count, (unsigned)b->missing);
  b->bytes += bytes;
  b->missing -= count;
  zk_simt_group->num_events++;
  look(b);
  zk_simt_pause();
}
static void land(char *bar, uint32_t bytes) {
  mbarrier *b = reinterpret_cast<mbarrier *>(bar);
  b->bytes -= (int32_t)bytes;
  look(b);
}

void zk_mbar_init(uint64_t *bar, int arrivals) {
  mbarrier *b = reinterpret_cast<mbarrier *>(in_shared(bar));
  *b = {};
  b->of_phase = b->missing = (uint32_t)arrivals;
}
void zk_mbar_arrive(uint64_t *bar) { arrive(in_shared(bar), 1, 0); }
void zk_mbar_arrive_many(uint64_t *bar, uint32_t count) { arrive(in_shared(bar), count, 0); }
void zk_mbar_arrive_expect(uint64_t *bar, uint32_t bytes) { arrive(in_shared(bar), 1, (int32_t)bytes); }
void zk_mbar_arrive_at(uint64_t *bar, uint32_t block_in_cluster) { arrive(in_block(bar, block_in_cluster), 1, 0); }

bool zk_simt_phase_is_over(const uint64_t *bar, uint32_t parity) { return reinterpret_cast<const mbarrier *>(bar)->phase != parity; }
bool zk_mbar_try(uint64_t *bar, uint32_t parity) { return zk_simt_phase_is_over(bar, parity); }
bool zk_mbar_is_over(uint64_t *bar, uint32_t parity) { return zk_simt_phase_is_over(bar, parity); }
void zk_mbar_wait(uint64_t *bar, uint32_t parity) { zk_simt_wait({FOR_PHASE, in_shared(bar), parity}); }

static std::atomic<uint64_t> num_words; // written so far, by all blocks

bool zk_simt_has_come(const fiber *f) {
  const wait_for &w = f->wait;
  if (w.kind == FOR_PHASE) return zk_simt_phase_is_over(static_cast<const uint64_t *>(w.at), (uint32_t)w.value);
  if (w.kind == FOR_COUNT) return *static_cast<const uint64_t *>(w.at) != w.value;
  if (w.kind == FOR_WORDS) return num_words.load(std::memory_order_acquire) != w.value;
  for (uint64_t of : w.kind == FOR_READS ? f->unread : f->unwritten)
    if (of + w.value < f->num_groups) return false;
  return true;
}

// Where no word has been written since the thread's last look, nothing can have changed: it waits.
void zk_simt_look_again(void) {
  fiber *f = zk_simt_me();
  const uint64_t now = num_words.load(std::memory_order_acquire);
  if (f->words_seen == now) zk_simt_wait({FOR_WORDS, nullptr, now});
  f->words_seen = num_words.load(std::memory_order_acquire);
}
void zk_simt_look_at(const void *word) {
  fiber *f = zk_simt_me();
  if (f->looked_at == word) return zk_simt_look_again();
  f->looked_at = word;
  f->words_seen = num_words.load(std::memory_order_acquire);
}
void zk_simt_word_is_written(void) { num_words.fetch_add(1, std::memory_order_acq_rel); }

// ---- barriers among some threads

static void arrive_at(named_barrier *b, unsigned threads, bool holds) {
  if (b->arrived > 0 && b->threads != threads) zk_simt_stop("a barrier of %u threads and of %u", b->threads, threads);
  b->threads = threads;
  b->all = b->all && holds;
  zk_simt_group->num_events++;
  if (++b->arrived < threads) return;
  b->result = b->all;
  b->arrived = 0, b->all = true, b->completed++;
}
static named_barrier *named(int id) {
  if (id < 1 || id > 15) zk_simt_stop("barrier %d", id);
  return &zk_simt_my_block()->named[id];
}
void zk_barrier_arrive(int id, int threads) { arrive_at(named(id), (unsigned)threads, true); }
bool zk_barrier_all(int id, int threads, bool holds) {
  named_barrier *b = named(id);
  const uint64_t before = b->completed;
  arrive_at(b, (unsigned)threads, holds);
  zk_simt_wait({FOR_COUNT, &b->completed, before});
  return b->result;
}
void zk_barrier(int id, int threads) { (void)zk_barrier_all(id, threads, true); }

// ---- clusters

uint32_t zk_block_in_cluster(void) { return (uint32_t)(zk_simt_my_block_index() % zk_simt_group->cluster_blocks); }
static named_barrier *cluster(void) { return &zk_simt_group->blocks[first_of_cluster()].cluster; }

// Threads that have ended are not waited for.
static void look_at_cluster(void) {
  unsigned alive = 0;
  for (int b = 0; b < zk_simt_group->cluster_blocks; b++) alive += (unsigned)zk_simt_group->blocks[first_of_cluster() + (uint32_t)b].num_alive;
  named_barrier *c = cluster();
  if (c->arrived > 0 && c->arrived == alive) c->arrived = 0, c->completed++;
}
void zk_cluster_arrive(void) {
  fiber *f = zk_simt_me();
  if (f->has_arrived) zk_simt_stop("a thread arrives at the cluster's barrier again before it has waited there");
  f->has_arrived = true, f->cluster_seen = cluster()->completed;
  cluster()->arrived++, zk_simt_group->num_events++;
  look_at_cluster();
}
void zk_cluster_wait(void) {
  fiber *f = zk_simt_me();
  if (!f->has_arrived) zk_simt_stop("a thread waits at the cluster's barrier where it has not arrived");
  zk_simt_wait({FOR_COUNT, &cluster()->completed, f->cluster_seen});
  f->has_arrived = false;
}
void zk_cluster_sync(void) { zk_cluster_arrive(), zk_cluster_wait(); }
void zk_simt_ends(void) {
  if (zk_simt_me()->has_arrived) zk_simt_stop("a thread that has arrived at the cluster's barrier ends without waiting there");
  zk_simt_my_block()->num_alive--;
  look_at_cluster();
}

// An address of the cluster: the group's block above 24 bits of the address in it.
uint32_t zk_cluster_address(const void *p, uint32_t b) { return (first_of_cluster() + b) << 24 | zk_shared_address(p); }
static char *at_cluster_address(uint32_t address) { return shared_of(address >> 24) + (address & 0xffffffu); }

static std::atomic<uint64_t> num_copies;
uint64_t zk_simt_num_copies(void) { return num_copies; }
static void ask(std::function<void()> work) {
  num_copies++;
  zk_simt_group->copies.push_back({zk_simt_my_block_index(), std::move(work)});
}

void zk_cluster_store_async(uint32_t to, uint32_t bar, float x) {
  ask([=] { memcpy(at_cluster_address(to), &x, 4), land(at_cluster_address(bar), 4); });
}
void zk_cluster_store_async(uint32_t to, uint32_t bar, float x, float y) {
  ask([=] {
    const float both[2] = {x, y};
    memcpy(at_cluster_address(to), both, 8), land(at_cluster_address(bar), 8);
  });
}

// ---- the copy engine

// Where the order is random, by chance: what is asked for is read at once, and written late.
static void ask_read(const std::function<std::vector<char>()> &read, const std::function<void(const std::vector<char> &)> &write) {
  if (zk_simt_draw(2) == 0) return ask([=] { write(read()); });
  const std::vector<char> data = read();
  ask([=] { write(data); });
}

static uint32_t swizzled(const CUtensorMap &map, uint32_t at) {
  if (map.swizzle == CU_TENSOR_MAP_SWIZZLE_128B) return at ^ (at >> 7 & 7) << 4;
  if (map.swizzle == CU_TENSOR_MAP_SWIZZLE_64B) return at ^ (at >> 7 & 3) << 4;
  return at;
}

static int64_t box_bytes(const CUtensorMap &map) {
  int64_t n = map.element_bytes;
  for (int i = 0; i < map.rank; i++) n *= map.box[i];
  return n;
}

// The box, 16 bytes at a time where all of them are inside of the array, else an element: f(where it lies in device memory, or NULL outside; its place in
// shared memory; bytes).
template <class F> static void walk_box(const CUtensorMap &map, uint32_t shared_at, const int (&first)[5], F f) {
  enum { PIECE = 16 };
  int64_t index[5] = {};
  const int64_t num = box_bytes(map), row = map.box[0] * map.element_bytes, columns = (int64_t)map.dims[0];
  for (int64_t i = 0; i < num; i += row) {
    const char *at = static_cast<const char *>(map.base);
    for (int k = 1; k < map.rank; k++) {
      const int64_t x = first[k] + index[k];
      if (x < 0 || x >= (int64_t)map.dims[k]) at = nullptr;
      if (at != nullptr) at += x * (int64_t)map.strides[k - 1];
    }
    for (int64_t in_row = 0; in_row < row; in_row += PIECE) {
      const uint32_t place = swizzled(map, shared_at + (uint32_t)(i + in_row));
      const int64_t x = first[0] + in_row / map.element_bytes, end = x + PIECE / map.element_bytes;
      if (at != nullptr && x >= 0 && end <= columns) f(at + x * map.element_bytes, place, (size_t)PIECE);
      else
        for (int64_t e = x; e < end; e++)
          f(at != nullptr && e >= 0 && e < columns ? at + e * map.element_bytes : nullptr, place + (uint32_t)((e - x) * map.element_bytes), (size_t)map.element_bytes);
    }
    for (int k = 1; k < map.rank && ++index[k] == (int64_t)map.box[k]; k++) index[k] = 0;
  }
}

void zk_simt_load_box(uint32_t blocks, void *to, const CUtensorMap *of, uint64_t *bar, int rank, const int (&first)[5]) {
  const CUtensorMap map = *of;
  const uint32_t shared_at = zk_shared_address(to), bar_at = zk_shared_address(bar), mine = (uint32_t)zk_simt_my_block_index();
  if (map.rank != rank || shared_at % 128 != 0) zk_simt_stop("a copy of rank %d by a map of rank %d to byte %u", rank, map.rank, shared_at);
  const std::vector<int> from(first, first + 5);
  const auto walk = [=](const std::function<void(const char *, uint32_t, size_t)> &f) {
    int at[5];
    std::copy(from.begin(), from.end(), at);
    walk_box(map, shared_at, at, f);
  };
  const auto read = [=] {
    std::vector<char> box;
    box.reserve((size_t)box_bytes(map));
    walk([&](const char *x, uint32_t, size_t bytes) {
      if (x != nullptr) box.insert(box.end(), x, x + bytes);
      else box.insert(box.end(), bytes, 0);
    });
    return box;
  };
  const uint32_t first_block = first_of_cluster();
  for (uint32_t b = first_block; b < first_block + (uint32_t)zk_simt_group->cluster_blocks; b++) {
    if (blocks == 0 ? b != mine : !(blocks >> (b - first_block) & 1)) continue;
    ask_read(read, [=](const std::vector<char> &box) {
      char *shared = shared_of(b);
      const char *next = box.data();
      walk([&](const char *, uint32_t place, size_t bytes) { memcpy(shared + place, next, bytes), next += bytes; });
      land(shared + bar_at, (uint32_t)box_bytes(map));
    });
  }
}

void zk_tma_load(void *to, const void *from, uint32_t bytes, uint64_t *bar) {
  const uint32_t at = zk_shared_address(to), of = zk_shared_address(bar), mine = (uint32_t)zk_simt_my_block_index();
  if ((uintptr_t)from % 16 != 0 || at % 16 != 0 || bytes % 16 != 0) zk_simt_stop("a copy of %u bytes that is not aligned to 16", bytes);
  ask_read([=] { return std::vector<char>(static_cast<const char *>(from), static_cast<const char *>(from) + bytes); },
           [=](const std::vector<char> &read) { memcpy(shared_of(mine) + at, read.data(), bytes), land(shared_of(mine) + of, bytes); });
}

static void strike_out(std::vector<uint64_t> *list, uint64_t of) { list->erase(std::find(list->begin(), list->end(), of)); }

// A store of the thread's open group: `read` is done first, and what it gives later.
static void ask_store(std::function<std::function<void()>()> read) {
  fiber *f = zk_simt_me();
  const uint64_t of = f->num_groups;
  const uint32_t mine = (uint32_t)zk_simt_my_block_index();
  f->unread.push_back(of), f->unwritten.push_back(of);
  ask([=] {
    (void)shared_of(mine); // which it reads
    const std::function<void()> write = read();
    strike_out(&f->unread, of);
    zk_simt_group->num_wakes++;
    ask([=] { write(), strike_out(&f->unwritten, of), zk_simt_group->num_wakes++; });
  });
}

void zk_tma_store_2d(const CUtensorMap *of, const void *from, int x, int y) {
  const CUtensorMap map = *of;
  const uint32_t shared_at = zk_shared_address(from);
  const char *shared = zk_simt_my_block()->shared;
  ask_store([=] {
    std::vector<std::pair<char *, std::vector<char>>> elements;
    const int first[5] = {x, y};
    walk_box(map, shared_at, first, [&](const char *to, uint32_t place, size_t bytes) {
      if (to != nullptr) elements.push_back({const_cast<char *>(to), std::vector<char>(shared + place, shared + place + bytes)});
    });
    return [=] {
      for (const auto &e : elements) memcpy(e.first, e.second.data(), e.second.size());
    };
  });
}
void zk_tma_store(void *to, const void *from, uint32_t bytes) {
  const char *at = in_shared(from);
  ask_store([=] {
    const std::vector<char> read(at, at + bytes);
    return [=] { memcpy(to, read.data(), read.size()); };
  });
}
void zk_tma_add(float *to, const float *from, uint32_t bytes) {
  const float *at = reinterpret_cast<const float *>(in_shared(from));
  ask_store([=] {
    const std::vector<float> read(at, at + bytes / 4);
    return [=] {
      for (size_t i = 0; i < read.size(); i++) to[i] = to[i] + read[i];
    };
  });
}
void zk_tma_commit(void) { zk_simt_me()->num_groups++; }
void zk_simt_wait_stores(int most, bool written) { zk_simt_wait({written ? FOR_COPIES : FOR_READS, nullptr, (uint64_t)most}); }

extern "C" zk_status zk_tma_map(zk_numerics numerics, int rank, const void *base, const uint64_t *dims, const uint64_t *strides, const uint32_t *box,
                                CUtensorMapSwizzle swizzle, CUtensorMap *out) {
  *out = {};
  out->base = base, out->rank = rank, out->element_bytes = numerics == ZK_F32 ? 4 : 2, out->swizzle = swizzle;
  bool fits = rank >= 2 && rank <= 5 && (uintptr_t)base % 16 == 0;
  for (int i = 0; i < rank; i++) {
    out->dims[i] = dims[i], out->box[i] = box[i];
    fits = fits && box[i] >= 1 && box[i] <= 256 && dims[i] >= 1 && dims[i] <= (uint64_t)1 << 32;
    if (i == 0) continue;
    out->strides[i - 1] = strides[i - 1];
    fits = fits && strides[i - 1] % 16 == 0;
  }
  const uint32_t inner = box[0] * (uint32_t)out->element_bytes;
  fits = fits && inner % 16 == 0 && (swizzle != CU_TENSOR_MAP_SWIZZLE_128B || inner <= 128) && (swizzle != CU_TENSOR_MAP_SWIZZLE_64B || inner <= 64);
  return fits ? ZK_OK : ZK_FAIL(ZK_DEVICE, "emulated device: no such tensor map: rank %d, %u x %u", rank, box[1], box[0]);
}

// 16 bytes at a time, by the thread: as late as it may be.
void zk_copy_16_or_zero(void *to, const void *from, bool there) {
  char *at = in_shared(to);
  if ((uintptr_t)from % 16 != 0 || (uintptr_t)at % 16 != 0) zk_simt_stop("a copy of 16 bytes that is not aligned");
  zk_simt_me()->small_copies.push_back([=] {
    if (there) memcpy(at, from, 16);
    else memset(at, 0, 16);
  });
}
void zk_copy_wait(void) {
  fiber *f = zk_simt_me();
  for (const std::function<void()> &copy : f->small_copies) copy();
  f->small_copies.clear();
}
