// Memory of the emulated device: one arena that is unreadable except while a kernel or a copy runs, so that host code which follows a device
// pointer crashes here as it would misbehave on a GPU. Fresh memory is filled with NaNs.
#include "simt.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <map>
#include <mutex>

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
  *out = {"emulated on this CPU", 9, 0, zk_simt_num_sms, arena_free_told};
  if (name) snprintf(out->name, sizeof out->name, "%s", name);
  return cudaSuccess;
}
