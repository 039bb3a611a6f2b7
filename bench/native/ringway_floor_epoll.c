// ringway-floor-epoll: the least an epoll server can cost. It echoes frames (u32 big-endian length, payload) and does
// nothing else: one thread, one receive and one send per readable connection and turn, whole frames sent from the
// buffer they came in. A connection allocates only for a frame that came in parts, and keeps that memory.
//
// It is a yardstick for loopback, not a server: no time limits.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  kReadBytes = 256 * 1024,
  kMaxFds = 65536,
  kMaxFrameBytes = 64 << 20,
  kMaxEvents = 512,
  kLeastRoom = 4096,
};

// bytes[start, length) is kept: `unsent` bytes of answers first, and nothing is received while there are any; then the
// beginning of a frame.
struct Connection {
  uint8_t* bytes;
  size_t room, start, length, unsent;
};

static int epoll_fd;
static struct Connection connections[kMaxFds];
static uint8_t inbox[kReadBytes];

static void Fail(const char* what) {
  fprintf(stderr, "ringway-floor-epoll: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void Watch(int fd, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) Fail("epoll_ctl");
}

static void Close(int fd) {
  struct Connection* connection = &connections[fd];
  free(connection->bytes);
  *connection = (struct Connection){0};
  close(fd);
}

static uint32_t ReadLength(const uint8_t* at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return __builtin_bswap32(value);
}

// How many bytes are whole frames. `needed` is what the first frame that is not whole takes, or 4.
static size_t FindFrames(const uint8_t* bytes, size_t length, size_t* needed) {
  size_t at = 0;
  *needed = 4;
  while (length - at >= 4) {
    const size_t frame = (size_t)4 + ReadLength(bytes + at);
    if (frame > length - at) {
      *needed = frame;
      break;
    }
    at += frame;
  }
  return at;
}

static void MakeRoom(struct Connection* connection, size_t bytes) {
  if (connection->room >= bytes) return;
  connection->bytes = realloc(connection->bytes, bytes);
  connection->room = bytes;
  if (connection->bytes == NULL) Fail("memory");
}

// Sends as much as the socket takes. False: the connection is gone.
static bool Send(int fd, const uint8_t* bytes, size_t length, size_t* sent) {
  const ssize_t taken = send(fd, bytes, length, MSG_NOSIGNAL);
  *sent = taken > 0 ? (size_t)taken : 0;
  return taken >= 0 || errno == EAGAIN;
}

// Echoes what is whole in `bytes`, the inbox or the connection's own, and keeps the rest. False: the connection is
// gone.
static bool Echo(int fd, uint8_t* bytes, size_t length) {
  struct Connection* connection = &connections[fd];
  size_t needed, sent = 0;
  const size_t whole = FindFrames(bytes, length, &needed);
  if (needed > kMaxFrameBytes || (whole > 0 && !Send(fd, bytes, whole, &sent))) return false;
  const size_t rest = length - sent;
  connection->unsent = whole - sent;
  connection->start = 0;
  connection->length = rest;
  if (rest == 0) return true;
  if (bytes != inbox) memmove(bytes, bytes + sent, rest);
  MakeRoom(connection, connection->unsent + (needed > kLeastRoom ? needed : kLeastRoom));
  if (bytes == inbox) memcpy(connection->bytes, inbox + sent, rest);
  return true;
}

// Edge-triggered: until a receive brings less than it had room for, or, after the client's FIN, nothing.
static bool Receive(int fd, bool to_the_end) {
  struct Connection* connection = &connections[fd];
  while (connection->unsent == 0) {
    uint8_t* bytes = connection->length == 0 ? inbox : connection->bytes;
    const size_t room = (bytes == inbox ? kReadBytes : connection->room) - connection->length;
    const ssize_t got = recv(fd, bytes + connection->length, room, 0);
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0 || !Echo(fd, bytes, connection->length + (size_t)got)) return false;
    if ((size_t)got < room && !to_the_end) return true;
  }
  return true;
}

static bool SendRest(int fd) {
  struct Connection* connection = &connections[fd];
  size_t sent;
  if (!Send(fd, connection->bytes + connection->start, connection->unsent, &sent)) return false;
  connection->unsent -= sent;
  connection->start += sent;
  if (connection->unsent > 0) return true;
  connection->length -= connection->start;
  memmove(connection->bytes, connection->bytes + connection->start, connection->length);
  connection->start = 0;
  return true;
}

static void Handle(const struct epoll_event* event) {
  const int fd = event->data.fd;
  bool alive = (event->events & (EPOLLERR | EPOLLHUP)) == 0;
  if (alive && connections[fd].unsent > 0) alive = SendRest(fd);
  if (alive) alive = Receive(fd, (event->events & EPOLLRDHUP) != 0);
  if (!alive) Close(fd);
}

static void Accept(int listener) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    if (fd < kMaxFds) {
      Watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    } else {
      close(fd);
    }
  }
  if (errno != EAGAIN && errno != ECONNABORTED) Fail("accept");
}

static int Listen(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // connections inherit it
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(fd, (struct sockaddr*)&address, length) != 0 || listen(fd, 4096) != 0 ||
      getsockname(fd, (struct sockaddr*)&address, &length) != 0) {
    Fail("cannot listen");
  }
  printf("listening on 127.0.0.1:%d (floor epoll)\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

int main(int argc, char** argv) {
  if (argc != 3 || strcmp(argv[1], "--port") != 0) {
    fputs("usage: ringway-floor-epoll --port P   (loopback; 0: any)\n", stderr);
    return 2;
  }
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  const int listener = Listen(atoi(argv[2]));
  Watch(listener, EPOLLIN);
  struct epoll_event events[kMaxEvents];
  while (true) {
    const int count = epoll_wait(epoll_fd, events, kMaxEvents, -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd == listener) {
        Accept(listener);
      } else {
        Handle(&events[i]);
      }
    }
  }
}
