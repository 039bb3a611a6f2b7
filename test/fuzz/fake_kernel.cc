#include "fuzz/fake_kernel.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/types.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <set>

#include "base/check.h"

namespace ringway::test {

namespace {

FakeDriver* driver = nullptr;
std::map<int, uint64_t> unread;    // of eventfds and timerfds
std::map<int, uint64_t> armed_ms;  // timerfds
std::set<int> reset_on_close;

void Ring(int fd, uint64_t count) {
  unread[fd] += count;
  driver->RingEvent(fd);
}

int NewEvent() {
  const int fd = driver->Event();
  unread[fd] = 0;
  return fd;
}

int Failed(int error) {
  errno = error;
  return -1;
}

bool IsFake(int fd) { return driver != nullptr && FakeDriver::IsFake(fd); }

}  // namespace

FakeKernel::FakeKernel(FakeDriver* used) {
  CHECK(driver == nullptr);
  driver = used;
  unread.clear();
  armed_ms.clear();
  reset_on_close.clear();
}

FakeKernel::~FakeKernel() { driver = nullptr; }

void FakeKernel::AdvanceTo(uint64_t now_ms) {
  for (auto& [fd, due_ms] : armed_ms) {
    if (due_ms == 0 || due_ms > now_ms) continue;
    due_ms = 0;
    Ring(fd, 1);
  }
}

}  // namespace ringway::test

// NOLINTBEGIN: the linker's names
extern "C" {

using ringway::test::driver;
using ringway::test::Failed;
using ringway::test::IsFake;

int __real_close(int fd);
int __wrap_close(int fd) {
  if (!IsFake(fd)) return __real_close(fd);
  ringway::test::unread.erase(fd);
  ringway::test::armed_ms.erase(fd);
  if (ringway::test::reset_on_close.erase(fd) > 0) {
    driver->ResetFd(fd);
  } else {
    driver->CloseFd(fd);
  }
  return 0;
}

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol) {
  return driver != nullptr ? driver->Socket() : __real_socket(domain, type, protocol);
}

int __real_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how) {
  if (!IsFake(fd)) return __real_shutdown(fd, how);
  if (how == SHUT_WR) {
    driver->ShutdownWrite(fd);
  } else {
    driver->StopListening(fd);
  }
  return 0;
}

int __real_setsockopt(int fd, int level, int option, const void* value, socklen_t length);
int __wrap_setsockopt(int fd, int level, int option, const void* value, socklen_t length) {
  if (!IsFake(fd)) return __real_setsockopt(fd, level, option, value, length);
  if (level == SOL_SOCKET && option == SO_LINGER) ringway::test::reset_on_close.insert(fd);
  return 0;
}

int __real_getpeername(int fd, sockaddr* address, socklen_t* length);
int __wrap_getpeername(int fd, sockaddr* address, socklen_t* length) {
  return IsFake(fd) ? Failed(ENOTCONN) : __real_getpeername(fd, address, length);
}

int __real_accept4(int fd, sockaddr* address, socklen_t* length, int flags);
int __wrap_accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  if (!IsFake(fd)) return __real_accept4(fd, address, length, flags);
  const int accepted = driver->AcceptWaiting(fd);
  return accepted < 0 ? Failed(-accepted) : accepted;
}

ssize_t __real_send(int fd, const void* bytes, size_t length, int flags);
ssize_t __wrap_send(int fd, const void* bytes, size_t length, int flags) {
  if (!IsFake(fd)) return __real_send(fd, bytes, length, flags);
  const iovec part{const_cast<void*>(bytes), length};
  const ssize_t sent = driver->SendAtOnce(fd, &part, 1);
  return sent < 0 ? Failed(static_cast<int>(-sent)) : sent;
}

ssize_t __real_sendmsg(int fd, const msghdr* message, int flags);
ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) {
  if (!IsFake(fd)) return __real_sendmsg(fd, message, flags);
  const ssize_t sent = driver->SendAtOnce(fd, message->msg_iov, message->msg_iovlen);
  return sent < 0 ? Failed(static_cast<int>(-sent)) : sent;
}

int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags) {
  return driver != nullptr ? ringway::test::NewEvent() : __real_eventfd(count, flags);
}

int __real_timerfd_create(int clock, int flags);
int __wrap_timerfd_create(int clock, int flags) {
  return driver != nullptr ? ringway::test::NewEvent() : __real_timerfd_create(clock, flags);
}

int __real_timerfd_settime(int fd, int flags, const itimerspec* spec, itimerspec* old);
int __wrap_timerfd_settime(int fd, int flags, const itimerspec* spec, itimerspec* old) {
  if (!IsFake(fd)) return __real_timerfd_settime(fd, flags, spec, old);
  CHECK_EQ(flags, TFD_TIMER_ABSTIME);
  // Setting it forgets what had expired.
  ringway::test::unread[fd] = 0;
  const auto seconds = static_cast<uint64_t>(spec->it_value.tv_sec);
  ringway::test::armed_ms[fd] = seconds * 1000 + static_cast<uint64_t>(spec->it_value.tv_nsec) / 1'000'000;
  return 0;
}

ssize_t __real_read(int fd, void* bytes, size_t size);
ssize_t __wrap_read(int fd, void* bytes, size_t size) {
  if (!IsFake(fd)) return __real_read(fd, bytes, size);
  uint64_t& count = ringway::test::unread.at(fd);
  CHECK_EQ(size, sizeof count);
  driver->ReadEvent(fd);
  if (count == 0) return Failed(EAGAIN);
  std::memcpy(bytes, &count, sizeof count);
  count = 0;
  return static_cast<ssize_t>(sizeof count);
}

ssize_t __real_write(int fd, const void* bytes, size_t size);
ssize_t __wrap_write(int fd, const void* bytes, size_t size) {
  if (!IsFake(fd)) return __real_write(fd, bytes, size);
  uint64_t count;
  CHECK_EQ(size, sizeof count);
  std::memcpy(&count, bytes, sizeof count);
  ringway::test::Ring(fd, count);
  return static_cast<ssize_t>(sizeof count);
}

}  // extern "C"
// NOLINTEND
