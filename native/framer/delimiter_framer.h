#pragma once

#include "framer/framer.h"

namespace ringway {

// Frames end with a delimiter of 1 to 16 bytes, after Netty's DelimiterBasedFrameDecoder; the earliest occurrence ends
// the frame. max_frame_length bounds what stands before the delimiter, without the carriage return that is dropped.
//
//     kScanning --delimiter found--> kScanning (next frame)
//         `--no delimiter within max_frame_length and its own length--> kFailed (final)
class DelimiterFramer final : public Framer {
 public:
  explicit DelimiterFramer(const FramingOptions& options);

  FrameResult Next(std::span<const uint8_t> bytes) override;
  FrameResult Finish(std::span<const uint8_t> bytes) override;

 private:
  enum class State : uint8_t { kScanning, kFailed };

  FrameResult Scan(std::span<const uint8_t> bytes);
  FrameResult EndFrame(std::span<const uint8_t> before_delimiter);
  FrameResult AskForMore(std::span<const uint8_t> bytes);
  FrameResult Fail(size_t bytes_seen);
  // How many of the last bytes may be the beginning of a delimiter.
  size_t BegunDelimiter(std::span<const uint8_t> bytes) const;

  const std::string delimiter_;
  const uint64_t max_frame_length_;
  const size_t scan_limit_;  // a frame and its delimiter lie within so many bytes
  const bool strip_delimiter_;
  const bool strip_carriage_return_;
  const bool accept_unterminated_;
  const bool hold_;
  State state_ = State::kScanning;
  size_t scanned_ = 0;  // no delimiter begins before this offset
  FrameResult failure_;
};

}  // namespace ringway
