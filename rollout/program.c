// Between fork and exec only what is safe there: the worker has threads.
#define _GNU_SOURCE
#include "rollout/program.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { END_LIMIT_MS = 2000, STATUS_LIMIT_MS = 50 };

// ---- starting -------------------------------------------------------------------------------------------------------

// Both ends beyond the standard ones, so that they can be put in their place.
static bool make_pipe(int ends[2]) {
  int raw[2];
  if (pipe(raw) != 0) return false;
  for (int i = 0; i < 2; i++) {
    ends[i] = fcntl(raw[i], F_DUPFD_CLOEXEC, 3);
    close(raw[i]);
  }
  return ends[0] >= 0 && ends[1] >= 0;
}

static void close_pipe(const int ends[2]) {
  for (int i = 0; i < 2; i++)
    if (ends[i] >= 0) close(ends[i]);
}

// What libraries of the worker left open. A kernel or a sandbox without close_range: one by one, up to what a process can have.
static void close_others(void) {
  enum { MOST_FILES = 1 << 20 }; // what Linux allows unless it is told otherwise
  struct rlimit files;
#ifdef SYS_close_range
  if (syscall(SYS_close_range, 3u, ~0u, 0u) == 0) return;
#endif
  const bool is_known = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < MOST_FILES;
  for (int fd = 3, end = is_known ? (int)files.rlim_cur : MOST_FILES; fd < end; fd++) (void)close(fd);
}

// The child, up to exec.
static void become(const char *command, uint64_t memory_bytes, pid_t parent, const int in[2], const int out[2], const int err[2]) {
  const struct rlimit memory = {memory_bytes, memory_bytes}, none = {0, 0};
  sigset_t empty;
  (void)setpgid(0, 0);
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127); // the worker has ended already
  const int signals[] = {SIGPIPE, SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGCHLD};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) (void)signal(signals[i], SIG_DFL);
  sigemptyset(&empty);
  (void)sigprocmask(SIG_SETMASK, &empty, NULL);
  (void)setrlimit(RLIMIT_CORE, &none);
  if (memory_bytes > 0 && setrlimit(RLIMIT_AS, &memory) != 0) _exit(126);
  if (dup2(in[0], 0) < 0 || dup2(out[1], 1) < 0 || dup2(err[1], 2) < 0) _exit(126);
  close_others();
  execl("/bin/sh", "sh", "-c", command, (char *)NULL);
  _exit(127);
}

