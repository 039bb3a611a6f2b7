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

FrameResult LengthFieldFramer::Next(std::span<const uint8_t> bytes) {
  FrameResult result = failure_;
  if (state_ == State::kPrefix) result = ReadPrefix(bytes);
  if (state_ == State::kBody) result = ReadBody(bytes);
  CHECK(result.consumed <= bytes.size() && result.offset + result.length <= result.consumed);
  return result;
}

FrameResult LengthFieldFramer::ReadPrefix(std::span<const uint8_t> bytes) {
  if (bytes.size() < prefix_bytes_) return {.needed = prefix_bytes_};
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
  return {};
}

FrameResult LengthFieldFramer::ReadBody(std::span<const uint8_t> bytes) {
  if (bytes.size() < frame_bytes_) return {.needed = frame_bytes_, .frame_bytes = frame_bytes_};
  state_ = State::kPrefix;
  return {.status = FrameStatus::kFrame,
          .hold = hold_,
          .consumed = frame_bytes_,
          .offset = strip_bytes_,
          .length = frame_bytes_ - strip_bytes_,
          .frame_bytes = frame_bytes_};
}

FrameResult LengthFieldFramer::Fail(FrameStatus status, int64_t declared) {
  state_ = State::kFailed;
  failure_ = {.status = status, .declared = declared};
  return failure_;
}

uint64_t LengthFieldFramer::LengthFieldOf(std::span<const uint8_t> bytes) const {
  const uint8_t* field = bytes.data() + (prefix_bytes_ - field_bytes_);
  uint64_t value = 0;
  for (uint32_t i = 0; i < field_bytes_; ++i) {
    value = value << 8 | field[little_endian_ ? field_bytes_ - 1 - i : i];
  }
  return value;
}

}  // namespace ringway
