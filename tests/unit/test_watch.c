// label: slow; cost: 40
// Three ranks as processes of this test, without MPI: a lost rank is named once, by one rank, and a failure that is only its echo is not told.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shared/watch.h"
#include "shared/watch_impl.h"

enum { RANKS = 3, GRACE_MS = 600 }; // what a launcher gives the others after one has ended; their turns to speak come sooner

// What ranks see of each other before they are linked.
typedef struct {
  zk_watch_place place;
  volatile int is_listening, num_joined;
} board;

static void nap_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL); }

static void join(board *b, int rank) {
  if (rank == 0) zk_watch_listen(RANKS, &b->place);
  if (rank == 0) b->is_listening = 1;
  while (!b->is_listening) nap_ms(1);
  zk_watch_join(rank, RANKS, &b->place);
  __atomic_add_fetch(&b->num_joined, 1, __ATOMIC_SEQ_CST);
  while (b->num_joined < RANKS) nap_ms(1);
  if (rank == 0) zk_watch_checkpoint("runs/x/checkpoints/step_000004");
  zk_watch_doing("updating in step 5");
}

// A transfer failed: what zk_comm_lost does, without MPI.
static _Noreturn void fail_here(int rank) {
  char text[960];
  zk_watch_yield();
  zk_watch_describe(text, sizeof text);
  fprintf(stderr, "rank %d: transfer failed%s\n", rank, text);
  zk_watch_leave(true);
  _exit(1);
}

// Runs `role` as every rank, and returns all that they said. Whoever ends first, but for `lost`, must do so with exit code 1; the others may be ended then.
static const char *said(void (*role)(int rank), int lost) {
  static char text[8192];
  board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  FILE *file = tmpfile();
  pid_t ids[RANKS];
  assert_true(b != MAP_FAILED && file);
  for (int r = 0; r < RANKS; r++) {
    ids[r] = fork();
    assert_true(ids[r] >= 0);
    if (ids[r]) continue;
    dup2(fileno(file), STDERR_FILENO);
    join(b, r);
    role(r);
    _exit(9);
  }
  int status = 0;
  pid_t first;
  do first = waitpid(-1, &status, 0);
  while (lost >= 0 && first == ids[lost]);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
  nap_ms(GRACE_MS);
  for (int r = 0; r < RANKS; r++) {
    if (ids[r] == first) continue;
    kill(ids[r], SIGKILL);
    waitpid(ids[r], NULL, 0);
  }
  rewind(file);
  text[fread(text, 1, sizeof text - 1, file)] = 0;
  fclose(file);
  munmap(b, sizeof *b);
  return text;
}

static void assert_one_line(const char *text) {
  assert_non_null(strchr(text, '\n'));
  assert_int_equal(strlen(text), strcspn(text, "\n") + 1);
}

static void dies_in_a_transfer(int rank) {
  zk_watch_waiting("all-to-all", 0);
  nap_ms(300);
  if (rank == 2) raise(SIGKILL);
  fail_here(rank);
}

static void a_dead_rank_is_named_and_no_echo_told(void **state) {
  (void)state;
  const char *text = said(dies_in_a_transfer, 2);
  assert_one_line(text);
  assert_non_null(strstr(text, "rank 2 (pid "));
  assert_non_null(strstr(text, "died while updating in step 5 (rank 0 waits in all-to-all); the last good checkpoint is runs/x/checkpoints/step_000004:"));
}

static void first_rank_dies(int rank) {
  zk_watch_waiting("all-to-all", 0);
  nap_ms(300);
  if (rank == 0) raise(SIGKILL);
  fail_here(rank);
}

static void of_a_dead_rank_0_rank_1_speaks(void **state) {
  (void)state;
  const char *text = said(first_rank_dies, 0);
  assert_one_line(text);
  assert_non_null(strstr(text, "rank 0 (pid "));
  assert_non_null(strstr(text, "died while updating in step 5 (rank 1 waits in all-to-all); the last good checkpoint is runs/x/checkpoints/step_000004:"));
}

static void all_fail(int rank) {
  zk_watch_waiting("all-to-all", 0);
  nap_ms(1200); // so that all are known to wait
  fail_here(rank);
}

static void of_failures_at_once_one_is_told(void **state) {
  (void)state;
  const char *text = said(all_fail, -1);
  assert_one_line(text);
  assert_string_equal(text, "rank 0: transfer failed while updating in step 5; the last good checkpoint is runs/x/checkpoints/step_000004: start the same "
                            "command again, and it goes on from there\n");
}

static void one_is_elsewhere(int rank) {
  if (rank == 1) {
    zk_watch_doing("computing the gradient of step 5");
    for (;;) nap_ms(100); // until the others have given up
  }
  all_fail(rank);
}

