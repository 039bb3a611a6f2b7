#include "base/check.h"
#include "framer/delimiter_framer.h"
#include "framer/framer.h"
#include "framer/length_field_framer.h"
#include "framer/raw_framer.h"
#include "framer/varint_framer.h"

namespace ringway {

namespace {

// JavaScript's largest safe integer: options come from there, and every sum of sizes below stays far from overflowing.
constexpr uint64_t kMaxSafeInteger = (uint64_t{1} << 53) - 1;

bool IsFieldLength(uint32_t bytes) { return bytes == 1 || bytes == 2 || bytes == 3 || bytes == 4 || bytes == 8; }

}  // namespace

std::unique_ptr<Framer> MakeFramer(const FramingOptions& options) {
  CHECK_LE(options.max_frame_length, kMaxSafeInteger);
  switch (options.format) {
    case FramingFormat::kLengthField:
      CHECK(IsFieldLength(options.length_field_length));
      return std::make_unique<LengthFieldFramer>(options);
    case FramingFormat::kDelimiter:
      CHECK(options.delimiter.size() >= 1 && options.delimiter.size() <= 16);
      return std::make_unique<DelimiterFramer>(options);
    case FramingFormat::kVarint:
      return std::make_unique<VarintFramer>(options);
    case FramingFormat::kRaw:
      return std::make_unique<RawFramer>();
  }
  CHECK(false && "unknown framing format");
  return nullptr;
}

}  // namespace ringway
