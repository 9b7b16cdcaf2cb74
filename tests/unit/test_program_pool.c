// Programs that behave in every way that programs do: the pool answers each request once, with what was meant for it, and leaves no process behind.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rollout/program_pool.h"

// A loop over requests whose id is in $id; the rest of a command answers.
#define LOOP "while IFS= read -r line; do id=${line#*\\\"id\\\": }; id=${id%%,*}; "
#define DONE "; done"
#define ANSWER "echo \"{\\\"id\\\": $id, \\\"reward\\\": 1}\""

static bool has_reward(void *context, uint64_t tag, const json_t *answer, char *why, size_t room) {
  if (json_is_number(json_object_get(answer, "reward"))) return true;
  snprintf(why, room, "no reward");
  return false;
}

static zk_program_pool *open_pool(const char *command, int32_t num_processes, double timeout_s, int32_t retries) {
  const zk_program_options options = {command, num_processes, timeout_s, (uint64_t)1 << 28, retries, has_reward, NULL};
  zk_program_pool *pool;
  assert_int_equal(zk_program_pool_open(&options, &pool), ZK_OK);
  return pool;
}

// All answers, by tag.
static void answer_all(zk_program_pool *pool, zk_program_answer *answers, int32_t num) {
  for (int32_t i = 0; i < num; i++) {
    char text[64];
    snprintf(text, sizeof text, "\"number\": %d}", i);
    assert_int_equal(zk_program_pool_submit(pool, (uint64_t)i, strdup(text)), ZK_OK);
  }
  zk_program_answer answer;
  for (int32_t taken = 0; taken < num;) {
    if (zk_program_pool_poll(pool, 20) != ZK_OK) fail_msg("%s", zk_status_message());
    while (zk_program_pool_take(pool, &answer)) answers[answer.tag] = answer, taken++;
  }
  assert_int_equal(zk_program_pool_num_open(pool), 0);
}

static void expect_nobody(void) {
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
  assert_int_equal(errno, ECHILD);
}

static void what_becomes_of_a_request(void **state) {
  static const struct {
    const char *command;
    double timeout_s;
    zk_answer_status status;
    const char *why; // is in the message
  } cases[] = {
      {LOOP ANSWER DONE, 60, ZK_ANSWER_GIVEN, ""},
      {"sleep 1000", 0.1, ZK_ANSWER_TIMEOUT, "no answer in 0.1 s"},
      {"trap '' TERM INT HUP; while :; do sleep 1; done", 0.1, ZK_ANSWER_TIMEOUT, "no answer"},
      {"exit 3", 60, ZK_ANSWER_ENDED, "it ended with exit code 3"},
      {"read line; echo last words >&2; exit 4", 60, ZK_ANSWER_ENDED, "exit code 4; its standard error ends: \"last words\""},
      {"read line; kill -SEGV $$", 60, ZK_ANSWER_ENDED, "it was killed by signal 11"},
      {"no-such-program-anywhere", 60, ZK_ANSWER_ENDED, "not found"},
      {"read line; exec >&-; sleep 1000", 60, ZK_ANSWER_ENDED, "it closed its output"},
      {"read line; exec <&- 2>&-; sleep 1000", 0.1, ZK_ANSWER_TIMEOUT, "no answer"},
      {LOOP "echo hello" DONE, 60, ZK_ANSWER_GARBAGE, "is not a JSON object"},
      {LOOP "echo" DONE, 60, ZK_ANSWER_GARBAGE, "is not a JSON object"},
      {LOOP "printf 'no\\033[31m\\n'" DONE, 60, ZK_ANSWER_GARBAGE, "\"no?[31m\""}, // nothing that a terminal obeys
      {LOOP "echo [1]" DONE, 60, ZK_ANSWER_GARBAGE, "another value"},
      {LOOP "echo \"{\\\"id\\\": $id, \\\"reward\\\": NaN}\"" DONE, 60, ZK_ANSWER_GARBAGE, "is not a JSON object"},
      {LOOP "echo '{\"reward\": 1}'" DONE, 60, ZK_ANSWER_GARBAGE, "has not the \"id\""},
      {LOOP "echo \"{\\\"id\\\": 1$id, \\\"reward\\\": 1}\"" DONE, 60, ZK_ANSWER_GARBAGE, "has not the \"id\""},
      {LOOP "echo \"{\\\"id\\\": $id}\"" DONE, 60, ZK_ANSWER_MISSING, "no reward"},
      {"tr '\\0' x </dev/zero", 60, ZK_ANSWER_GARBAGE, "it said 1048576 bytes"},
      {"(tr '\\0' x </dev/zero >&2) & " LOOP ANSWER DONE, 60, ZK_ANSWER_GIVEN, ""}, // a flood of talk
      {LOOP ANSWER "; " ANSWER DONE, 60, ZK_ANSWER_GIVEN, ""},                     // answers twice
      {"dd if=/dev/zero of=/dev/null bs=400M count=1", 60, ZK_ANSWER_ENDED, "ended with exit code 1"}, // beyond its memory
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    zk_program_pool *pool = open_pool(cases[i].command, 2, cases[i].timeout_s, 1);
    zk_program_answer answers[3];
    answer_all(pool, answers, 3);
    for (int k = 0; k < 3; k++) {
      if (answers[k].status != cases[i].status || !strstr(answers[k].why, cases[i].why))
        fail_msg("%s: status %d: %s", cases[i].command, answers[k].status, answers[k].why);
      assert_true((answers[k].answer != NULL) == (cases[i].status == ZK_ANSWER_GIVEN));
      json_decref(answers[k].answer);
    }
    zk_program_pool_close(pool);
    expect_nobody();
  }
}

