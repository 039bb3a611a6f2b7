// The system calls that native/ makes itself, on the descriptors of a FakeDriver: the linker redirects them here
// (--wrap), so that a whole reactor runs in memory, without a kernel and without time. Other descriptors go to the
// kernel.
#pragma once

#include <cstdint>

#include "support/fake_driver.h"

namespace ringway::test {

class FakeKernel {
 public:
  // Until its end every new socket, eventfd and timerfd of this process is one of the driver's.
  explicit FakeKernel(FakeDriver* driver);
  ~FakeKernel();
  FakeKernel(const FakeKernel&) = delete;
  FakeKernel& operator=(const FakeKernel&) = delete;

  // The monotonic clock, in ms: a timerfd that is due turns readable.
  void AdvanceTo(uint64_t now_ms);
};

}  // namespace ringway::test
