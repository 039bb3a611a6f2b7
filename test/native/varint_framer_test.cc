#include "framer/varint_framer.h"

#include <doctest/doctest.h>

#include "support/framer_harness.h"

namespace ringway {
namespace {

using test::Outcome;
using test::RequireEverySplitSame;
using test::RunWhole;
using Frames = std::vector<std::string>;

FramingOptions Varint(uint64_t max_frame_length = 16777216) {
  FramingOptions options;
  options.format = FramingFormat::kVarint;
  options.max_frame_length = max_frame_length;
  return options;
}

std::string Prefix(uint64_t value) {
  std::string prefix;
  for (; value >= 0x80; value >>= 7) prefix += static_cast<char>(value | 0x80);
  return prefix + static_cast<char>(value);
}

std::string Frame(const std::string& payload) { return Prefix(payload.size()) + payload; }

void RequireFailure(const FramingOptions& options, const std::string& stream, FrameStatus status, int64_t declared) {
  const Outcome outcome = RunWhole(options, stream);
  REQUIRE(outcome.frames.empty());
  REQUIRE(outcome.end == status);
  REQUIRE(outcome.declared == declared);
  RequireEverySplitSame(options, stream + "after");
}

TEST_CASE("frames come out in order, empty ones too, without their prefix") {
  const std::string stream = Frame("a") + Frame("") + Frame("hello");
  CHECK(RunWhole(Varint(), stream).frames == Frames{"a", "", "hello"});
  RequireEverySplitSame(Varint(), stream);
  RequireEverySplitSame(Varint(), stream + Prefix(9) + "half");
}

TEST_CASE("prefixes of one to four bytes at their edges") {
  for (const size_t length : {127u, 128u, 16383u, 16384u, 2097151u, 2097152u}) {
    const std::string payload(length, 'v');
    CHECK(RunWhole(Varint(), Frame(payload) + Frame("x")).frames == Frames{payload, "x"});
  }
  RequireEverySplitSame(Varint(), Frame(std::string(128, 'v')));
}

TEST_CASE("a prefix longer than it need be is a number like any other") {
  CHECK(RunWhole(Varint(), std::string("\x81\x80\x00x", 4)).frames == Frames{"x"});
  CHECK(RunWhole(Varint(), std::string("\x81\x80\x80\x80\x00x", 6)).frames == Frames{"x"});
  RequireEverySplitSame(Varint(), std::string("\x81\x80\x80\x80\x00x\x80\x00", 8));
}

TEST_CASE("the maximum is accepted and one more refused, on the prefix alone") {
  for (const uint64_t max : {0, 1, 127, 128, 300}) {
    CAPTURE(max);
    const std::string payload(max, 'm');
    CHECK(RunWhole(Varint(max), Frame(payload)).frames == Frames{payload});
    RequireFailure(Varint(max), Prefix(max + 1), FrameStatus::kTooLong, static_cast<int64_t>(max + 1));
  }
}

TEST_CASE("32 bits are a length, more are malformed") {
  RequireFailure(Varint(), "\xff\xff\xff\xff\x0f", FrameStatus::kTooLong, UINT32_MAX);
  RequireFailure(Varint(), "\x80\x80\x80\x80\x08", FrameStatus::kTooLong, 0x80000000);
  RequireFailure(Varint(), "\x80\x80\x80\x80\x10", FrameStatus::kMalformed, int64_t{1} << 32);
  RequireFailure(Varint(), "\xff\xff\xff\xff\x7f", FrameStatus::kMalformed, (int64_t{1} << 35) - 1);
  const Outcome largest = RunWhole(Varint(UINT32_MAX), "\xff\xff\xff\xff\x0f");
  CHECK(largest.end == FrameStatus::kNeedMore);
  CHECK(largest.needed == size_t{UINT32_MAX} + 5);
}

TEST_CASE("a prefix that goes on past five bytes is malformed at the fifth") {
  RequireFailure(Varint(), "\x80\x80\x80\x80\x80", FrameStatus::kMalformed, 0);
  RequireFailure(Varint(), "\x81\x80\x80\x80\x80\x00", FrameStatus::kMalformed, 1);
  RequireFailure(Varint(), "\xff\xff\xff\xff\xff\x01", FrameStatus::kMalformed, (int64_t{1} << 35) - 1);
}

TEST_CASE("frames before a bad one are delivered, nothing after it") {
  const std::string stream = Frame("ok") + Prefix(11) + "01234567890" + Frame("no");
  CHECK(RunWhole(Varint(10), stream).frames == Frames{"ok"});
  RequireEverySplitSame(Varint(10), stream);
}

TEST_CASE("what is known of the rest is said") {
  CHECK(RunWhole(Varint(), "\x80").needed == 2);
  CHECK(RunWhole(Varint(), "\x80\x80\x80").needed == 4);
  const Outcome body = RunWhole(Varint(), Prefix(300) + "abc");
  CHECK(body.needed == 302);
  CHECK(body.frame_bytes == 302);
}

TEST_CASE("random frames, cut at random") {
  std::mt19937_64 random(test::RandomSeed());
  for (int round = 0; round < 300; ++round) {
    std::string stream;
    Frames expected;
    for (uint64_t frames = test::Between(random, 1, 20); frames > 0; --frames) {
      const uint64_t longest = uint64_t{1} << test::Between(random, 0, 15);
      expected.push_back(test::RandomBytes(random, test::Between(random, 0, longest)));
      stream += Frame(expected.back());
    }
    for (const auto patience : {test::Patience::kAskEachTime, test::Patience::kWaitForNeeded}) {
      const auto pieces = test::CutAtRandom(stream, random, test::Between(random, 500, 20000));
      REQUIRE(test::RunPieces(Varint(), pieces, patience).frames == expected);
    }
  }
}

TEST_CASE("random bytes never break it, and every cut gives the same") {
  std::mt19937_64 random(test::RandomSeed());
  for (int round = 0; round < 2000; ++round) {
    const std::string stream = test::RandomBytes(random, test::Between(random, 0, 200));
    test::RequireSame(test::RunPieces(Varint(150), test::CutAtRandom(stream, random, 20)),
                      RunWhole(Varint(150), stream));
  }
}

}  // namespace
}  // namespace ringway
