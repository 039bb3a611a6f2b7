// Which driver runs. Decided by doing: a real ring is created and real bytes are sent through it, because neither a
// version number nor a sysctl says what a seccomp profile, a memory limit or a broken kernel will answer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "driver/driver.h"

namespace ringway {

enum class DriverRequest : uint8_t { kAuto, kIoUring, kEpoll };

struct DriverChoice {
  std::unique_ptr<Driver> driver;  // not started; null where the one that was asked for is refused
  std::string name;                // "io_uring" or "epoll"
  std::string reason;              // why this one, or why not: one sentence, for people
  int error = 0;                   // a negative errno with a null driver
};

// Only kAuto falls back to epoll. The driver may be started on another thread. With options.external_loop io_uring
// defers its task work and rings an eventfd, or is polled itself: the other where one fails. The first comes first on
// x86-64; the environment variable RINGWAY_URING_IN_LOOP=deferred or =cooperative allows one of the two only.
DriverChoice SelectDriver(DriverRequest request, const DriverOptions& options);

struct UringFeature {
  std::string name;
  bool found = false;
  std::string sentence;
};

// What of io_uring this machine has, by trying each.
std::vector<UringFeature> DescribeIoUring();

}  // namespace ringway