// Every other answer fails at first; processes are slow in an order of their own.
static void answers_stay_with_their_requests(void **state) {
  zk_program_pool *pool = open_pool(LOOP "n=${line#*\\\"number\\\": }; n=${n%%\\}*}; sleep 0.00$((id * 7 % 10)); [ $((id % 5)) = 0 ] && exit 1; "
                                         "echo \"{\\\"id\\\": $id, \\\"reward\\\": $n}\"" DONE, 5, 60, 10);
  enum { NUM = 60 };
  zk_program_answer answers[NUM];
  answer_all(pool, answers, NUM);
  for (int i = 0; i < NUM; i++) {
    assert_int_equal(answers[i].status, ZK_ANSWER_GIVEN);
    assert_int_equal(json_integer_value(json_object_get(answers[i].answer, "reward")), i);
    json_decref(answers[i].answer);
  }
  zk_program_pool_close(pool);
  expect_nobody();
}

// Each process answers once and ends a while later, when the next request may have come: that one's second try is in a fresh process, which the other one's
// leftover would not be.
static void programs_that_answer_once(void **state) {
  zk_program_pool *pool = open_pool("IFS= read -r line; id=${line#*\\\"id\\\": }; id=${id%%,*}; " ANSWER "; sleep 0.05", 3, 60, 1);
  enum { NUM = 24 };
  zk_program_answer answers[NUM];
  answer_all(pool, answers, NUM);
  for (int i = 0; i < NUM; i++) {
    if (answers[i].status != ZK_ANSWER_GIVEN) fail_msg("request %d: %s", i, answers[i].why);
    json_decref(answers[i].answer);
  }
  zk_program_pool_close(pool);
  expect_nobody();
}

static void children_go_with_it(void **state) {
  char path[] = "/tmp/zk_program_XXXXXX", command[300];
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  // A child that holds the pipes open and survives its parent, one that was there before, and one of an idle process.
  snprintf(command, sizeof command, "(trap '' HUP TERM; sleep 1000) & echo $! >>%s; " LOOP "sleep 1000 & echo $! >>%s; " ANSWER "; [ $id = 1 ] && exit" DONE, path, path);
  zk_program_pool *pool = open_pool(command, 1, 60, 1); // the second request may come before the first process is gone
  zk_program_answer answers[2];
  answer_all(pool, answers, 2);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(answers[i].status, ZK_ANSWER_GIVEN);
    json_decref(answers[i].answer);
  }
  zk_program_pool_close(pool);
  FILE *file = fdopen(fd, "r");
  int child, num = 0;
  for (; fscanf(file, "%d", &child) == 1; num++) {
    errno = 0;
    assert_int_equal(kill(child, 0), -1);
    assert_int_equal(errno, ESRCH);
  }
  assert_int_equal(num, 4);
  fclose(file);
  unlink(path);
  expect_nobody();
}

static int num_children(void) {
  char path[64];
  int child, num = 0;
  snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  while (fscanf(file, "%d", &child) == 1) num++;
  fclose(file);
  return num;
}

// Orphans come to this process, in whatever group or session they are; no zombie is left of them while the program lives on, nor after.
static void orphans_are_waited_for(void **state) {
  enum { NUM = 6, LIMIT = 10000 };
  zk_program_pool *pool = open_pool(LOOP "(setsid sleep 0.3 &); (sleep 0.3 &); setsid sleep 0.01 & " ANSWER DONE, 1, 60, 0);
  zk_program_answer answers[NUM];
  answer_all(pool, answers, NUM);
  for (int i = 0; i < NUM; i++) json_decref(answers[i].answer);
  assert_true(num_children() > 1); // the control: they are children of this process
  for (int turn = 0; num_children() > 1 && turn < LIMIT; turn++) {
    assert_int_equal(zk_program_pool_poll(pool, 0), ZK_OK);
    usleep(1000);
  }
  assert_int_equal(num_children(), 1);
  zk_program_pool_close(pool);
  expect_nobody();
}

