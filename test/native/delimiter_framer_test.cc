#include "framer/delimiter_framer.h"

#include <doctest/doctest.h>

#include "support/framer_harness.h"

namespace ringway {
namespace {

using test::Outcome;
using test::RequireEverySplitSame;
using test::RunWhole;
using Frames = std::vector<std::string>;

FramingOptions Delimited(const std::string& delimiter, uint64_t max_frame_length = 16777216) {
  FramingOptions options;
  options.format = FramingFormat::kDelimiter;
  options.delimiter = delimiter;
  options.max_frame_length = max_frame_length;
  return options;
}

FramingOptions Lines(uint64_t max_frame_length = 16777216) {
  FramingOptions options = Delimited("\n", max_frame_length);
  options.strip_carriage_return = true;
  options.accept_unterminated = true;
  return options;
}

void RequireTooLong(const FramingOptions& options, const std::string& stream, size_t seen) {
  const Outcome outcome = RunWhole(options, stream);
  REQUIRE(outcome.end == FrameStatus::kTooLong);
  REQUIRE(outcome.declared == static_cast<int64_t>(seen));
  RequireEverySplitSame(options, stream);
}

TEST_CASE("where frames end with a hold each says so, of every format") {
  const std::string stream("\x01x\n", 3);
  for (const FramingFormat format : {FramingFormat::kDelimiter, FramingFormat::kLengthField, FramingFormat::kVarint}) {
    for (const bool hold : {false, true}) {
      FramingOptions options = Delimited("\n");
      options.format = format;
      options.length_field_length = 1;
      options.hold = hold;
      const FrameResult result =
          MakeFramer(options)->Next({reinterpret_cast<const uint8_t*>(stream.data()), stream.size()});
      CHECK(result.status == FrameStatus::kFrame);
      CHECK(result.hold == hold);
    }
  }
}

TEST_CASE("lines, empty ones too") {
  const std::string stream = "one\n\ntwo\nrest";
  const Outcome outcome = RunWhole(Delimited("\n"), stream);
  CHECK(outcome.frames == Frames{"one", "", "two"});
  CHECK(outcome.left == "rest");
  RequireEverySplitSame(Delimited("\n"), stream);
}

TEST_CASE("the delimiter is delivered where it is not stripped") {
  FramingOptions options = Delimited("\r\n");
  options.strip_delimiter = false;
  CHECK(RunWhole(options, "a\r\n\r\nb").frames == Frames{"a\r\n", "\r\n"});
  RequireEverySplitSame(options, "a\r\n\r\nb\r\n");
}

TEST_CASE("one carriage return before the delimiter is dropped") {
  CHECK(RunWhole(Lines(), "a\r\n\r\nb\n\r\r\nc\rd\n").frames == Frames{"a", "", "b", "\r", "c\rd"});
  RequireEverySplitSame(Lines(), "a\r\n\r\nb\n\r\r\nc\rd\n");
  CHECK(RunWhole(Delimited("\n"), "a\r\n").frames == Frames{"a\r"});
}

TEST_CASE("delimiters of several bytes, some of which overlap themselves, at every split") {
  const std::string streams[] = {"", "aab", "aaab", "abab", "ababab", "aaaabaab", "xaaxaabaabx", "ababbabaabbaaab"};
  for (const std::string delimiter : {"aab", "aa", "aaa", "abab", "aba", "ab", "abaab"}) {
    CAPTURE(delimiter);
    for (const std::string& stream : streams) RequireEverySplitSame(Delimited(delimiter), stream);
  }
  CHECK(RunWhole(Delimited("aa"), "aaab").frames == Frames{""});
  CHECK(RunWhole(Delimited("aab"), "aaabaab").frames == Frames{"a", ""});
  CHECK(RunWhole(Delimited("abab"), "ababab").left == "ab");
  const std::string sixteen = "0123456789abcdef";
  CHECK(RunWhole(Delimited(sixteen), "x" + sixteen + sixteen + "y").frames == Frames{"x", ""});
  RequireEverySplitSame(Delimited(sixteen), "x" + sixteen + sixteen + "y");
  const std::string zeros(3, '\0');
  CHECK(RunWhole(Delimited(zeros), "a" + zeros + "b" + zeros).frames == Frames{"a", "b"});
}

TEST_CASE("the maximum counts what stands before the delimiter") {
  CHECK(RunWhole(Delimited("\n", 3), "abc\n").frames == Frames{"abc"});
  RequireTooLong(Delimited("\n", 3), "abcd\n", 4);
  RequireTooLong(Delimited("\n", 3), "abcdef", 4);
  CHECK(RunWhole(Delimited("--", 3), "abc--").frames == Frames{"abc"});
  CHECK(RunWhole(Delimited("--", 3), "abc-").end == FrameStatus::kNeedMore);
  RequireTooLong(Delimited("--", 3), "abcd--", 5);
  RequireTooLong(Delimited("--", 3), "abc-d--", 5);
  CHECK(RunWhole(Delimited("\n", 0), "\n\n").frames == Frames{"", ""});
  RequireTooLong(Delimited("\n", 0), "a\n", 1);
  FramingOptions kept = Delimited("--", 3);
  kept.strip_delimiter = false;
  CHECK(RunWhole(kept, "abc--").frames == Frames{"abc--"});
}

TEST_CASE("a carriage return that is dropped does not count, one that is not does") {
  CHECK(RunWhole(Lines(3), "abc\r\n").frames == Frames{"abc"});
  CHECK(RunWhole(Lines(3), "abc\r").end == FrameStatus::kNeedMore);
  RequireTooLong(Lines(3), "abcd\n", 5);
  RequireTooLong(Lines(3), "abc\r\r\n", 5);
  RequireTooLong(Lines(3), "abcde", 5);
}

TEST_CASE("a delimiter that never comes is given up at the maximum, however it arrives") {
  const std::string endless(500, 'x');
  RequireTooLong(Delimited("\r\n\r\n", 40), endless.substr(0, 60), 44);
  test::RequireBytewiseSame(Delimited("\n", 100), endless);
  const Outcome outcome = RunWhole(Delimited("\n", 100), "ok\n" + endless + "\nno\n");
  CHECK(outcome.frames == Frames{"ok"});
  CHECK(outcome.end == FrameStatus::kTooLong);
  CHECK(outcome.declared == 101);
}

TEST_CASE("the failure is final") {
  const std::unique_ptr<Framer> framer = MakeFramer(Delimited("\n", 2));
  const uint8_t bytes[] = {'a', 'b', 'c', '\n'};
  CHECK(framer->Next({bytes, 3}).status == FrameStatus::kTooLong);
  CHECK(framer->Next({bytes + 3, 1}).status == FrameStatus::kTooLong);
  CHECK(framer->Finish({bytes + 3, 1}).status == FrameStatus::kTooLong);
}

TEST_CASE("needed is as large as what is known") {
  CHECK(RunWhole(Delimited("\n"), "abc").needed == 4);
  CHECK(RunWhole(Delimited("--end"), "abc").needed == 8);
  CHECK(RunWhole(Delimited("--end"), "abc--").needed == 8);
  CHECK(RunWhole(Delimited("aab"), "xaa").needed == 4);
  CHECK(RunWhole(Delimited("--end", 4), "abcd").needed == 9);
  CHECK(RunWhole(Delimited("--end", 4), "abcde").needed == 9);
}

TEST_CASE("at FIN an unterminated frame is truncated, or the last one where that is accepted") {
  const Outcome truncated = RunWhole(Delimited("\n"), "a\nb", /*finish=*/true);
  CHECK(truncated.frames == Frames{"a"});
  CHECK(truncated.end == FrameStatus::kNeedMore);
  CHECK(RunWhole(Lines(), "a\nb", true).frames == Frames{"a", "b"});
  CHECK(RunWhole(Lines(), "a\n", true).frames == Frames{"a"});
  CHECK(RunWhole(Lines(), "a\r", true).frames == Frames{"a\r"});
  CHECK(RunWhole(Lines(2), "a\nbc", true).frames == Frames{"a", "bc"});
  RequireEverySplitSame(Lines(), "one\r\ntwo\nlast", true);
  // The carriage return might still have been dropped; without a line feed it is a third byte.
  const Outcome longer = RunWhole(Lines(2), "bc\r", true);
  CHECK(longer.end == FrameStatus::kTooLong);
  CHECK(longer.declared == 3);
}

// The oracle: cut at each earliest occurrence in the whole stream.
Frames CutNaively(const std::string& stream, const std::string& delimiter) {
  Frames frames;
  for (size_t at = 0;;) {
    const size_t end = stream.find(delimiter, at);
    if (end == std::string::npos) return frames;
    frames.push_back(stream.substr(at, end - at));
    at = end + delimiter.size();
  }
}

TEST_CASE("random streams over a small alphabet, cut at random") {
  std::mt19937_64 random(test::RandomSeed());
  for (int round = 0; round < 2000; ++round) {
    const auto letters = [&random](size_t length) {
      std::string text(length, '\0');
      for (char& letter : text) letter = test::Between(random, 0, 3) == 0 ? 'b' : 'a';
      return text;
    };
    const std::string delimiter = letters(test::Between(random, 1, 6));
    const std::string stream = letters(test::Between(random, 0, 300));
    CAPTURE(delimiter);
    CAPTURE(stream);
    for (const auto patience : {test::Patience::kAskEachTime, test::Patience::kWaitForNeeded}) {
      const auto pieces = test::CutAtRandom(stream, random, test::Between(random, 1, 40));
      REQUIRE(test::RunPieces(Delimited(delimiter), pieces, patience).frames == CutNaively(stream, delimiter));
      const uint64_t max = test::Between(random, 0, 20);
      test::RequireSame(test::RunPieces(Delimited(delimiter, max), pieces, patience),
                        RunWhole(Delimited(delimiter, max), stream));
    }
  }
}

}  // namespace
}  // namespace ringway
