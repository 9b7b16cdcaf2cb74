// The system gives zeroed pages when they are touched, and takes them back on request; touched in between, they end the process.
#include "kernels/cpu/pages.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static zk_status fail(size_t bytes) { return ZK_FAIL(ZK_OUT_OF_MEMORY, "%.1f MiB: %s", (double)bytes / 1048576.0, strerror(errno)); }

zk_status zk_cpu_reserve(zk_device *device, size_t bytes, void **out) {
  *out = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (*out != MAP_FAILED) return ZK_OK;
  *out = NULL;
  return fail(bytes);
}

void zk_cpu_release(zk_device *device, void *memory, size_t bytes) { (void)munmap(memory, bytes); }

zk_status zk_cpu_map(zk_device *device, void *memory, size_t bytes) {
  if (mprotect(memory, bytes, PROT_READ | PROT_WRITE)) return fail(bytes);
  (void)madvise(memory, bytes, MADV_HUGEPAGE); // a wish: a kernel without them changes nothing
  return ZK_OK;
}

zk_status zk_cpu_unmap(zk_device *device, void *memory, size_t bytes) {
  return madvise(memory, bytes, MADV_DONTNEED) || mprotect(memory, bytes, PROT_NONE) ? fail(bytes) : ZK_OK;
}
