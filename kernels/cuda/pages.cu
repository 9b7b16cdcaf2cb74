// The driver's virtual memory: addresses are reserved, physical memory is mapped there and unmapped again. It comes in chunks, which are kept for the next who
// wants pages (the driver takes its time to make and to clear them), so that a turn is a change of mappings; and as any chunk serves any address,
// nothing is fragmented however the sides take turns. The driver's entry points are found at run time: no build links it.
#include "kernels/cuda/pages.h"

#include "kernels/cuda/cuda.cuh"

#ifdef ZK_SIMT
#include "kernels/cpu/pages.h"

extern "C" zk_status zk_cuda_reserve(zk_device *device, size_t bytes, void **out) { return zk_cpu_reserve(device, bytes, out); }
extern "C" void zk_cuda_release(zk_device *device, void *memory, size_t bytes) { zk_cpu_release(device, memory, bytes); }
extern "C" zk_status zk_cuda_map(zk_device *device, void *memory, size_t bytes) { return zk_cpu_map(device, memory, bytes); }
extern "C" zk_status zk_cuda_unmap(zk_device *device, void *memory, size_t bytes) { return zk_cpu_unmap(device, memory, bytes); }
extern "C" size_t zk_cuda_kept_bytes(const zk_device *device) { return 0; }
extern "C" void zk_cuda_drop_kept(const zk_device *device) {}

#else
#include <cuda.h>
#include <pthread.h>
#include <stdlib.h>

// The driver's functions, by name and type.
#define DRIVER_FUNCTIONS(X)                                                                                            \
  X(cuMemGetAllocationGranularity, (size_t *, const CUmemAllocationProp *, CUmemAllocationGranularity_flags))          \
  X(cuMemAddressReserve, (CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long))                             \
  X(cuMemAddressFree, (CUdeviceptr, size_t))                                                                           \
  X(cuMemCreate, (CUmemGenericAllocationHandle *, size_t, const CUmemAllocationProp *, unsigned long long))            \
  X(cuMemRelease, (CUmemGenericAllocationHandle))                                                                      \
  X(cuMemRetainAllocationHandle, (CUmemGenericAllocationHandle *, void *))                                             \
  X(cuMemMap, (CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long))                         \
  X(cuMemUnmap, (CUdeviceptr, size_t))                                                                                 \
  X(cuMemSetAccess, (CUdeviceptr, size_t, const CUmemAccessDesc *, size_t))

static struct {
#define X(name, arguments) CUresult(*name) arguments;
  DRIVER_FUNCTIONS(X)
#undef X
} driver;
static bool is_there;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool find_one(const char *name, void **function) {
  cudaDriverEntryPointQueryResult found;
  return cudaGetDriverEntryPointByVersion(name, function, 12000, cudaEnableDefault, &found) == cudaSuccess && found == cudaDriverEntryPointSuccess;
}

static void find_all(void) {
  is_there = true;
#define X(name, arguments) is_there = is_there && find_one(#name, reinterpret_cast<void **>(&driver.name));
  DRIVER_FUNCTIONS(X)
#undef X
}

static zk_status fail(CUresult result, const char *call, size_t bytes) {
  if (result == CUDA_ERROR_OUT_OF_MEMORY) return ZK_FAIL(ZK_OUT_OF_MEMORY, "CUDA: %s: %.1f MiB are not free", call, (double)bytes / 1048576.0);
  return ZK_FAIL(ZK_DEVICE, "CUDA: %s fails with %d for %.1f MiB", call, static_cast<int>(result), (double)bytes / 1048576.0);
}

