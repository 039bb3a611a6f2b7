#include "framer/length_field_framer.h"

#include <doctest/doctest.h>

#include "support/framer_harness.h"

namespace ringway {
namespace {

using test::Outcome;
using test::RequireEverySplitSame;
using test::RunWhole;
using Frames = std::vector<std::string>;

std::string Field(uint64_t value, uint32_t bytes, bool little_endian = false) {
  std::string field;
  for (uint32_t i = 0; i < bytes; ++i) {
    const uint32_t shift = 8 * (little_endian ? i : bytes - 1 - i);
    field += static_cast<char>(value >> shift);
  }
  return field;
}

FramingOptions Plain() {
  FramingOptions options;
  options.format = FramingFormat::kLengthField;
  options.initial_bytes_to_strip = 4;
  return options;
}

std::string PlainFrame(const std::string& payload) { return Field(payload.size(), 4) + payload; }

FramingOptions Rmp() {
  FramingOptions options;
  options.format = FramingFormat::kLengthField;
  options.header_length = 12;
  options.max_frame_length = 5;
  return options;
}

void RequireFailure(const Outcome& outcome, FrameStatus status, int64_t declared) {
  REQUIRE(outcome.frames.empty());
  REQUIRE(outcome.end == status);
  REQUIRE(outcome.declared == declared);
}

TEST_CASE("frames come out in order, empty ones too") {
  const std::string stream = PlainFrame("a") + PlainFrame("") + PlainFrame("hello");
  CHECK(RunWhole(Plain(), stream).frames == Frames{"a", "", "hello"});
  RequireEverySplitSame(Plain(), stream);
  RequireEverySplitSame(Plain(), stream + Field(9, 4) + "half");
}

TEST_CASE("every field length in both byte orders") {
  for (const uint32_t bytes : {1u, 2u, 3u, 4u, 8u}) {
    for (const bool little_endian : {false, true}) {
      CAPTURE(bytes);
      CAPTURE(little_endian);
      FramingOptions options = Plain();
      options.length_field_length = options.initial_bytes_to_strip = bytes;
      options.little_endian = little_endian;
      const std::string stream = Field(2, bytes, little_endian) + "xy" + Field(0, bytes, little_endian) +
                                 Field(1, bytes, little_endian) + "\xff";
      CHECK(RunWhole(options, stream).frames == Frames{"xy", "", "\xff"});
      RequireEverySplitSame(options, stream);
      const std::string longer(200, 'z');
      CHECK(RunWhole(options, Field(200, bytes, little_endian) + longer).frames == Frames{longer});
    }
  }
}

TEST_CASE("all bytes of the field count") {
  FramingOptions options = Plain();
  for (const uint32_t bytes : {2u, 3u, 4u}) {
    options.length_field_length = options.initial_bytes_to_strip = bytes;
    const std::string payload(0x0203, 'p');
    CHECK(RunWhole(options, Field(payload.size(), bytes) + payload).frames == Frames{payload});
  }
  options.length_field_length = 3;
  const Outcome partial = RunWhole(options, Field(0x010203, 3));
  CHECK(partial.needed == 3 + 0x010203);
}

TEST_CASE("the field's offset, and stripping nothing, some, all or more than the header") {
  FramingOptions options = Plain();
  options.length_field_offset = 3;
  options.length_field_length = 2;
  const std::string frame = "hdr" + Field(4, 2) + "body";
  for (const uint32_t strip : {0u, 1u, 3u, 5u, 6u, 9u}) {
    CAPTURE(strip);
    options.initial_bytes_to_strip = strip;
    const std::string delivered = frame.substr(strip);
    CHECK(RunWhole(options, frame + frame).frames == Frames{delivered, delivered});
    RequireEverySplitSame(options, frame + frame);
  }
  options.initial_bytes_to_strip = 10;
  RequireFailure(RunWhole(options, frame), FrameStatus::kMalformed, 4);
  RequireEverySplitSame(options, frame);
}

TEST_CASE("an adjustment: the length counts the field itself, or leaves out a trailer") {
  FramingOptions options = Plain();
  options.length_adjustment = -4;
  CHECK(RunWhole(options, Field(7, 4) + "abc" + Field(4, 4)).frames == Frames{"abc", ""});
  RequireEverySplitSame(options, Field(7, 4) + "abc" + Field(4, 4));
  options.length_adjustment = 2;
  CHECK(RunWhole(options, Field(1, 4) + "abc" + Field(0, 4) + "de").frames == Frames{"abc", "de"});
  RequireEverySplitSame(options, Field(1, 4) + "abc" + Field(0, 4) + "de");
}

TEST_CASE("a length that the adjustment makes negative is malformed") {
  FramingOptions options = Plain();
  options.length_adjustment = -4;
  for (const uint64_t length : {0, 1, 3}) {
    RequireFailure(RunWhole(options, Field(length, 4)), FrameStatus::kMalformed, static_cast<int64_t>(length));
    RequireEverySplitSame(options, Field(length, 4) + "rest");
  }
  options.length_adjustment = INT64_MIN;
  RequireFailure(RunWhole(options, Field(5, 4)), FrameStatus::kMalformed, 5);
}

TEST_CASE("a header that the maximum does not count") {
  const std::string header = "kfrriiiiaaaa";
  const std::string longest = Field(12 + 5, 4) + header + "12345";
  const std::string shortest = Field(12, 4) + header;
  CHECK(RunWhole(Rmp(), longest + shortest).frames == Frames{longest, shortest});
  RequireEverySplitSame(Rmp(), longest + shortest);
  RequireFailure(RunWhole(Rmp(), Field(12 + 6, 4)), FrameStatus::kTooLong, 6);
  RequireFailure(RunWhole(Rmp(), Field(11, 4)), FrameStatus::kMalformed, 11);
  RequireFailure(RunWhole(Rmp(), Field(0, 4)), FrameStatus::kMalformed, 0);
}

TEST_CASE("the maximum is accepted and one more refused, on the field alone") {
  FramingOptions options = Plain();
  for (const uint64_t max : {0, 1, 5, 255}) {
    CAPTURE(max);
    options.max_frame_length = max;
    const std::string payload(max, 'm');
    CHECK(RunWhole(options, PlainFrame(payload)).frames == Frames{payload});
    RequireFailure(RunWhole(options, Field(max + 1, 4)), FrameStatus::kTooLong, static_cast<int64_t>(max + 1));
  }
}

TEST_CASE("frames before a bad one are delivered, nothing after it, and the failure is final") {
  FramingOptions options = Plain();
  options.max_frame_length = 3;
  const std::string stream = PlainFrame("ok") + Field(4, 4) + "long" + PlainFrame("no");
  const Outcome outcome = RunWhole(options, stream);
  CHECK(outcome.frames == Frames{"ok"});
  CHECK(outcome.end == FrameStatus::kTooLong);
  RequireEverySplitSame(options, stream);
  const std::unique_ptr<Framer> framer = MakeFramer(options);
  const std::string bad = Field(4, 4);
  const std::string good = PlainFrame("ok");
  CHECK(framer->Next({reinterpret_cast<const uint8_t*>(bad.data()), bad.size()}).status == FrameStatus::kTooLong);
  const FrameResult again = framer->Next({reinterpret_cast<const uint8_t*>(good.data()), good.size()});
  CHECK(again.status == FrameStatus::kTooLong);
  CHECK(again.declared == 4);
}

TEST_CASE("hostile 4-byte and 8-byte lengths") {
  FramingOptions options = Plain();
  RequireFailure(RunWhole(options, Field(UINT32_MAX, 4)), FrameStatus::kTooLong, UINT32_MAX);
  RequireFailure(RunWhole(options, Field(0x80000000, 4)), FrameStatus::kTooLong, 0x80000000);
  options.length_field_length = 8;
  struct Case {
    uint64_t length;
    int64_t adjustment;
    FrameStatus status;
    int64_t declared;
  };
  const int64_t max64 = INT64_MAX;
  const Case cases[] = {
      {uint64_t{1} << 53, 0, FrameStatus::kTooLong, int64_t{1} << 53},
      {INT64_MAX, 0, FrameStatus::kTooLong, max64},
      {INT64_MAX, 1, FrameStatus::kTooLong, max64},
      {INT64_MAX, INT64_MAX, FrameStatus::kTooLong, max64},
      {INT64_MAX, -1, FrameStatus::kTooLong, max64 - 1},
      {INT64_MAX, INT64_MIN, FrameStatus::kMalformed, max64},
      {uint64_t{1} << 63, 0, FrameStatus::kMalformed, INT64_MIN},
      {uint64_t{1} << 63, INT64_MIN, FrameStatus::kMalformed, INT64_MIN},
      {uint64_t{1} << 63, INT64_MAX, FrameStatus::kMalformed, INT64_MIN},
      {UINT64_MAX, 0, FrameStatus::kMalformed, -1},
      {UINT64_MAX, 100, FrameStatus::kMalformed, -1},
      {0, INT64_MAX, FrameStatus::kTooLong, max64},
      {0, INT64_MIN, FrameStatus::kMalformed, 0},
      {0, -1, FrameStatus::kMalformed, 0},
  };
  for (const Case& hostile : cases) {
    for (const bool little_endian : {false, true}) {
      CAPTURE(hostile.length);
      CAPTURE(hostile.adjustment);
      options.length_adjustment = hostile.adjustment;
      options.little_endian = little_endian;
      const std::string stream = Field(hostile.length, 8, little_endian);
      RequireFailure(RunWhole(options, stream), hostile.status, hostile.declared);
      RequireEverySplitSame(options, stream + "after");
    }
  }
}

TEST_CASE("the largest maximum leaves no sum to overflow") {
  FramingOptions options = Plain();
  options.max_frame_length = (uint64_t{1} << 53) - 1;
  options.length_field_length = 8;
  options.length_field_offset = UINT32_MAX;
  options.header_length = UINT32_MAX;
  const Outcome waiting = RunWhole(options, "x");
  CHECK(waiting.needed == size_t{UINT32_MAX} + 8);
  options.length_field_offset = 0;
  options.header_length = 0;
  const Outcome declared = RunWhole(options, Field((uint64_t{1} << 53) - 1, 8));
  CHECK(declared.end == FrameStatus::kNeedMore);
  CHECK(declared.needed == (size_t{1} << 53) + 7);
  RequireFailure(RunWhole(options, Field(uint64_t{1} << 53, 8)), FrameStatus::kTooLong, int64_t{1} << 53);
}

TEST_CASE("what is known of the rest is said") {
  FramingOptions options = Plain();
  const Outcome prefix = RunWhole(options, std::string("\0\0", 2));
  CHECK(prefix.needed == 4);
  CHECK(prefix.frame_bytes == 0);
  const Outcome body = RunWhole(options, Field(10, 4) + "abc");
  CHECK(body.needed == 14);
  CHECK(body.frame_bytes == 14);
}

TEST_CASE("FIN within a frame leaves it truncated") {
  const Outcome outcome = test::RunWhole(Plain(), PlainFrame("a") + Field(3, 4) + "x", /*finish=*/true);
  CHECK(outcome.frames == Frames{"a"});
  CHECK(outcome.end == FrameStatus::kNeedMore);
}

TEST_CASE("random options, frames and cuts give back what was put in") {
  std::mt19937_64 random(test::RandomSeed());
  for (int round = 0; round < 400; ++round) {
    FramingOptions options;
    options.format = FramingFormat::kLengthField;
    options.length_field_offset = static_cast<uint32_t>(test::Between(random, 0, 9));
    options.length_field_length = std::array{1u, 2u, 3u, 4u, 8u}[test::Between(random, 0, 4)];
    options.little_endian = test::Between(random, 0, 1) == 1;
    options.header_length = static_cast<uint32_t>(test::Between(random, 0, 15));
    options.max_frame_length = options.length_field_length == 1 ? 200 : 3000;
    options.length_adjustment = static_cast<int64_t>(test::Between(random, 0, 20)) - 10;
    options.initial_bytes_to_strip = static_cast<uint32_t>(
        test::Between(random, 0, options.length_field_offset + options.length_field_length + options.header_length));
    std::string stream;
    Frames expected;
    for (uint64_t frames = test::Between(random, 1, 30); frames > 0; --frames) {
      const uint64_t longest =
          std::min<uint64_t>(options.max_frame_length, uint64_t{1} << test::Between(random, 0, 12));
      const uint64_t body = options.header_length + test::Between(random, 0, longest);
      const int64_t length = static_cast<int64_t>(body) - options.length_adjustment;
      if (length < 0) continue;
      const std::string frame =
          test::RandomBytes(random, options.length_field_offset) +
          Field(static_cast<uint64_t>(length), options.length_field_length, options.little_endian) +
          test::RandomBytes(random, body);
      stream += frame;
      expected.push_back(frame.substr(options.initial_bytes_to_strip));
    }
    for (const auto patience : {test::Patience::kAskEachTime, test::Patience::kWaitForNeeded}) {
      const Outcome outcome =
          test::RunPieces(options, test::CutAtRandom(stream, random, test::Between(random, 1, 2000)), patience);
      REQUIRE(outcome.frames == expected);
      REQUIRE(outcome.left.empty());
    }
  }
}

}  // namespace
}  // namespace ringway
