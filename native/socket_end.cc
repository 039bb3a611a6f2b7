#include "socket_end.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace ringway {

namespace {
// TCP_CLOSE, whose name stands in a header that cannot be had beside linux/tcp.h.
constexpr uint8_t kTcpClosed = 7;
}  // namespace

bool IsHungUp(int fd) {
  pollfd poll{fd, 0, 0};
  return ::poll(&poll, 1, 0) == 1 && (poll.revents & POLLHUP) != 0;
}

bool WasReset(int fd, uint64_t taken, bool waiting) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return waiting && IsHungUp(fd);
  if (info.tcpi_state != kTcpClosed) return false;
  int unread = 0;
  static_cast<void>(::ioctl(fd, SIOCINQ, &unread));
  // The kernel counts a FIN as one byte more than came; a reset counts nothing.
  return info.tcpi_bytes_received != taken + static_cast<uint64_t>(unread) + 1;
}

}  // namespace ringway
