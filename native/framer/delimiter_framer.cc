#include "framer/delimiter_framer.h"

#include <string.h>  // memmem

#include <algorithm>

#include "base/check.h"

namespace ringway {

DelimiterFramer::DelimiterFramer(const FramingOptions& options)
    : delimiter_(options.delimiter),
      max_frame_length_(options.max_frame_length),
      scan_limit_(options.max_frame_length + (options.strip_carriage_return ? 1 : 0) + options.delimiter.size()),
      strip_delimiter_(options.strip_delimiter),
      strip_carriage_return_(options.strip_carriage_return),
      accept_unterminated_(options.accept_unterminated),
      hold_(options.hold) {}

FrameResult DelimiterFramer::Next(std::span<const uint8_t> bytes) {
  const FrameResult result = state_ == State::kScanning ? Scan(bytes) : failure_;
  CHECK(result.consumed <= bytes.size() && result.offset + result.length <= result.consumed);
  return result;
}

FrameResult DelimiterFramer::Finish(std::span<const uint8_t> bytes) {
  if (state_ == State::kFailed) return failure_;
  if (!accept_unterminated_) return {};
  if (bytes.size() > max_frame_length_) return Fail(bytes.size());
  scanned_ = 0;
  return {.status = FrameStatus::kFrame, .consumed = bytes.size(), .length = bytes.size(), .frame_bytes = bytes.size()};
}

FrameResult DelimiterFramer::Scan(std::span<const uint8_t> bytes) {
  const std::span<const uint8_t> window = bytes.first(std::min(bytes.size(), scan_limit_));
  CHECK_LE(scanned_, window.size());
  const void* found =
      ::memmem(window.data() + scanned_, window.size() - scanned_, delimiter_.data(), delimiter_.size());
  if (found != nullptr) {
    return EndFrame(window.first(static_cast<size_t>(static_cast<const uint8_t*>(found) - window.data())));
  }
  return window.size() == scan_limit_ ? Fail(scan_limit_) : AskForMore(window);
}

FrameResult DelimiterFramer::EndFrame(std::span<const uint8_t> before_delimiter) {
  const bool carriage_return = strip_carriage_return_ && !before_delimiter.empty() && before_delimiter.back() == '\r';
  const size_t payload_bytes = before_delimiter.size() - (carriage_return ? 1 : 0);
  const size_t frame_bytes = before_delimiter.size() + delimiter_.size();
  if (payload_bytes > max_frame_length_) return Fail(frame_bytes);
  scanned_ = 0;
  return {.status = FrameStatus::kFrame,
          .hold = hold_,
          .consumed = frame_bytes,
          .length = strip_delimiter_ ? payload_bytes : frame_bytes,
          .frame_bytes = frame_bytes};
}

FrameResult DelimiterFramer::AskForMore(std::span<const uint8_t> bytes) {
  const size_t begun = BegunDelimiter(bytes);
  scanned_ = bytes.size() - begun;
  return {.needed = std::min(scanned_ + delimiter_.size(), scan_limit_)};
}

FrameResult DelimiterFramer::Fail(size_t bytes_seen) {
  state_ = State::kFailed;
  failure_ = {.status = FrameStatus::kTooLong, .declared = static_cast<int64_t>(bytes_seen)};
  return failure_;
}

size_t DelimiterFramer::BegunDelimiter(std::span<const uint8_t> bytes) const {
  size_t begun = std::min(bytes.size(), delimiter_.size() - 1);
  while (begun > 0 && ::memcmp(bytes.data() + bytes.size() - begun, delimiter_.data(), begun) != 0) --begun;
  return begun;
}

}  // namespace ringway
