#pragma once

#include "framer/framer.h"

namespace ringway {

// Whatever was received at once is a frame: nothing is ever incomplete, and nothing is too long.
class RawFramer final : public Framer {
 public:
  FrameResult Next(std::span<const uint8_t> bytes) override;
};

}  // namespace ringway
