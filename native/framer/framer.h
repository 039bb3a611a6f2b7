// Bytes in, frames out; no I/O, no clock, no allocation. The caller owns the bytes and keeps what is incomplete.
//
// A framer looks at a contiguous run of unconsumed bytes that begins at a frame's first byte. The caller calls Next
// again with the rest after each frame; when it answers kNeedMore the caller keeps the bytes and calls again with the
// same bytes and more behind them (the framer remembers how far it has looked, so nothing is scanned twice).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace ringway {

enum class FrameStatus : uint8_t {
  kFrame,      // a whole frame: payload at [offset, offset + length), `consumed` bytes are done with
  kNeedMore,   // incomplete; `needed` is the total number of bytes at which calling again makes sense
  kTooLong,    // over max_frame_length: `declared` says how long it would be; final
  kMalformed,  // negative or absurd length: `declared` is what stood there; final
};

struct FrameResult {
  FrameStatus status = FrameStatus::kNeedMore;
  // The frame is over, and the bytes behind it stay unframed until the control plane names the framer that goes on.
  bool hold = false;
  size_t consumed = 0;
  size_t offset = 0;
  size_t length = 0;
  size_t needed = 1;
  // The whole frame's size on the wire once it is known, else 0: how long a partial frame may take depends on it.
  size_t frame_bytes = 0;
  int64_t declared = 0;
};

enum class FramingFormat : uint8_t { kLengthField = 0, kDelimiter = 1, kVarint = 2, kRaw = 3 };

// Mirrors src/framing/framing.ts; checked there. Plain data: it crosses the bridge.
struct FramingOptions {
  FramingFormat format = FramingFormat::kRaw;
  uint64_t max_frame_length = 16777216;  // payload
  bool hold = false;                     // each frame ends with a hold
  // length-field
  uint32_t length_field_offset = 0;
  uint32_t length_field_length = 4;  // 1, 2, 3, 4, 8
  bool little_endian = false;
  int64_t length_adjustment = 0;
  uint32_t initial_bytes_to_strip = 0;
  uint32_t header_length = 0;
  // delimiter
  std::string delimiter = "\n";  // 1 to 16 bytes
  bool strip_delimiter = true;
  bool strip_carriage_return = false;
  bool accept_unterminated = false;
};

class Framer {
 public:
  virtual ~Framer() = default;
  virtual FrameResult Next(std::span<const uint8_t> bytes) = 0;
  // FIN came with these bytes left (never empty). kFrame: they are a last frame; otherwise they are a truncated one.
  virtual FrameResult Finish(std::span<const uint8_t> /*bytes*/) { return {}; }
};

std::unique_ptr<Framer> MakeFramer(const FramingOptions& options);

}  // namespace ringway
