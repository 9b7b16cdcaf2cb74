// Listening, connecting and whole frames over TCP (IPv4).
#define _GNU_SOURCE // accept4
#include "shared/watch_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/clock.h"

enum { CONNECT_MS = 3000, ANSWER_S = 5, HELLO_S = 1 };

// Loopback first, for ranks of this host: elsewhere it is refused at once, or answers without the token.
static void list_addresses(zk_watch_place *place) {
  struct ifaddrs *all = NULL;
  const uint16_t room = sizeof place->addresses / sizeof *place->addresses;
  place->addresses[place->num_addresses++] = htonl(INADDR_LOOPBACK);
  if (getifaddrs(&all)) return;
  for (const struct ifaddrs *i = all; i && place->num_addresses < room; i = i->ifa_next) {
    if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP) || i->ifa_flags & IFF_LOOPBACK) continue;
    place->addresses[place->num_addresses++] = ((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr.s_addr;
  }
  freeifaddrs(all);
}

zk_status zk_watch_link_listen(int backlog, zk_watch_place *place, int *fd) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
  socklen_t bytes = sizeof at;
  memset(place, 0, sizeof *place);
  *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  bool ok = *fd >= 0 && !bind(*fd, (const struct sockaddr *)&at, sizeof at) && !listen(*fd, backlog) &&
            !getsockname(*fd, (struct sockaddr *)&at, &bytes) && getrandom(&place->token, sizeof place->token, 0) == (ssize_t)sizeof place->token;
  if (!ok) {
    zk_status st = ZK_FAIL(ZK_COMM, "cannot listen for other ranks: %s", strerror(errno));
    if (*fd >= 0) close(*fd);
    *fd = -1;
    return st;
  }
  place->port = at.sin_port;
  list_addresses(place);
  return ZK_OK;
}

// A connected socket, or -1.
static int reach(uint32_t address, uint16_t port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = address, .sin_port = port};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
  socklen_t bytes = sizeof error;
  if (fd < 0) return -1;
  bool ok = !connect(fd, (const struct sockaddr *)&to, sizeof to);
  if (!ok && errno == EINPROGRESS) {
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    ok = poll(&wait, 1, CONNECT_MS) == 1 && !getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) && !error;
  }
  if (ok) return fd;
  close(fd);
  return -1;
}

// A whole first frame within so many seconds.
static bool first_frame(int fd, int seconds, uint64_t token, zk_watch_frame *out) {
  const double until_s = zk_clock_s() + seconds;
  size_t used = 0;
  int got = 0;
  for (double left_s; got == 0 && (left_s = until_s - zk_clock_s()) > 0;) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, (int)(left_s * 1000) + 1) == 1) got = zk_watch_link_receive(fd, out, &used);
  }
  return got == 1 && out->token == token;
}

zk_status zk_watch_link_connect(const zk_watch_place *place, const zk_watch_frame *hello, zk_watch_frame *answer, int *fd) {
  for (int i = 0; i < place->num_addresses; i++) {
    zk_watch_rest rest = {.left = 0};
    *fd = reach(place->addresses[i], place->port);
    if (*fd >= 0 && zk_watch_link_send(*fd, &rest, hello) && first_frame(*fd, ANSWER_S, place->token, answer)) return ZK_OK;
    if (*fd >= 0) close(*fd);
  }
  *fd = -1;
  return ZK_FAIL(ZK_COMM, "rank 0 on port %d answers at none of its %d addresses", ntohs(place->port), place->num_addresses);
}

int zk_watch_link_accept(int listen_fd, uint64_t token, zk_watch_frame *hello) {
  int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return -1;
  if (first_frame(fd, HELLO_S, token, hello)) return fd;
  close(fd);
  return -1;
}

// What is left of rest's frame, as far as there is room.
static bool send_rest(int fd, zk_watch_rest *rest) {
  const char *end = (const char *)(&rest->frame + 1);
  const ssize_t n = send(fd, end - rest->left, rest->left, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n > 0) rest->left -= (size_t)n;
  return n >= 0 || errno == EAGAIN || errno == EINTR;
}

bool zk_watch_link_send(int fd, zk_watch_rest *rest, const zk_watch_frame *frame) {
  if (rest->left && !send_rest(fd, rest)) return false;
  if (rest->left) return true;
  *rest = (zk_watch_rest){*frame, sizeof *frame};
  const bool ok = send_rest(fd, rest);
  if (rest->left == sizeof *frame) rest->left = 0; // not begun
  return ok;
}

void zk_watch_link_farewell(int fd, zk_watch_rest *rest, const zk_watch_frame *frame) {
  (void)zk_watch_link_send(fd, rest, frame);
  (void)shutdown(fd, SHUT_WR);
}

void zk_watch_link_drain(int fd, double until_s) {
  char unread[4096];
  for (double left_s; (left_s = until_s - zk_clock_s()) > 0;) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, (int)(left_s * 1000) + 1) != 1 || recv(fd, unread, sizeof unread, MSG_DONTWAIT) <= 0) break;
  }
  close(fd);
}

int zk_watch_link_receive(int fd, zk_watch_frame *buffer, size_t *used) {
  ssize_t n = recv(fd, (char *)buffer + *used, sizeof *buffer - *used, MSG_DONTWAIT);
  if (n < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
  if (n == 0) return -1;
  *used += (size_t)n;
  if (*used < sizeof *buffer) return 0;
  *used = 0;
  return 1;
}
