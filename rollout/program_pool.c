// One loop over processes around poll(2).
#include "rollout/program_pool.h"

#include <dirent.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/clock.h"
#include "shared/log.h"

typedef struct request {
  uint64_t tag, id;
  char *members;
  int32_t tries;
  struct request *next;
} request;

typedef struct {
  request *head, *tail;
} request_queue;

typedef struct answer_node {
  zk_program_answer answer;
  struct answer_node *next;
} answer_node;

typedef struct {
  zk_program program;
  request *at_work; // NULL: idle
  char *line;       // its request, [num_line]
  size_t num_line, num_written;
  double deadline_s;
} process;

struct zk_program_pool {
  zk_program_options options;
  char *command;
  process *processes;
  struct pollfd *fds; // [3 x num_processes]
  request_queue queue;
  answer_node *answers;
  int32_t num_open;
  uint64_t last_id;
};

static void push(request_queue *q, request *r) {
  r->next = NULL;
  if (q->tail != NULL) q->tail->next = r;
  else q->head = r;
  q->tail = r;
}

static request *pop(request_queue *q) {
  request *r = q->head;
  if (r == NULL) return NULL;
  q->head = r->next;
  if (q->head == NULL) q->tail = NULL;
  return r;
}

static void free_request(request *r) {
  if (r == NULL) return;
  free(r->members);
  free(r);
}

// A process has three pipes, all kept open; a start takes some more for a moment.
static zk_status check_files(int32_t num_processes) {
  enum { PIPES = 3, SPARE = 16 };
  struct rlimit files;
  DIR *folder = opendir("/proc/self/fd");
  rlim_t num_open = 0;
  while (folder != NULL && readdir(folder) != NULL) num_open++;
  if (folder != NULL) closedir(folder);
  const rlim_t needed = num_open + PIPES * (rlim_t)num_processes + SPARE;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= needed) return ZK_OK;
  return ZK_FAIL(ZK_BAD_INPUT,
                 "command.processes: %d processes of a program take %d open files, with what this worker has %llu, and its limit is %llu (RLIMIT_NOFILE): lower "
                 "command.processes, or raise the limit with `ulimit -n %llu`",
                 num_processes, PIPES * num_processes, (unsigned long long)needed, (unsigned long long)files.rlim_cur, (unsigned long long)needed);
}

zk_status zk_program_pool_open(const zk_program_options *options, zk_program_pool **out) {
  *out = NULL;
  ZK_TRY(check_files(options->num_processes));
  zk_program_pool *pool = calloc(1, sizeof *pool);
  if (pool == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a pool of programs");
  const size_t n = (size_t)options->num_processes;
  pool->options = *options;
  pool->command = strdup(options->command);
  pool->processes = calloc(n, sizeof *pool->processes);
  pool->fds = calloc(3 * n, sizeof *pool->fds);
  if (pool->command == NULL || pool->processes == NULL || pool->fds == NULL) {
    zk_program_pool_close(pool);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a pool of %zu programs", n);
  }
  (void)prctl(PR_SET_CHILD_SUBREAPER, 1); // children that programs leave behind come to us, to be waited for
  *out = pool;
  return ZK_OK;
}

static bool is_of_pool(const zk_program_pool *pool, pid_t pid) {
  for (int32_t i = 0; i < pool->options.num_processes; i++)
    if (pool->processes[i].program.pid == pid) return true;
  return false;
}

// Waits for orphans that have ended. A process of the pool's own is ended where it is found to have ended, and until then may hide orphans behind it; children in
// our own group are somebody else's.
static void wait_for_orphans(const zk_program_pool *pool) {
  siginfo_t info = {0};
  while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid > 0) {
    if (is_of_pool(pool, info.si_pid) || getpgid(info.si_pid) == getpgrp()) return;
    (void)waitpid(info.si_pid, NULL, WNOHANG);
    info.si_pid = 0;
  }
}

void zk_program_pool_cancel(zk_program_pool *pool) {
  for (int32_t i = 0; i < pool->options.num_processes; i++) {
    process *p = &pool->processes[i];
    if (p->at_work == NULL) continue;
    zk_program_end(&p->program, NULL, 0);
    free_request(p->at_work);
    free(p->line);
    p->at_work = NULL, p->line = NULL;
  }
  for (request *r; (r = pop(&pool->queue)) != NULL;) free_request(r);
  for (answer_node *a; (a = pool->answers) != NULL;) {
    pool->answers = a->next;
    json_decref(a->answer.answer);
    free(a);
  }
  pool->num_open = 0;
}

void zk_program_pool_close(zk_program_pool *pool) {
  if (pool == NULL) return;
  if (pool->processes != NULL) {
    zk_program_pool_cancel(pool);
    for (int32_t i = 0; i < pool->options.num_processes; i++) zk_program_end(&pool->processes[i].program, NULL, 0);
    wait_for_orphans(pool);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 0); // those that live on in groups of their own have another parent from now on
  }
  free(pool->command);
  free(pool->processes);
  free(pool->fds);
  free(pool);
}

