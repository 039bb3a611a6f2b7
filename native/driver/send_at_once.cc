#include "driver/send_at_once.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

namespace ringway {

int32_t SendAtOnce(int fd, const iovec* iov, int iov_count) {
  for (;;) {
    ssize_t sent;
    if (iov_count == 1) {
      sent = ::send(fd, iov->iov_base, std::min<size_t>(iov->iov_len, INT32_MAX), MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      msghdr header{};
      header.msg_iov = const_cast<iovec*>(iov);
      header.msg_iovlen = static_cast<size_t>(iov_count);
      sent = ::sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    if (sent >= 0) return static_cast<int32_t>(sent);
    if (errno != EINTR) return -errno;
  }
}

}  // namespace ringway
