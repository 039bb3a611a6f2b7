#include "framer/raw_framer.h"

#include <doctest/doctest.h>

#include "support/framer_harness.h"

namespace ringway {
namespace {

using Frames = std::vector<std::string>;

FramingOptions Raw() {
  FramingOptions options;
  options.format = FramingFormat::kRaw;
  return options;
}

TEST_CASE("what arrives at once is one frame") {
  const test::Outcome outcome = test::RunPieces(Raw(), {"a", "bcd", std::string("\0\n", 2)});
  CHECK(outcome.frames == Frames{"a", "bcd", std::string("\0\n", 2)});
  CHECK(outcome.left.empty());
}

TEST_CASE("no bytes are no frame") {
  const FrameResult result = MakeFramer(Raw())->Next({});
  CHECK(result.status == FrameStatus::kNeedMore);
  CHECK(result.needed == 1);
}

TEST_CASE("no length is too long") {
  FramingOptions options = Raw();
  options.max_frame_length = 1;
  CHECK(test::RunWhole(options, "abc").frames == Frames{"abc"});
}

}  // namespace
}  // namespace ringway