zk_status zk_program_pool_submit(zk_program_pool *pool, uint64_t tag, char *members) {
  request *r = calloc(1, sizeof *r);
  if (r == NULL) {
    free(members);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a request");
  }
  r->tag = tag, r->members = members;
  push(&pool->queue, r);
  pool->num_open++;
  return ZK_OK;
}

int32_t zk_program_pool_num_open(const zk_program_pool *pool) { return pool->num_open; }

bool zk_program_pool_take(zk_program_pool *pool, zk_program_answer *out) {
  answer_node *a = pool->answers;
  if (a == NULL) return false;
  pool->answers = a->next;
  *out = a->answer;
  free(a);
  pool->num_open--;
  return true;
}

// ---- what becomes of a request --------------------------------------------------------------------------------------

static zk_status add_answer(zk_program_pool *pool, const zk_program_answer *answer) {
  answer_node *a = malloc(sizeof *a);
  if (a == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for an answer");
  *a = (answer_node){*answer, pool->answers};
  pool->answers = a;
  return ZK_OK;
}

// Takes the request from its process.
static request *release(process *p) {
  request *r = p->at_work;
  free(p->line);
  p->at_work = NULL, p->line = NULL;
  return r;
}

enum { LINE_ROOM = 448 };

// What its standard error ends with, as the end of a message; in `text`.
static const char *say_last_line(const zk_program *program, char text[LINE_ROOM]) {
  char line[ZK_PROGRAM_TALK_BYTES];
  text[0] = 0;
  if (zk_program_last_line(program, line)[0]) snprintf(text, LINE_ROOM, "; its standard error ends: \"%.400s\"", line);
  return text;
}

// The try failed: the process is ended, the request gets another, or an answer that says why there is none.
static zk_status fail(zk_program_pool *pool, process *p, zk_answer_status status, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static zk_status fail(zk_program_pool *pool, process *p, zk_answer_status status, const char *fmt, ...) {
  char how[96], line[LINE_ROOM], text[256];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  for (char *c = text; *c; c++)
    if ((unsigned char)*c < 32 || *c == 127) *c = '?'; // it may hold what the program said, and goes to a terminal
  zk_program_listen(&p->program);
  zk_program_end(&p->program, status == ZK_ANSWER_ENDED ? how : NULL, sizeof how);
  request *r = release(p);
  zk_program_answer answer = {.tag = r->tag, .status = status};
  snprintf(answer.why, sizeof answer.why, "%s%s%s", text, status == ZK_ANSWER_ENDED ? how : "", say_last_line(&p->program, line));
  if (r->tries <= pool->options.retries) {
    ZK_LOG(DEBUG, "command", "request %llu, try %d: %s", (unsigned long long)r->id, r->tries, answer.why);
    push(&pool->queue, r);
    return ZK_OK;
  }
  free_request(r);
  return add_answer(pool, &answer);
}

// The whole first line is there, [num_bytes] without its newline.
static zk_status take_line(zk_program_pool *pool, process *p, size_t num_bytes) {
  char why[160];
  json_error_t error;
  json_t *answer = json_loadb(p->program.input, num_bytes, JSON_REJECT_DUPLICATES, &error);
  const json_t *id = json_object_get(answer, "id");
  zk_status st;
  if (answer == NULL || !json_is_object(answer)) {
    st = fail(pool, p, ZK_ANSWER_GARBAGE, "its answer is not a JSON object: %.60s (talk belongs on standard error): \"%.*s\"", answer ? "another value" : error.text,
              num_bytes > 60 ? 60 : (int)num_bytes, p->program.input);
  } else if (!json_is_integer(id) || (uint64_t)json_integer_value(id) != p->at_work->id) {
    st = fail(pool, p, ZK_ANSWER_GARBAGE, "its answer has not the \"id\" of the request");
  } else if (!pool->options.check(pool->options.context, p->at_work->tag, answer, why, sizeof why)) {
    st = fail(pool, p, ZK_ANSWER_MISSING, "%s", why);
  } else {
    const zk_program_answer good = {.tag = p->at_work->tag, .answer = json_incref(answer)};
    // More than it was asked for: what would the next request read?
    if (p->program.num_input > num_bytes + 1) zk_program_end(&p->program, NULL, 0);
    p->program.num_input = 0;
    free_request(release(p));
    st = add_answer(pool, &good);
    if (st != ZK_OK) json_decref(good.answer);
  }
  json_decref(answer);
  return st;
}

// ---- the first process -----------------------------------------------------------------------------------------------

enum { TRY_MS = 500 };

zk_status zk_program_pool_try(zk_program_pool *pool) {
  zk_program *program = &pool->processes[0].program;
  char how[96], line[LINE_ROOM];
  for (int32_t tries = 0; tries <= pool->options.retries; tries++) {
    ZK_TRY(zk_program_start(pool->command, pool->options.memory_bytes, program));
    if (zk_program_stays(program, TRY_MS)) return ZK_OK;
    zk_program_end(program, how, sizeof how);
  }
  return ZK_FAIL(ZK_BAD_INPUT, "command.run: it %s before it was asked anything, where it is to read requests from its standard input%s", how,
                 say_last_line(program, line));
}

// ---- work -----------------------------------------------------------------------------------------------------------

// A process that is there and has said nothing unasked. fresh: one that has had no request, for a request that has failed: another process may be about
// to end, too.
static zk_status prepare(zk_program_pool *pool, process *p, bool fresh) {
  if (p->program.pid > 0) {
    zk_program_listen(&p->program);
    if (fresh || zk_program_has_ended(&p->program) || !zk_program_read(&p->program) || p->program.num_input > 0) zk_program_end(&p->program, NULL, 0);
  }
  if (p->program.pid == 0) ZK_TRY(zk_program_start(pool->command, pool->options.memory_bytes, &p->program));
  return ZK_OK;
}

static zk_status give(zk_program_pool *pool, process *p) {
  ZK_TRY(prepare(pool, p, pool->queue.head->tries > 0));
  request *r = pop(&pool->queue);
  const size_t room = strlen(r->members) + 40;
  p->line = malloc(room);
  p->at_work = r;
  if (p->line == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a request of %zu bytes", room);
  r->id = ++pool->last_id, r->tries++;
  p->num_line = (size_t)snprintf(p->line, room, "{\"id\": %llu, %s\n", (unsigned long long)r->id, r->members);
  p->num_written = 0;
  p->deadline_s = zk_clock_s() + pool->options.timeout_s;
  return ZK_OK;
}

// What poll found, for one process at work.
static zk_status serve(zk_program_pool *pool, process *p, const struct pollfd *fds) {
  if (fds[2].revents) zk_program_listen(&p->program);
  if (fds[0].revents && p->num_written < p->num_line) {
    const ssize_t written = zk_program_write(&p->program, p->line + p->num_written, p->num_line - p->num_written);
    p->num_written += written > 0 ? (size_t)written : 0;
    if (written < 0) p->num_written = p->num_line; // it reads no more; perhaps it has answered
  }
  const bool ended = zk_program_has_ended(&p->program); // what it said before is in the pipe
  if (!fds[1].revents && !ended) return ZK_OK;
  const bool open = zk_program_read(&p->program) && !ended;
  const char *newline = memchr(p->program.input, '\n', p->program.num_input);
  if (newline != NULL) return take_line(pool, p, (size_t)(newline - p->program.input));
  if (p->program.num_input == ZK_PROGRAM_MOST_BYTES) return fail(pool, p, ZK_ANSWER_GARBAGE, "it said %d bytes without the end of a line", ZK_PROGRAM_MOST_BYTES);
  return open ? ZK_OK : fail(pool, p, ZK_ANSWER_ENDED, "it ");
}

// Milliseconds until the first deadline, at most wait_ms; fills fds.
static int plan_wait(zk_program_pool *pool, int wait_ms) {
  const double now = zk_clock_s();
  for (int32_t i = 0; i < pool->options.num_processes; i++) {
    const process *p = &pool->processes[i];
    const bool works = p->at_work != NULL, writes = works && p->num_written < p->num_line;
    struct pollfd *fds = pool->fds + 3 * i;
    fds[0] = (struct pollfd){.fd = writes ? p->program.to : -1, .events = POLLOUT};
    fds[1] = (struct pollfd){.fd = works ? p->program.from : -1, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = works ? p->program.talk : -1, .events = POLLIN};
    if (!works) continue;
    const double left_ms = (p->deadline_s - now) * 1000 + 1;
    if (left_ms < wait_ms) wait_ms = left_ms > 0 ? (int)left_ms : 0;
  }
  return wait_ms;
}

static zk_status end_who_is_late(zk_program_pool *pool) {
  const double now = zk_clock_s();
  for (int32_t i = 0; i < pool->options.num_processes; i++) {
    process *p = &pool->processes[i];
    if (p->at_work != NULL && now > p->deadline_s) ZK_TRY(fail(pool, p, ZK_ANSWER_TIMEOUT, "no answer in %g s", pool->options.timeout_s));
  }
  return ZK_OK;
}

zk_status zk_program_pool_poll(zk_program_pool *pool, int wait_ms) {
  const int32_t n = pool->options.num_processes;
  bool at_work = false;
  wait_for_orphans(pool);
  for (int32_t i = 0; i < n; i++) {
    if (pool->processes[i].at_work == NULL && pool->queue.head != NULL) ZK_TRY(give(pool, &pool->processes[i]));
    at_work |= pool->processes[i].at_work != NULL;
  }
  if (!at_work) return ZK_OK;
  wait_ms = plan_wait(pool, pool->answers != NULL ? 0 : wait_ms);
  (void)poll(pool->fds, 3 * (nfds_t)n, wait_ms); // on a failure nothing is ready
  for (int32_t i = 0; i < n; i++)
    if (pool->processes[i].at_work != NULL) ZK_TRY(serve(pool, &pool->processes[i], pool->fds + 3 * i));
  return end_who_is_late(pool);
}
