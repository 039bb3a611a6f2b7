// send(2) as far as it goes without waiting, for drivers and for whoever must know before his call returns.
#pragma once

#include <sys/uio.h>

#include <cstdint>

namespace ringway {

// Bytes sent (maybe fewer than there are), or a negative errno; -EAGAIN: there is no room. At most IOV_MAX parts.
int32_t SendAtOnce(int fd, const iovec* iov, int iov_count);

}  // namespace ringway
