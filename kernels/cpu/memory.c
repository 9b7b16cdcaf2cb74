// How much memory this process can still get: /proc/meminfo and the memory cgroups, v1 and v2.
#include "kernels/cpu/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

// The number after `key` at the start of a line of a file ("" = the file's first word); 0 when there is none ("max", no
// such file).
static int read_number(const char *path, const char *key, unsigned long long *out) {
  FILE *file = fopen(path, "r");
  if (file == NULL) return 0;
  char line[256];
  int found = 0;
  while (!found && fgets(line, sizeof line, file) != NULL)
    found = strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%llu", out) == 1;
  fclose(file);
  return found;
}

// The files of one version of memory cgroups, under `mount`.
typedef struct {
  const char *mount, *limit, *usage, *reclaimable;
} cgroup_files;
static const cgroup_files v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                "total_inactive_file "};
static const cgroup_files v2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "};

static size_t group_free(const cgroup_files *files, const char *group) {
  char path[4096];
  unsigned long long limit, usage, cache = 0;
  snprintf(path, sizeof path, "%s%s/%s", files->mount, group, files->limit);
  if (!read_number(path, "", &limit)) return SIZE_MAX;
  snprintf(path, sizeof path, "%s%s/%s", files->mount, group, files->usage);
  if (!read_number(path, "", &usage)) return SIZE_MAX;
  snprintf(path, sizeof path, "%s%s/memory.stat", files->mount, group);
  (void)read_number(path, files->reclaimable, &cache);
  usage -= cache < usage ? cache : usage;
  return limit > usage ? (size_t)(limit - usage) : 0;
}

// The tightest of a group, its ancestors and the mount's root (which is the group itself inside a container's
// namespace).
static size_t hierarchy_free(const cgroup_files *files, char *group) {
  size_t least = SIZE_MAX;
  for (;;) {
    size_t free_here = group_free(files, group);
    if (free_here < least) least = free_here;
    char *slash = strrchr(group, '/');
    if (slash == NULL) return least;
    *slash = 0;
  }
}

size_t zk_cpu_memory_free(void) {
  unsigned long long kib;
  size_t least = SIZE_MAX;
  if (read_number("/proc/meminfo", "MemAvailable:", &kib)) least = (size_t)kib * 1024;
  FILE *file = fopen("/proc/self/cgroup", "r");
  if (file == NULL) return least;
  char line[2048];
  while (fgets(line, sizeof line, file) != NULL) { // "4:memory:/group" (v1), "0::/group" (v2)
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':');
    char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL) continue;
    *group++ = 0;
    const cgroup_files *files = controllers[1] == 0 ? &v2 : strstr(controllers + 1, "memory") != NULL ? &v1 : NULL;
    if (files == NULL) continue;
    size_t left = hierarchy_free(files, group);
    if (left < least) least = left;
  }
  fclose(file);
  return least;
}