static void no_wait(int fd) { (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

zk_status zk_program_start(const char *command, uint64_t memory_bytes, zk_program *p) {
  int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
  *p = (zk_program){0};
  p->input = malloc(ZK_PROGRAM_MOST_BYTES);
  if (p->input == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for what a program says");
  const pid_t parent = getpid();
  p->pid = make_pipe(in) && make_pipe(out) && make_pipe(err) ? fork() : -1;
  if (p->pid == 0) become(command, memory_bytes, parent, in, out, err);
  if (p->pid < 0) {
    const int error = errno;
    close_pipe(in), close_pipe(out), close_pipe(err);
    free(p->input);
    *p = (zk_program){0};
    return ZK_FAIL(ZK_IO, "command.run: cannot start a process: %s", strerror(error));
  }
  (void)setpgid(p->pid, p->pid); // whoever is first
  close(in[0]), close(out[1]), close(err[1]);
  p->to = in[1], p->from = out[0], p->talk = err[0];
  no_wait(p->to), no_wait(p->from), no_wait(p->talk);
  return ZK_OK;
}

// ---- ending ---------------------------------------------------------------------------------------------------------

static void sleep_ms(long ms) {
  const struct timespec pause = {0, ms * 1000000};
  nanosleep(&pause, NULL);
}

// Waits a moment for a process that may be about to end by itself; false: it has not.
static bool wait_for_status(pid_t pid, int *status) {
  for (int ms = 0; ms < STATUS_LIMIT_MS; ms++) {
    const pid_t got = waitpid(pid, status, WNOHANG);
    if (got == pid) return true;
    if (got < 0 && errno != EINTR) return false;
    sleep_ms(1);
  }
  return false;
}

static void say_how(bool ended, int status, char *how, size_t room) {
  if (how == NULL) return;
  if (ended && WIFEXITED(status)) snprintf(how, room, "ended with exit code %d", WEXITSTATUS(status));
  else if (ended && WIFSIGNALED(status)) snprintf(how, room, "was killed by signal %d", WTERMSIG(status));
  else snprintf(how, room, "closed its output");
}

void zk_program_end(zk_program *p, char *how, size_t room) {
  if (p->pid > 0) {
    int status = 0;
    const bool ended = how != NULL && wait_for_status(p->pid, &status);
    say_how(ended, status, how, room);
    if (how != NULL) zk_program_listen(p);
    (void)kill(-p->pid, SIGKILL);
    for (int ms = 0; ms < END_LIMIT_MS; ms++) { // the leader and what it left
      const pid_t got = waitpid(-p->pid, &status, WNOHANG);
      if (got < 0 && errno != EINTR) break;
      if (got == 0) sleep_ms(1);
    }
    close(p->to), close(p->from);
    if (p->talk >= 0) close(p->talk);
  }
  free(p->input);
  p->input = NULL, p->pid = 0;
}

bool zk_program_has_ended(const zk_program *p) {
  siginfo_t info = {0};
  return waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == p->pid;
}

bool zk_program_stays(const zk_program *p, int limit_ms) {
  for (int ms = 0; ms < limit_ms && !zk_program_has_ended(p); ms++) sleep_ms(1);
  return !zk_program_has_ended(p);
}

// ---- pipes ----------------------------------------------------------------------------------------------------------

ssize_t zk_program_write(const zk_program *p, const char *text, size_t num_bytes) {
  const struct timespec now = {0, 0};
  sigset_t pipe_only, before;
  sigemptyset(&pipe_only);
  sigaddset(&pipe_only, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
  const ssize_t written = write(p->to, text, num_bytes);
  const int error = errno;
  if (written < 0 && error == EPIPE)
    while (sigtimedwait(&pipe_only, NULL, &now) < 0 && errno == EINTR) continue;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (written >= 0) return written;
  return error == EAGAIN || error == EINTR ? 0 : -1;
}

bool zk_program_read(zk_program *p) {
  while (p->num_input < ZK_PROGRAM_MOST_BYTES) {
    const ssize_t got = read(p->from, p->input + p->num_input, ZK_PROGRAM_MOST_BYTES - p->num_input);
    if (got > 0) p->num_input += (size_t)got;
    else if (got == 0 || (errno != EAGAIN && errno != EINTR)) return false;
    else if (errno == EAGAIN) break;
  }
  return true;
}

// One look at most at a program that says more than we can read.
void zk_program_listen(zk_program *p) {
  char text[4096];
  for (int i = 0; i < 16 && p->talk >= 0; i++) {
    const ssize_t got = read(p->talk, text, sizeof text);
    if (got == 0) { // closed: nothing to wait for
      close(p->talk);
      p->talk = -1;
    }
    if (got <= 0) return;
    size_t n = (size_t)got;
    const char *from = text;
    if (n > sizeof p->tail) from += n - sizeof p->tail, n = sizeof p->tail;
    const size_t keep = p->num_tail + n > sizeof p->tail ? sizeof p->tail - n : p->num_tail;
    memmove(p->tail, p->tail + p->num_tail - keep, keep);
    memcpy(p->tail + keep, from, n);
    p->num_tail = keep + n;
  }
}

const char *zk_program_last_line(const zk_program *p, char line[ZK_PROGRAM_TALK_BYTES]) {
  size_t end = p->num_tail, n = 0;
  while (end > 0 && (p->tail[end - 1] == '\n' || p->tail[end - 1] == '\r' || p->tail[end - 1] == ' ')) end--;
  size_t begin = end;
  while (begin > 0 && p->tail[begin - 1] != '\n') begin--;
  for (; begin < end && n + 1 < ZK_PROGRAM_TALK_BYTES; begin++) line[n++] = (unsigned char)p->tail[begin] < 32 || p->tail[begin] == 127 ? '?' : p->tail[begin];
  line[n] = 0;
  return line;
}
