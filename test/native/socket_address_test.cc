#include "socket_address.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/fd.h"
#include "support/doctest_last.h"

namespace ringway {
namespace {

int OptionOf(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  REQUIRE(::getsockopt(fd, level, name, &value, &length) == 0);
  return value;
}

TEST_CASE("addresses as text") {
  char text[INET6_ADDRSTRLEN];
  sockaddr_storage storage = {};
  auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
  v4.sin_family = AF_INET;
  v4.sin_port = htons(9320);
  REQUIRE(::inet_pton(AF_INET, "192.0.2.7", &v4.sin_addr) == 1);
  CHECK_EQ(WriteHost(storage, text), 9u);
  CHECK_EQ(std::string(text), "192.0.2.7");
  CHECK_EQ(PortOf(storage), 9320);

  storage = {};
  auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(1);
  REQUIRE(::inet_pton(AF_INET6, "::ffff:127.0.0.1", &v6.sin6_addr) == 1);
  WriteHost(storage, text);
  CHECK_EQ(std::string(text), "::ffff:127.0.0.1");
  CHECK_EQ(PortOf(storage), 1);

  storage = {};
  storage.ss_family = AF_UNIX;
  CHECK_EQ(WriteHost(storage, text), 0u);
  CHECK_EQ(PortOf(storage), 0);
}

TEST_CASE("options of a TCP socket") {
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK_EQ(SetNoDelay(fd.Get(), true), 0);
  CHECK(OptionOf(fd.Get(), IPPROTO_TCP, TCP_NODELAY) != 0);
  CHECK_EQ(SetNoDelay(fd.Get(), false), 0);
  CHECK_EQ(OptionOf(fd.Get(), IPPROTO_TCP, TCP_NODELAY), 0);

  CHECK_EQ(SetKeepAlive(fd.Get(), true, 7), 0);
  CHECK(OptionOf(fd.Get(), SOL_SOCKET, SO_KEEPALIVE) != 0);
  CHECK_EQ(OptionOf(fd.Get(), IPPROTO_TCP, TCP_KEEPIDLE), 7);
  // Without a time the one that is set stays.
  CHECK_EQ(SetKeepAlive(fd.Get(), true, 0), 0);
  CHECK_EQ(OptionOf(fd.Get(), IPPROTO_TCP, TCP_KEEPIDLE), 7);
  CHECK_EQ(SetKeepAlive(fd.Get(), false, 0), 0);
  CHECK_EQ(OptionOf(fd.Get(), SOL_SOCKET, SO_KEEPALIVE), 0);
}

TEST_CASE("a unix socket has no such options, a closed one is an error") {
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK_EQ(SetNoDelay(fd.Get(), true), 0);
  CHECK_EQ(SetKeepAlive(fd.Get(), true, 7), 0);
  CHECK_EQ(SetNoDelay(-1, true), -EBADF);
}

}  // namespace
}  // namespace ringway
