#include "framer/raw_framer.h"

namespace ringway {

FrameResult RawFramer::Next(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return {};
  return {.status = FrameStatus::kFrame, .consumed = bytes.size(), .length = bytes.size(), .frame_bytes = bytes.size()};
}

}  // namespace ringway
