// Set-up of client sockets.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

namespace ringway::bench {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

// Of an IPv4 or IPv6 address; false when it is neither.
inline bool ParseAddress(const std::string& host, int port, Address* address) {
  if (auto* v4 = reinterpret_cast<sockaddr_in*>(&address->storage);
      inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    address->length = sizeof *v4;
  } else if (auto* v6 = reinterpret_cast<sockaddr_in6*>(&address->storage);
             inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    address->length = sizeof *v6;
  }
  return address->length > 0;
}

inline void SetNoDelay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// connect(2), also when a signal came between (a process that was suspended): the attempt then goes on by itself.
inline bool Connect(int fd, const Address& address, int timeout_ms) {
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0) return true;
  if (errno != EINTR) return false;
  pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
  int count;
  do {
    count = poll(&ready, 1, timeout_ms);
  } while (count < 0 && errno == EINTR);
  int error = ETIMEDOUT;
  socklen_t length = sizeof error;
  if (count > 0) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  errno = error;
  return error == 0;
}

// The whole of `length` bytes from a blocking socket.
inline bool ReceiveAll(int fd, uint8_t* bytes, size_t length) {
  size_t have = 0;
  while (have < length) {
    const ssize_t got = recv(fd, bytes + have, length - have, 0);
    if (got == 0 || (got < 0 && errno != EINTR)) return false;
    if (got > 0) have += static_cast<size_t>(got);
  }
  return true;
}

// A connected socket with TCP_NODELAY, blocking; -1 with a line on stderr.
inline int ConnectTo(const std::string& host, int port) {
  Address address;
  if (!ParseAddress(host, port, &address)) {
    std::fprintf(stderr, "ringway-load: not an IP address: %s\n", host.c_str());
    return -1;
  }
  const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  // Bounds connect(2) too: a server that stopped accepting is an error, not a hang of minutes.
  const timeval patience{.tv_sec = 10, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (fd < 0 || !Connect(fd, address, 10'000)) {
    std::fprintf(stderr, "ringway-load: cannot connect to %s:%d: %s\n", host.c_str(), port, std::strerror(errno));
    if (fd >= 0) close(fd);
    return -1;
  }
  SetNoDelay(fd);
  return fd;
}

// A closed connection keeps its port for a minute. To 127.0.0.1, connections come from 64 addresses in turn, each with
// ports of its own, so that tens of thousands of connections per second do not use them up.
inline void SpreadOverLoopback(int fd, const Address& address, uint32_t number) {
  const auto* to = reinterpret_cast<const sockaddr_in*>(&address.storage);
  if (to->sin_family != AF_INET || ntohl(to->sin_addr.s_addr) >> 24 != 127) return;
  const int on = 1;
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  sockaddr_in from{};
  from.sin_family = AF_INET;
  from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number % 64);
  bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof from);
}

// A socket that connects without waiting; -1 with errno. `connecting` says whether it still does.
inline int StartConnecting(const std::string& host, int port, uint32_t number, bool* connecting) {
  Address address;
  if (!ParseAddress(host, port, &address)) return errno = EINVAL, -1;
  const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  SpreadOverLoopback(fd, address, number);
  SetNoDelay(fd);
  *connecting = connect(fd, reinterpret_cast<sockaddr*>(&address.storage), address.length) != 0;
  if (!*connecting || errno == EINPROGRESS) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

inline void SetNonBlocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

// As many descriptors as the hard limit allows: the soft one is 1,024 on most machines.
inline void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace ringway::bench
