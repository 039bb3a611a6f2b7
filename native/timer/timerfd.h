// The one timer of a reactor that the kernel knows of: a file descriptor that turns readable at a time
// (timerfd_create(2)).
#pragma once

#include <cstdint>

#include "base/fd.h"

namespace ringway {

class Timerfd {
 public:
  static constexpr uint64_t kNever = UINT64_MAX;

  // Close-on-exec, non-blocking, disarmed. Returns 0 or a negative errno.
  int Open();
  int fd() const { return fd_.Get(); }

  // Readable from this time of CLOCK_MONOTONIC on, at once if it has passed; kNever disarms. Asks the kernel only when
  // the time differs from the one that is set.
  void ArmAt(uint64_t monotonic_ms);
  void Disarm() { ArmAt(kNever); }

  // Takes the expiry, so that the descriptor is no longer readable. True when there was one; the timer is then
  // disarmed.
  bool Drain();

 private:
  Fd fd_;
  uint64_t armed_ms_ = kNever;
};

}  // namespace ringway
