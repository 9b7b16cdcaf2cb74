// Frames over a link that is full in the middle of one, and the signals that the watch looks at.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/stop.h"
#include "shared/watch_link.h"

// A TCP connection of this host with little room: fds[0] to fds[1].
static void connect_narrow(int fds[2]) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t bytes = sizeof at;
  const int room = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  assert_true(listener >= 0 && !setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof room));
  assert_true(!bind(listener, (struct sockaddr *)&at, sizeof at) && !listen(listener, 1) && !getsockname(listener, (struct sockaddr *)&at, &bytes));
  fds[0] = socket(AF_INET, SOCK_STREAM, 0);
  assert_true(!setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room) && !connect(fds[0], (struct sockaddr *)&at, sizeof at));
  fds[1] = accept(listener, NULL, NULL);
  assert_true(fds[1] >= 0);
  close(listener);
}

// A reader that takes less than what comes: what it gets is whole frames in their order, some of which were sent in two pieces.
static void no_frame_is_torn(void **state) {
  (void)state;
  zk_watch_frame frame = {.token = 7, .kind = ZK_WATCH_ALIVE}, got;
  zk_watch_rest rest = {.left = 0};
  size_t used = 0;
  int fds[2], last = -1, num_cut = 0;
  connect_narrow(fds);
  for (int i = 0; i < 20000; i++) {
    frame.pid = i;
    assert_true(zk_watch_link_send(fds[0], &rest, &frame));
    num_cut += rest.left > 0;
    if (i % 3 || zk_watch_link_receive(fds[1], &got, &used) <= 0) continue;
    assert_int_equal(got.token, 7);
    assert_true(got.pid > last);
    last = got.pid;
  }
  assert_true(num_cut > 0);
  close(fds[0]);
  close(fds[1]);
}

static void a_sigterm_after_another_signal_is_seen(void **state) {
  (void)state;
  zk_stop_catch();
  raise(SIGUSR1);
  assert_int_equal(zk_stop_caught(), SIGUSR1);
  assert_false(zk_stop_is_ended());
  raise(SIGTERM);
  assert_int_equal(zk_stop_caught(), SIGUSR1);
  assert_true(zk_stop_is_ended());
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(no_frame_is_torn), cmocka_unit_test(a_sigterm_after_another_signal_is_seen)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
