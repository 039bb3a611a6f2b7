#include "fuzz/framer_target.h"

#include <string>

#include "fuzz/framer_case.h"
#include "fuzz/fuzz_input.h"

namespace ringway::test {

namespace {

// Byte by byte every frame is copied as often as it has bytes.
constexpr size_t kLongestBytewise = 512;

std::string Concatenated(const FramerOutcome& outcome) {
  std::string all;
  for (const std::string& frame : outcome.frames) all += frame;
  return all;
}

// What a failed framer keeps depends on how it was fed; everything else must not.
void RequireSame(const FramerOutcome& got, const FramerOutcome& expected, const char* how) {
  FUZZ_REQUIRE(got.frames == expected.frames, "%s: %zu frames instead of %zu", how, got.frames.size(),
               expected.frames.size());
  FUZZ_REQUIRE(got.end == expected.end, "%s: status %d instead of %d", how, static_cast<int>(got.end),
               static_cast<int>(expected.end));
  FUZZ_REQUIRE(got.declared == expected.declared, "%s: declared %lld instead of %lld", how,
               static_cast<long long>(got.declared), static_cast<long long>(expected.declared));
  FUZZ_REQUIRE(expected.failed() || got.left == expected.left, "%s: %zu bytes are left instead of %zu", how,
               got.left.size(), expected.left.size());
}

}  // namespace

int FuzzFramer(FramingFormat format, const uint8_t* data, size_t size) {
  const FramerCase input = ParseFramerCase(format, data, size);
  const FramerOutcome expected = RunReference(input);
  RequireSame(RunFramer(input, {}, false), expected, "whole");
  const FramerOutcome pieces = RunFramer(input, input.pieces, false);
  if (format == FramingFormat::kRaw) {
    FUZZ_REQUIRE(Concatenated(pieces) == input.stream, "raw bytes changed");
    return 0;
  }
  RequireSame(pieces, expected, "in pieces");
  RequireSame(RunFramer(input, input.pieces, true), expected, "in pieces, patiently");
  if (input.stream.size() > kLongestBytewise) return 0;
  RequireSame(RunFramer(input, {1}, false), expected, "byte by byte");
  RequireSame(RunFramer(input, {1}, true), expected, "byte by byte, patiently");
  return 0;
}

}  // namespace ringway::test
