#include "socket_address.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <cstring>

namespace ringway {

namespace {

constexpr int kProbeIntervalSeconds = 1;
constexpr int kProbes = 10;

int SetInt(int fd, int level, int name, int value) {
  if (::setsockopt(fd, level, name, &value, sizeof value) == 0) return 0;
  // What a unix socket says of TCP's options.
  return errno == EOPNOTSUPP || errno == ENOPROTOOPT ? 0 : -errno;
}

}  // namespace

size_t WriteHost(const sockaddr_storage& address, char (&text)[INET6_ADDRSTRLEN]) {
  text[0] = '\0';
  if (address.ss_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof text);
  } else if (address.ss_family == AF_INET6) {
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text, sizeof text);
  }
  return std::strlen(text);
}

uint16_t PortOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return 0;
}

int SetNoDelay(int fd, bool on) { return SetInt(fd, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0); }

int SetKeepAlive(int fd, bool on, int idle_seconds) {
  if (const int error = SetInt(fd, SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0); error < 0) return error;
  if (!on || idle_seconds <= 0) return 0;
  if (const int error = SetInt(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_seconds); error < 0) return error;
  SetInt(fd, IPPROTO_TCP, TCP_KEEPINTVL, kProbeIntervalSeconds);
  SetInt(fd, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  return 0;
}

}  // namespace ringway
