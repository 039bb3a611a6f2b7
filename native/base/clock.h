// The only readers of the clock. Everything below the reactor is told the time instead.
#pragma once

#include <time.h>

#include <cstdint>

namespace ringway {

// Milliseconds since an arbitrary point; never jumps. It is libuv's clock too, so that both sides mean the same time.
inline uint64_t MonotonicMs() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

inline uint64_t MonotonicNs() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace ringway
