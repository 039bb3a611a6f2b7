#pragma once

#include "framer/framer.h"

namespace ringway {

// A length at a fixed place, after Netty's LengthFieldBasedFrameDecoder.
//
//     | offset | length field | header_length | payload (at most max_frame_length) |
//     |<---- prefix --------->|<----- length + adjustment ----------------------->|
//     |<- initial_bytes_to_strip ->|<------------- delivered -------------------->|
//
//     kPrefix --field read--> kBody --all there--> kPrefix
//        `--too long, malformed--> kFailed (final)
class LengthFieldFramer final : public Framer {
 public:
  explicit LengthFieldFramer(const FramingOptions& options);

  FrameResult Next(std::span<const uint8_t> bytes) override;

 private:
  enum class State : uint8_t { kPrefix, kBody, kFailed };

  bool ReadPrefix(std::span<const uint8_t> bytes);
  FrameResult ReadBody(std::span<const uint8_t> bytes);
  bool Fail(FrameStatus status, int64_t declared);
  uint64_t LengthFieldOf(std::span<const uint8_t> bytes) const;

  const uint64_t max_frame_length_;
  const int64_t length_adjustment_;
  const size_t prefix_bytes_;  // up to and with the length field
  const uint32_t field_bytes_;
  const uint32_t header_length_;
  const uint32_t strip_bytes_;
  const bool little_endian_;
  const bool hold_;
  State state_ = State::kPrefix;
  size_t frame_bytes_ = 0;  // kBody: the whole frame on the wire
  FrameResult failure_;     // kFailed
};

}  // namespace ringway
