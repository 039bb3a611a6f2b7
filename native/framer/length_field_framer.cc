#include "framer/length_field_framer.h"

#include "base/check.h"

namespace ringway {

LengthFieldFramer::LengthFieldFramer(const FramingOptions& options)
    : max_frame_length_(options.max_frame_length),
      length_adjustment_(options.length_adjustment),
      prefix_bytes_(size_t{options.length_field_offset} + options.length_field_length),
      field_bytes_(options.length_field_length),
      header_length_(options.header_length),
      strip_bytes_(options.initial_bytes_to_strip),
      little_endian_(options.little_endian),
      hold_(options.hold) {}

inline uint64_t LengthFieldFramer::LengthFieldOf(std::span<const uint8_t> bytes) const {
  const uint8_t* field = bytes.data() + (prefix_bytes_ - field_bytes_);
  if (field_bytes_ == 4 && !little_endian_) [[likely]] {
    return uint32_t{field[0]} << 24 | uint32_t{field[1]} << 16 | uint32_t{field[2]} << 8 | uint32_t{field[3]};
  }
  uint64_t value = 0;
  for (uint32_t i = 0; i < field_bytes_; ++i) {
    value = value << 8 | field[little_endian_ ? field_bytes_ - 1 - i : i];
  }
  return value;
}

bool LengthFieldFramer::Fail(FrameStatus status, int64_t declared) {
  state_ = State::kFailed;
  failure_ = {.status = status, .declared = declared};
  return false;
}

// False: failed.
inline bool LengthFieldFramer::ReadPrefix(std::span<const uint8_t> bytes) {
  const auto declared = static_cast<int64_t>(LengthFieldOf(bytes));
  if (declared < 0) return Fail(FrameStatus::kMalformed, declared);
  int64_t body_bytes;
  if (__builtin_add_overflow(declared, length_adjustment_, &body_bytes)) {
    // Only upwards: declared is not negative.
    return Fail(FrameStatus::kTooLong, INT64_MAX);
  }
  if (body_bytes < int64_t{header_length_}) return Fail(FrameStatus::kMalformed, declared);
  const int64_t payload_bytes = body_bytes - header_length_;
  if (static_cast<uint64_t>(payload_bytes) > max_frame_length_) return Fail(FrameStatus::kTooLong, payload_bytes);
  const size_t frame_bytes = prefix_bytes_ + static_cast<size_t>(body_bytes);
  if (frame_bytes < strip_bytes_) return Fail(FrameStatus::kMalformed, declared);
  frame_bytes_ = frame_bytes;
  state_ = State::kBody;
  return true;
}

inline FrameResult LengthFieldFramer::ReadBody(std::span<const uint8_t> bytes) {
  CHECK(frame_bytes_ >= strip_bytes_);
  if (bytes.size() < frame_bytes_) return {.needed = frame_bytes_, .frame_bytes = frame_bytes_};
  state_ = State::kPrefix;
  return {.status = FrameStatus::kFrame,
          .hold = hold_,
          .consumed = frame_bytes_,
          .offset = strip_bytes_,
          .length = frame_bytes_ - strip_bytes_,
          .frame_bytes = frame_bytes_};
}

FrameResult LengthFieldFramer::Next(std::span<const uint8_t> bytes) {
  switch (state_) {
    case State::kPrefix:
      if (bytes.size() < prefix_bytes_) return {.needed = prefix_bytes_};
      if (!ReadPrefix(bytes)) return failure_;
      [[fallthrough]];
    case State::kBody:
      return ReadBody(bytes);
    case State::kFailed:
      return failure_;
  }
  CHECK(false);
}

}  // namespace ringway
