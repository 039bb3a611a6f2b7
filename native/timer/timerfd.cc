#include "timer/timerfd.h"

#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"

namespace ringway {

int Timerfd::Open() {
  CHECK(!fd_.Valid());
  fd_.Reset(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  return fd_.Valid() ? 0 : -errno;
}

void Timerfd::ArmAt(uint64_t monotonic_ms) {
  if (monotonic_ms == armed_ms_) return;
  itimerspec spec = {};
  if (monotonic_ms != kNever) {
    spec.it_value.tv_sec = static_cast<time_t>(monotonic_ms / 1000);
    // All zero would disarm it.
    spec.it_value.tv_nsec = std::max<long>(static_cast<long>(monotonic_ms % 1000) * 1'000'000, 1);
  }
  CHECK_EQ(::timerfd_settime(fd_.Get(), TFD_TIMER_ABSTIME, &spec, nullptr), 0);
  armed_ms_ = monotonic_ms;
}

bool Timerfd::Drain() {
  uint64_t expiries = 0;
  if (::read(fd_.Get(), &expiries, sizeof expiries) != static_cast<ssize_t>(sizeof expiries)) return false;
  armed_ms_ = kNever;
  return true;
}

}  // namespace ringway
