// A pool of processes of one program that answer requests in JSON lines: {"id": N, ...} in, {"id": N, ...} out.
//
// A process has one request at a time. When it does not answer in time, ends, or says something that is no answer to that request, it is killed with its
// group, and the request goes to a fresh one, command.retries times. Every try has an id of its own, so that an answer never gets to another request. Answers
// come in any order; what follows from them must not depend on it.
#ifndef ZK_ROLLOUT_PROGRAM_POOL_H
#define ZK_ROLLOUT_PROGRAM_POOL_H

#include <jansson.h>

#include "rollout/program.h"

typedef struct zk_program_pool zk_program_pool;

// Why there is no answer; the values are stored as sample/reward_detail.
typedef enum { ZK_ANSWER_GIVEN = 0, ZK_ANSWER_TIMEOUT = 1, ZK_ANSWER_ENDED = 2, ZK_ANSWER_GARBAGE = 3, ZK_ANSWER_MISSING = 4 } zk_answer_status;

typedef struct {
  const char *command;   // copied
  int32_t num_processes; // started when there are requests for them
  double timeout_s;      // from when a process has the request
  uint64_t memory_bytes; // of each process; 0: no bound
  int32_t retries;
  // Whether an answer holds what `tag` asks for; else says in `why` what is missing: such an answer is none (ZK_ANSWER_MISSING).
  bool (*check)(void *context, uint64_t tag, const json_t *answer, char *why, size_t room);
  void *context;
} zk_program_options;

typedef struct {
  uint64_t tag; // of the request
  zk_answer_status status;
  json_t *answer; // GIVEN: the object; the caller's to json_decref. Else NULL
  char why[1024];  // not GIVEN: what happened in the last try, and the last line of the program's standard error
} zk_program_answer;

// ZK_BAD_INPUT when so many processes need more open files than this one may have (RLIMIT_NOFILE). From here to its close, orphans of this process's
// descendants become its children (PR_SET_CHILD_SUBREAPER), and the pool waits for those that end: one pool at a time.
zk_status zk_program_pool_open(const zk_program_options *options, zk_program_pool **out);
void zk_program_pool_close(zk_program_pool *pool); // ends all processes; NULL is fine
// Starts a first process, which stays for the first request, and watches it for half a second. ZK_BAD_INPUT when it ends by itself, in `retries` further tries too:
// there is no such program, or it fails before it is asked anything. A slower failure shows at the first request.
zk_status zk_program_pool_try(zk_program_pool *pool);

// Queues a request: `members` is the text of a JSON object without its opening brace ("\"a\": 1}"), taken over and freed by the pool, on failure too.
zk_status zk_program_pool_submit(zk_program_pool *pool, uint64_t tag, char *members);
int32_t zk_program_pool_num_open(const zk_program_pool *pool); // requests whose answers have not been taken
// Gives work out, takes in what there is, ends who is late; waits at most wait_ms for something to happen.
zk_status zk_program_pool_poll(zk_program_pool *pool, int wait_ms);
bool zk_program_pool_take(zk_program_pool *pool, zk_program_answer *out); // the next answer; false: none yet
// Drops all requests and answers; processes at work are ended.
void zk_program_pool_cancel(zk_program_pool *pool);

#endif