static void programs_that_do_not_start(void **state) {
  static const struct {
    const char *command, *why; // NULL: it starts
  } cases[] = {{LOOP ANSWER DONE, NULL},
               {"sleep 1000", NULL},
               {"no-such-program-anywhere", "ended with exit code 127 before it was asked anything"},
               {"echo no numpy here >&2; exit 1", "its standard error ends: \"no numpy here\""},
               {"kill -SEGV $$", "was killed by signal 11"},
               {"true", "ended with exit code 0"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    zk_program_pool *pool = open_pool(cases[i].command, 2, 60, 1);
    const zk_status status = zk_program_pool_try(pool);
    if (status != (cases[i].why ? ZK_BAD_INPUT : ZK_OK) || (cases[i].why && !strstr(zk_status_message(), cases[i].why)))
      fail_msg("%s: status %d: %s", cases[i].command, status, zk_status_message());
    zk_program_pool_close(pool);
    expect_nobody();
  }
}

static void large_requests_and_a_cancelled_pool(void **state) {
  zk_program_pool *pool = open_pool(LOOP "echo \"{\\\"id\\\": $id, \\\"reward\\\": ${#line}}\"" DONE, 1, 60, 0);
  char *members = malloc(300000);
  memset(members, ' ', 299999);
  members[299998] = '}', members[299999] = 0;
  memcpy(members, "\"a\": 1", 6);
  assert_int_equal(zk_program_pool_submit(pool, 7, members), ZK_OK);
  zk_program_answer answer;
  while (!zk_program_pool_take(pool, &answer)) assert_int_equal(zk_program_pool_poll(pool, 1000), ZK_OK);
  assert_int_equal(answer.status, ZK_ANSWER_GIVEN);
  assert_true(json_integer_value(json_object_get(answer.answer, "reward")) > 299999); // it has read all of it
  json_decref(answer.answer);
  zk_program_pool_close(pool);

  pool = open_pool("sleep 1000", 3, 60, 0);
  for (uint64_t i = 0; i < 10; i++) assert_int_equal(zk_program_pool_submit(pool, i, strdup("\"a\": 1}")), ZK_OK);
  assert_int_equal(zk_program_pool_poll(pool, 0), ZK_OK);
  zk_program_pool_cancel(pool);
  assert_int_equal(zk_program_pool_num_open(pool), 0);
  expect_nobody();
  zk_program_pool_close(pool);
}

// A descriptor that a library left open without close-on-exec: programs do not see it.
static void descriptors_stay_here(void **state) {
  enum { LEFT_OPEN = 77 };
  assert_int_equal(dup2(2, LEFT_OPEN), LEFT_OPEN);
  assert_int_equal(system("[ -e /proc/self/fd/77 ]"), 0); // the control: a plain child has it
  zk_program_pool *pool = open_pool("[ ! -e /proc/self/fd/77 ] || exit 9; " LOOP ANSWER DONE, 1, 60, 0);
  zk_program_answer answer;
  answer_all(pool, &answer, 1);
  assert_int_equal(answer.status, ZK_ANSWER_GIVEN);
  json_decref(answer.answer);
  zk_program_pool_close(pool);
  close(LEFT_OPEN);
}

static void no_more_processes_than_files(void **state) {
  zk_program_options options = {"cat", 64, 60, 0, 0, has_reward, NULL};
  zk_program_pool *pool;
  struct rlimit before, few;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  few = (struct rlimit){128, before.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
  assert_int_equal(zk_program_pool_open(&options, &pool), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "RLIMIT_NOFILE"));
  assert_non_null(strstr(zk_status_message(), "ulimit -n"));
  options.num_processes = 8;
  assert_int_equal(zk_program_pool_open(&options, &pool), ZK_OK);
  zk_program_pool_close(pool);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_becomes_of_a_request),
      cmocka_unit_test(answers_stay_with_their_requests),
      cmocka_unit_test(programs_that_answer_once),
      cmocka_unit_test(children_go_with_it),
      cmocka_unit_test(orphans_are_waited_for),
      cmocka_unit_test(programs_that_do_not_start),
      cmocka_unit_test(large_requests_and_a_cancelled_pool),
      cmocka_unit_test(descriptors_stay_here),
      cmocka_unit_test(no_more_processes_than_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
