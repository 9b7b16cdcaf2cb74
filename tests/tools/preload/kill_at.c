// Preloaded into a program under test: SIGKILL, or a full disk, at a chosen moment of its work on files.
//   ZK_KILL_AT=rename:TEXT   just before the first rename whose target contains TEXT (all is written, nothing is published)
//   ZK_KILL_AT=renamed:TEXT  just after it
//   ZK_KILL_AT=write:TEXT:N  in the N-th write, half of it done, to a file whose name, when it was opened, contained TEXT
//   ZK_KILL_AT=full:TEXT:N   no kill: from the N-th write to such files on there is no space left, after half of that write
// ZK_KILL_RANK=R restricts it to that MPI rank.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
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
  if (fd >= 0 && fd < 4096) watched[fd] = *text && (!strcmp(kind, "write") || !strcmp(kind, "full")) && strstr(path, text) != NULL;
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

enum { AS_ASKED, HALF_THEN_DEATH, HALF, NO_SPACE };

// What is to become of this write.
static int fate(int fd) {
  if (fd < 0 || fd >= 4096 || !watched[fd] || --countdown > 0) return AS_ASKED;
  if (!strcmp(kind, "write")) return countdown == 0 ? HALF_THEN_DEATH : AS_ASKED;
  return countdown == 0 ? HALF : NO_SPACE;
}

#define WRITE(name, parameters, arguments)                                                                             \
  ssize_t name parameters {                                                                                            \
    int what = fate(fd);                                                                                               \
    if (what == NO_SPACE) return errno = ENOSPC, -1;                                                                   \
    if (what != AS_ASKED && bytes > 1) bytes /= 2;                                                                     \
    ssize_t(*real) parameters = (ssize_t(*) parameters)dlsym(RTLD_NEXT, #name);                                        \
    ssize_t done = real arguments;                                                                                     \
    die_if(what == HALF_THEN_DEATH);                                                                                   \
    return done;                                                                                                       \
  }
WRITE(write, (int fd, const void *data, size_t bytes), (fd, data, bytes))
WRITE(pwrite, (int fd, const void *data, size_t bytes, off_t at), (fd, data, bytes, at))
WRITE(pwrite64, (int fd, const void *data, size_t bytes, off_t at), (fd, data, bytes, at))
