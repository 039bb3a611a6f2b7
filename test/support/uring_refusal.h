// Why this machine refuses io_uring, for what is then not tested. Not this suite's question, but its reader's.
#pragma once

#include <cstdio>
#include <string>

#include "driver/driver_select.h"

namespace ringway::test {

// Empty where io_uring is allowed. Said once per program.
inline const std::string& UringRefusal() {
  static const auto* refusal = [] {
    const DriverChoice choice = SelectDriver(DriverRequest::kIoUring, {});
    auto* reason = new std::string(choice.error == 0 ? "" : choice.reason);
    if (!reason->empty()) std::fprintf(stderr, "io_uring is not tested: %s\n", reason->c_str());
    return reason;
  }();
  return *refusal;
}

}  // namespace ringway::test
