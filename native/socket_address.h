// Addresses of sockets, and the options that may be set at any time of a socket's life.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>

namespace ringway {

struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t length = 0;  // 0: none
};

// The text of an IP address, with its final zero; empty for unix sockets. Answers its length.
size_t WriteHost(const sockaddr_storage& address, char (&text)[INET6_ADDRSTRLEN]);
// 0 for unix sockets.
uint16_t PortOf(const sockaddr_storage& address);

// 0 or a negative errno; on unix sockets, which have neither option, they do nothing.
int SetNoDelay(int fd, bool on);
// The first probe after `idle_seconds` of silence (0: the system's default), then one a second, ten of them: as libuv
// does it, so that the portable engine's connections end alike.
int SetKeepAlive(int fd, bool on, int idle_seconds);

}  // namespace ringway
