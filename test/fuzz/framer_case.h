// A framing, a stream and how it is cut, read from a fuzzer's bytes; and what a framer makes of it. Both the fuzz
// targets and the program that compares native framers with their TypeScript twins run it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "framer/framer.h"

namespace ringway::test {

struct FramerCase {
  FramingOptions options;
  std::vector<size_t> pieces;  // lengths, repeated until the stream ends; none: it comes whole
  bool finish = false;         // FIN follows
  std::string stream;
};

// Only framings that src/framing/validate-framing.ts lets through.
FramerCase ParseFramerCase(FramingFormat format, const uint8_t* data, size_t size);

struct FramerOutcome {
  std::vector<std::string> frames;
  FrameStatus end = FrameStatus::kNeedMore;  // what the last call answered
  int64_t declared = 0;                      // where it failed
  size_t needed = 1;                         // where more is needed
  size_t frame_bytes = 0;
  std::string left;  // unconsumed

  bool failed() const { return end == FrameStatus::kTooLong || end == FrameStatus::kMalformed; }
};

// As a connection feeds it: what is incomplete is kept and offered again, once `needed` bytes are there (or, impatient,
// with every piece). The framer sees memory of exactly the bytes' size, so that a sanitizer sees a read past them.
// Aborts where a promise of framer.h is not kept.
FramerOutcome RunFramer(const FramerCase& input, const std::vector<size_t>& pieces, bool patient);

// The same by the plainest code there is: no state, the whole stream at once.
FramerOutcome RunReference(const FramerCase& input);

}  // namespace ringway::test