// A statement in a function that returns zk_status and has `bytes`.
#define ZK_DRIVER(name, ...)                                                                                           \
  do {                                                                                                                 \
    const CUresult result_ = driver.name(__VA_ARGS__);                                                                 \
    if (result_ != CUDA_SUCCESS) return fail(result_, #name, bytes);                                                   \
  } while (0)

static CUmemAllocationProp memory_of(const zk_device *device) {
  CUmemAllocationProp prop = {};
  prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  prop.location.id = zk_cuda_ordinal(device);
  return prop;
}

static zk_status round_up(const zk_device *device, size_t bytes, size_t *out) {
  const CUmemAllocationProp prop = memory_of(device);
  size_t page = 0;
  pthread_once(&once, find_all);
  if (!is_there) return ZK_FAIL(ZK_UNSUPPORTED, "the driver has no virtual memory: install one of CUDA 12 or later");
  ZK_DRIVER(cuMemGetAllocationGranularity, &page, &prop, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
  *out = (bytes + page - 1) / page * page;
  return ZK_OK;
}

static CUdeviceptr address(void *memory) { return reinterpret_cast<CUdeviceptr>(memory); }

extern "C" zk_status zk_cuda_reserve(zk_device *device, size_t bytes, void **out) {
  CUdeviceptr at = 0;
  *out = NULL;
  ZK_TRY(round_up(device, bytes, &bytes));
  ZK_DRIVER(cuMemAddressReserve, &at, bytes, 0, 0, 0);
  *out = reinterpret_cast<void *>(at);
  return ZK_OK;
}

extern "C" void zk_cuda_release(zk_device *device, void *memory, size_t bytes) {
  if (round_up(device, bytes, &bytes) == ZK_OK) (void)driver.cuMemAddressFree(address(memory), bytes);
}

// ---- chunks that are mapped nowhere

enum { MAX_DEVICES = 64, MAX_KEPT = 2048 };
static const size_t CHUNK = (size_t)256 << 20; // the last of an allocation may be smaller, and is not kept

static struct {
  CUmemGenericAllocationHandle chunks[MAX_KEPT];
  int num;
} kept[MAX_DEVICES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of `kept`

static bool take_kept(int ordinal, CUmemGenericAllocationHandle *out) {
  pthread_mutex_lock(&lock);
  const bool found = kept[ordinal].num > 0;
  if (found) *out = kept[ordinal].chunks[--kept[ordinal].num];
  pthread_mutex_unlock(&lock);
  return found;
}

static bool keep(int ordinal, CUmemGenericAllocationHandle chunk) {
  pthread_mutex_lock(&lock);
  const bool has_place = kept[ordinal].num < MAX_KEPT;
  if (has_place) kept[ordinal].chunks[kept[ordinal].num++] = chunk;
  pthread_mutex_unlock(&lock);
  return has_place;
}

extern "C" size_t zk_cuda_kept_bytes(const zk_device *device) { return (size_t)kept[zk_cuda_ordinal(device)].num * CHUNK; }

extern "C" void zk_cuda_drop_kept(const zk_device *device) {
  CUmemGenericAllocationHandle chunk;
  while (take_kept(zk_cuda_ordinal(device), &chunk)) (void)driver.cuMemRelease(chunk);
}

// ---- pages

static zk_status take_chunk(const zk_device *device, size_t bytes, CUmemGenericAllocationHandle *out) {
  const CUmemAllocationProp prop = memory_of(device);
  if (bytes == CHUNK && take_kept(prop.location.id, out)) return ZK_OK;
  const CUresult made = driver.cuMemCreate(out, bytes, &prop, 0);
  if (made == CUDA_SUCCESS) return ZK_OK;
  zk_cuda_drop_kept(device); // which are none of this size
  ZK_DRIVER(cuMemCreate, out, bytes, &prop, 0);
  return ZK_OK;
}

static zk_status map_chunks(const zk_device *device, CUdeviceptr at, size_t bytes, size_t *mapped) {
  for (*mapped = 0; *mapped < bytes;) {
    const size_t n = bytes - *mapped < CHUNK ? bytes - *mapped : CHUNK;
    CUmemGenericAllocationHandle chunk;
    ZK_TRY(take_chunk(device, n, &chunk));
    const CUresult result = driver.cuMemMap(at + *mapped, n, 0, chunk, 0);
    (void)driver.cuMemRelease(chunk); // it stays while it is mapped
    if (result != CUDA_SUCCESS) return fail(result, "cuMemMap", n);
    *mapped += n;
  }
  return ZK_OK;
}

static zk_status open_to_device(const zk_device *device, CUdeviceptr at, size_t bytes) {
  CUmemAccessDesc access = {};
  access.location = memory_of(device).location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  ZK_DRIVER(cuMemSetAccess, at, bytes, &access, 1);
  ZK_CUDA(cudaMemset(reinterpret_cast<void *>(at), 0, bytes));
  ZK_CUDA(cudaStreamSynchronize(0));
  return ZK_OK;
}

// Whole chunks that are mapped at `at`, held from here on whatever becomes of the mapping; *num of them.
static zk_status hold_chunks(CUdeviceptr at, size_t bytes, CUmemGenericAllocationHandle *chunks, size_t *num) {
  for (*num = 0; (*num + 1) * CHUNK <= bytes; ++*num) ZK_DRIVER(cuMemRetainAllocationHandle, &chunks[*num], reinterpret_cast<void *>(at + *num * CHUNK));
  return ZK_OK;
}

// Kept for others once they are mapped nowhere: of a chunk that two had, each would overwrite the other's.
static zk_status unmap_chunks(const zk_device *device, CUdeviceptr at, size_t bytes) {
  size_t num = 0;
  CUmemGenericAllocationHandle *chunks = static_cast<CUmemGenericAllocationHandle *>(malloc((bytes / CHUNK + 1) * sizeof *chunks));
  if (!chunks) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a list of %zu chunks", bytes / CHUNK);
  zk_status status = hold_chunks(at, bytes, chunks, &num);
  const CUresult result = status == ZK_OK ? driver.cuMemUnmap(at, bytes) : CUDA_SUCCESS;
  if (result != CUDA_SUCCESS) status = fail(result, "cuMemUnmap", bytes);
  for (size_t i = 0; i < num; i++)
    if (status != ZK_OK || !keep(zk_cuda_ordinal(device), chunks[i])) (void)driver.cuMemRelease(chunks[i]);
  free(chunks);
  return status;
}

extern "C" zk_status zk_cuda_map(zk_device *device, void *memory, size_t bytes) {
  size_t mapped = 0;
  ZK_TRY(round_up(device, bytes, &bytes));
  zk_status status = map_chunks(device, address(memory), bytes, &mapped);
  if (status == ZK_OK) status = open_to_device(device, address(memory), bytes);
  if (status != ZK_OK && mapped > 0) (void)driver.cuMemUnmap(address(memory), mapped);
  return status;
}

extern "C" zk_status zk_cuda_unmap(zk_device *device, void *memory, size_t bytes) {
  ZK_TRY(round_up(device, bytes, &bytes));
  ZK_CUDA(cudaDeviceSynchronize());
  return unmap_chunks(device, address(memory), bytes);
}
#endif
