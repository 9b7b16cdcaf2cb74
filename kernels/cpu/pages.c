// The system gives zeroed pages when they are touched, and takes them back on request; touched in between, they end the process. So does a touch behind
// the memory's end, where a page follows that is never there.
#include "kernels/cpu/pages.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static zk_status fail(size_t bytes) { return ZK_FAIL(ZK_OUT_OF_MEMORY, "%.1f MiB: %s", (double)bytes / 1048576.0, strerror(errno)); }

static size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }
static size_t round_up(size_t bytes) { return (bytes + page_bytes() - 1) / page_bytes() * page_bytes(); }
static char *first_page(void *memory) { return (char *)((uintptr_t)memory / page_bytes() * page_bytes()); }

zk_status zk_cpu_reserve(zk_device *device, size_t bytes, void **out) {
  const size_t pages = round_up(bytes);
  char *base = mmap(NULL, pages + page_bytes(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  *out = NULL;
  if (base == MAP_FAILED) return fail(bytes);
  *out = base + (pages - bytes) / 64 * 64; // it ends where the pages end, but for its alignment
  return ZK_OK;
}

void zk_cpu_release(zk_device *device, void *memory, size_t bytes) { (void)munmap(first_page(memory), round_up(bytes) + page_bytes()); }

zk_status zk_cpu_map(zk_device *device, void *memory, size_t bytes) {
  if (mprotect(first_page(memory), round_up(bytes), PROT_READ | PROT_WRITE)) return fail(bytes);
  (void)madvise(first_page(memory), round_up(bytes), MADV_HUGEPAGE); // a wish: a kernel without them changes nothing
  return ZK_OK;
}

zk_status zk_cpu_unmap(zk_device *device, void *memory, size_t bytes) {
  char *base = first_page(memory);
  return madvise(base, round_up(bytes), MADV_DONTNEED) || mprotect(base, round_up(bytes), PROT_NONE) ? fail(bytes) : ZK_OK;
}
