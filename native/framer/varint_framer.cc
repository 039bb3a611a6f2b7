#include "framer/varint_framer.h"

#include "base/check.h"

namespace ringway {

namespace {

constexpr size_t kMaxPrefixBytes = 5;

}  // namespace

VarintFramer::VarintFramer(const FramingOptions& options)
    : max_frame_length_(options.max_frame_length), hold_(options.hold) {}

FrameResult VarintFramer::Next(std::span<const uint8_t> bytes) {
  FrameResult result = failure_;
  if (state_ == State::kPrefix) result = ReadPrefix(bytes);
  if (state_ == State::kBody) result = ReadBody(bytes);
  CHECK(result.consumed <= bytes.size() && result.offset + result.length <= result.consumed);
  return result;
}

FrameResult VarintFramer::ReadPrefix(std::span<const uint8_t> bytes) {
  uint8_t byte = 0x80;
  while ((byte & 0x80) != 0) {
    if (prefix_bytes_ == kMaxPrefixBytes) return Fail(FrameStatus::kMalformed, value_);
    if (prefix_bytes_ >= bytes.size()) return {.needed = prefix_bytes_ + 1};
    byte = bytes[prefix_bytes_];
    value_ |= uint64_t{byte & 0x7fu} << (7 * prefix_bytes_);
    ++prefix_bytes_;
  }
  if (value_ > UINT32_MAX) return Fail(FrameStatus::kMalformed, value_);
  if (value_ > max_frame_length_) return Fail(FrameStatus::kTooLong, value_);
  frame_bytes_ = prefix_bytes_ + static_cast<size_t>(value_);
  state_ = State::kBody;
  return {};
}

FrameResult VarintFramer::ReadBody(std::span<const uint8_t> bytes) {
  if (bytes.size() < frame_bytes_) return {.needed = frame_bytes_, .frame_bytes = frame_bytes_};
  const FrameResult result = {.status = FrameStatus::kFrame,
                              .hold = hold_,
                              .consumed = frame_bytes_,
                              .offset = prefix_bytes_,
                              .length = frame_bytes_ - prefix_bytes_,
                              .frame_bytes = frame_bytes_};
  state_ = State::kPrefix;
  prefix_bytes_ = 0;
  value_ = 0;
  return result;
}

FrameResult VarintFramer::Fail(FrameStatus status, uint64_t declared) {
  state_ = State::kFailed;
  failure_ = {.status = status, .declared = static_cast<int64_t>(declared)};
  return failure_;
}

}  // namespace ringway
