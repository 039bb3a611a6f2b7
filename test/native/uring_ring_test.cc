// The ring takes what the driver uses, and refuses everything else.
#include "driver/uring_ring.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"

namespace ringway {
namespace {

constexpr UringMode kModes[] = {UringMode::kOwnThread, UringMode::kPolledRing, UringMode::kPolledEventfd};

// False where this machine refuses io_uring, or to restrict it: what that means is driver_select_test.cc's.
bool OpenRestricted(UringRing& ring, UringMode mode) {
  const int error = ring.Open({.mode = mode, .submission_entries = 8, .completion_entries = 16});
  if (error == -EPERM || error == -ENOSYS) {
    MESSAGE("io_uring is refused here: not tested");
    return false;
  }
  REQUIRE_EQ(error, 0);
  REQUIRE_EQ(ring.Enable(), 0);
  if (ring.unrestricted_error() != 0) MESSAGE("this kernel restricts no ring: not tested");
  return ring.unrestricted_error() == 0;
}

template <typename Fill>
int32_t ResultOf(UringRing& ring, Fill fill) {
  io_uring_sqe* sqe = ring.NextSqe();
  REQUIRE(sqe != nullptr);
  fill(sqe);
  REQUIRE_EQ(ring.Enter(1, IORING_ENTER_GETEVENTS), 1);
  REQUIRE_EQ(ring.CompletionTail() - ring.CompletionHead(), 1);
  const int32_t result = ring.CompletionAt(ring.CompletionHead()).res;
  ring.AdvanceTo(ring.CompletionTail());
  return result;
}

TEST_CASE("an operation that the driver does not use is refused") {
  for (const UringMode mode : kModes) {
    UringRing ring;
    if (!OpenRestricted(ring, mode)) return;
    for (const uint8_t operation : {IORING_OP_NOP, IORING_OP_OPENAT, IORING_OP_READ, IORING_OP_WRITE, IORING_OP_SOCKET,
                                    IORING_OP_URING_CMD, IORING_OP_MSG_RING, IORING_OP_CLOSE}) {
      CHECK_EQ(ResultOf(ring, [operation](io_uring_sqe* sqe) { sqe->opcode = operation; }), -EACCES);
    }
  }
}

TEST_CASE("a file is not opened through the ring") {
  UringRing ring;
  if (!OpenRestricted(ring, UringMode::kOwnThread)) return;
  const auto open = [](io_uring_sqe* sqe) {
    sqe->opcode = IORING_OP_OPENAT;
    sqe->fd = AT_FDCWD;
    sqe->addr = reinterpret_cast<uint64_t>("/dev/null");
    sqe->open_flags = O_RDONLY | O_CLOEXEC;
  };
  CHECK_EQ(ResultOf(ring, open), -EACCES);
}

TEST_CASE("an operation that is used is accepted, but not with another flag") {
  for (const UringMode mode : kModes) {
    UringRing ring;
    if (!OpenRestricted(ring, mode)) return;
    const Fd event(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
    const auto poll = [&event](io_uring_sqe* sqe) {
      sqe->opcode = IORING_OP_POLL_ADD;
      sqe->fd = event.Get();
      sqe->poll32_events = POLLIN;
    };
    CHECK_EQ(ResultOf(ring, poll), POLLIN);
    for (const uint8_t flag : {IOSQE_IO_DRAIN, IOSQE_ASYNC, IOSQE_FIXED_FILE}) {
      CHECK_EQ(ResultOf(ring,
                        [&](io_uring_sqe* sqe) {
                          poll(sqe);
                          sqe->flags = flag;
                        }),
               -EACCES);
    }
  }
}

TEST_CASE("nothing but buffers can be registered, and the restrictions cannot be lifted") {
  UringRing ring;
  if (!OpenRestricted(ring, UringMode::kOwnThread)) return;
  int fd = STDIN_FILENO;
  // Only buffers, which begin when the first connection asks for blocks.
  CHECK_EQ(ring.Register(IORING_REGISTER_PBUF_RING, nullptr, 1), -EINVAL);
  CHECK_EQ(ring.Register(IORING_REGISTER_FILES, &fd, 1), -EACCES);
  io_uring_restriction all{};
  all.opcode = IORING_RESTRICTION_SQE_OP;
  all.sqe_op = IORING_OP_OPENAT;
  CHECK_LT(ring.Register(IORING_REGISTER_RESTRICTIONS, &all, 1), 0);
  CHECK_EQ(ResultOf(ring, [](io_uring_sqe* sqe) { sqe->opcode = IORING_OP_OPENAT; }), -EACCES);
}

TEST_CASE("a ring that is not enabled takes nothing") {
  UringRing ring;
  if (ring.Open({.submission_entries = 8, .completion_entries = 16}) != 0) return;
  REQUIRE(ring.NextSqe() != nullptr);
  CHECK_EQ(ring.Enter(0, 0), -EBADFD);
}

}  // namespace
}  // namespace ringway