static void who_takes_no_part_is_named(void **state) {
  (void)state;
  const char *text = said(one_is_elsewhere, -1);
  assert_one_line(text);
  assert_non_null(strstr(text, "rank 0: transfer failed while updating in step 5; rank 1 (pid "));
  assert_non_null(strstr(text, "is not in it: computing the gradient of step 5; the last good checkpoint is"));
}

static void one_stops(int rank) {
  if (rank == 1) raise(SIGSTOP);
  zk_watch_waiting("all-to-all", 0);
  nap_ms(20000);
}

static void silence_is_noticed(void **state) {
  (void)state;
  setenv("ZK_WATCH_LIMIT_S", "2", 1);
  const char *text = said(one_stops, 1);
  unsetenv("ZK_WATCH_LIMIT_S");
  assert_one_line(text);
  assert_non_null(strstr(text, "rank 1 (pid "));
  assert_non_null(strstr(text, "has not answered for 2 s while "));
}

// Three times the limit in `ops`, of which this rank is in the one that has its turn; then all leave.
static void wait_and_leave(int rank, int num_ops) {
  static const char *const ops[] = {"broadcast", "all-to-all"};
  for (int i = 0; i < 60; i++) {
    if (num_ops > 0 && i % (60 / num_ops) == 0) zk_watch_waiting(ops[i % 2], 0);
    nap_ms(100);
  }
  nap_ms(100 * rank);
  zk_watch_leave(false);
  _exit(1);
}

static void all_wait(int rank) {
  zk_watch_waiting(rank == 1 ? "broadcast" : "all-to-all", 0);
  nap_ms(20000);
}

static void all_wait_in_one(int rank) {
  zk_watch_waiting("all-to-all", 0);
  nap_ms(20000);
}

// Rank 1 computes; the others wait for it.
static void one_works(int rank) { wait_and_leave(rank, rank != 1); }
static void waits_end(int rank) { wait_and_leave(rank, 6); }
// A large exchange may take long.
static void all_wait_for_much(int rank) {
  zk_watch_waiting("all-to-all", 20);
  wait_and_leave(rank, 0);
}

static void waits_that_nobody_can_end_are_noticed(void **state) {
  (void)state;
  setenv("ZK_WATCH_LIMIT_S", "2", 1);
  const char *text = said(all_wait, -1);
  assert_one_line(text);
  assert_non_null(strstr(text, "rank 1 (pid "));
  assert_non_null(strstr(text, " waits in broadcast, 2 of 3 ranks in all-to-all while updating in step 5, and nothing has moved for "));
  assert_non_null(strstr(text, "the last good checkpoint is runs/x/checkpoints/step_000004:"));
  text = said(all_wait_in_one, -1);
  assert_one_line(text);
  assert_non_null(strstr(text, "all 3 ranks wait in all-to-all while updating in step 5, and nothing has moved for "));
  unsetenv("ZK_WATCH_LIMIT_S");
}

static void waits_that_end_are_left_alone(void **state) {
  (void)state;
  setenv("ZK_WATCH_LIMIT_S", "2", 1);
  assert_string_equal(said(one_works, -1), "");
  assert_string_equal(said(waits_end, -1), "");
  assert_string_equal(said(all_wait_for_much, -1), "");
  unsetenv("ZK_WATCH_LIMIT_S");
}

// Garbage on the link of a rank that goes on.
static void one_link_is_torn(int rank) {
  static const char torn[sizeof(zk_watch_frame)] = "torn";
  nap_ms(300);
  if (rank == 2) (void)send(zk_watch.peers[0].fd, torn, sizeof torn, MSG_NOSIGNAL);
  nap_ms(20000);
}

static void a_torn_link_names_its_rank(void **state) {
  (void)state;
  const char *text = said(one_link_is_torn, -1);
  assert_one_line(text);
  assert_non_null(strstr(text, "rank 2 (pid "));
  assert_non_null(strstr(text, "its link is torn, while updating in step 5; the last good checkpoint is"));
}

static void leaves_in_turn(int rank) {
  nap_ms(100 * rank);
  zk_watch_leave(false);
  _exit(1);
}

static void who_leaves_is_not_lost(void **state) {
  (void)state;
  assert_string_equal(said(leaves_in_turn, -1), "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_dead_rank_is_named_and_no_echo_told), cmocka_unit_test(of_a_dead_rank_0_rank_1_speaks),
      cmocka_unit_test(of_failures_at_once_one_is_told),       cmocka_unit_test(who_takes_no_part_is_named),
      cmocka_unit_test(silence_is_noticed),                    cmocka_unit_test(who_leaves_is_not_lost),
      cmocka_unit_test(waits_that_nobody_can_end_are_noticed), cmocka_unit_test(waits_that_end_are_left_alone),
      cmocka_unit_test(a_torn_link_names_its_rank),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
