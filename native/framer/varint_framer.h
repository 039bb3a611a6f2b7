#pragma once

#include "framer/framer.h"

namespace ringway {

// Protobuf's length prefix: a base-128 varint (least significant group first) of at most 5 bytes and 32 bits, which is
// not delivered. After Netty's ProtobufVarint32FrameDecoder, but bits beyond the 32nd are malformed, not dropped.
//
//     kPrefix --varint read--> kBody --all there--> kPrefix
//        `--too long, malformed--> kFailed (final)
class VarintFramer final : public Framer {
 public:
  explicit VarintFramer(const FramingOptions& options);

  FrameResult Next(std::span<const uint8_t> bytes) override;

 private:
  enum class State : uint8_t { kPrefix, kBody, kFailed };

  FrameResult ReadPrefix(std::span<const uint8_t> bytes);
  FrameResult ReadBody(std::span<const uint8_t> bytes);
  FrameResult Fail(FrameStatus status, uint64_t declared);

  const uint64_t max_frame_length_;
  const bool hold_;
  State state_ = State::kPrefix;
  size_t prefix_bytes_ = 0;  // kPrefix: looked at so far; kBody: the varint's size
  size_t frame_bytes_ = 0;   // kBody: the whole frame on the wire
  uint64_t value_ = 0;
  FrameResult failure_;
};

}  // namespace ringway
