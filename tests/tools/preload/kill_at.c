// Preloaded into a program under test: SIGKILL at a chosen moment of its work on files.
//   ZK_KILL_AT=rename:TEXT   just before the first rename whose target contains TEXT (all is written, nothing is published)
//   ZK_KILL_AT=renamed:TEXT  just after it
//   ZK_KILL_AT=write:TEXT:N  in the N-th write, half of it done, to a file whose name, when it was opened, contained TEXT
// ZK_KILL_RANK=R restricts it to that MPI rank.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char kind[16], text[128];
static int countdown, watched[4096], ready;

static void setup(void) {
  if (ready) return;
  ready = 1;
  const char *at = getenv("ZK_KILL_AT"), *rank = getenv("ZK_KILL_RANK"), *mine = getenv("OMPI_COMM_WORLD_RANK");
  if (!at || (rank && mine && strcmp(rank, mine))) return;
  countdown = 1;
  sscanf(at, "%15[^:]:%127[^:]:%d", kind, text, &countdown);
}

static void die_if(int hit) {
  if (hit) kill(getpid(), SIGKILL);
}

int rename(const char *from, const char *to) {
  setup();
  int match = *text && strstr(to, text) != NULL;
  die_if(match && !strcmp(kind, "rename"));
  int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
  int result = real(from, to);
  die_if(match && !strcmp(kind, "renamed"));
  return result;
}

static void watch(int fd, const char *path) {
  setup();
  if (fd >= 0 && fd < 4096) watched[fd] = *text && !strcmp(kind, "write") && strstr(path, text) != NULL;
}

#define OPEN(name)                                                                                                     \
  int name(const char *path, int flags, ...) {                                                                         \
    va_list args;                                                                                                      \
    va_start(args, flags);                                                                                             \
    mode_t mode = (flags & O_CREAT) ? va_arg(args, mode_t) : 0;                                                        \
    va_end(args);                                                                                                      \
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name);                    \
    int fd = real(path, flags, mode);                                                                                  \
    watch(fd, path);                                                                                                   \
    return fd;                                                                                                         \
  }
OPEN(open)
OPEN(open64)

// True for the write that is to be the last, which then is cut to half.
static int is_last(int fd, size_t *bytes) {
  if (fd < 0 || fd >= 4096 || !watched[fd] || --countdown) return 0;
  *bytes /= 2;
  return 1;
}

ssize_t write(int fd, const void *data, size_t bytes) {
  int last = is_last(fd, &bytes);
  ssize_t (*real)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  ssize_t done = real(fd, data, bytes);
  die_if(last);
  return done;
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at) {
  int last = is_last(fd, &bytes);
  ssize_t (*real)(int, const void *, size_t, off_t) = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
  ssize_t done = real(fd, data, bytes, at);
  die_if(last);
  return done;
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t at) {
  int last = is_last(fd, &bytes);
  ssize_t (*real)(int, const void *, size_t, off_t) = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
  ssize_t done = real(fd, data, bytes, at);
  die_if(last);
  return done;
}
