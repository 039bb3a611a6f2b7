// Feeds a framer as a connection does, and checks what every framer promises whatever its format.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "framer/framer.h"
#include "support/random_seed.h"

namespace ringway::test {

struct Outcome {
  std::vector<std::string> frames;
  FrameStatus end = FrameStatus::kNeedMore;  // what the last call answered
  int64_t declared = 0;
  size_t needed = 1;
  size_t frame_bytes = 0;
  std::string left;  // unconsumed

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

enum class Patience { kWaitForNeeded, kAskEachTime };

class FramerHarness {
 public:
  FramerHarness(const FramingOptions& options, Patience patience) : framer_(MakeFramer(options)), patience_(patience) {}

  void Feed(const std::string& piece) {
    outcome_.left += piece;
    if (patience_ == Patience::kWaitForNeeded && outcome_.left.size() < outcome_.needed) return;
    while (!Failed() && !outcome_.left.empty() && Step([this](auto bytes) { return framer_->Next(bytes); })) {
    }
  }

  void Finish() {
    if (!Failed() && !outcome_.left.empty()) Step([this](auto bytes) { return framer_->Finish(bytes); });
  }

  const Outcome& outcome() const { return outcome_; }

 private:
  bool Failed() const { return outcome_.end == FrameStatus::kTooLong || outcome_.end == FrameStatus::kMalformed; }

  // The bytes stand alone in memory of exactly their size, so that a sanitizer sees a read past them.
  bool Step(const std::function<FrameResult(std::span<const uint8_t>)>& call) {
    std::string& left = outcome_.left;
    const auto bytes = std::make_unique<uint8_t[]>(left.size());
    std::memcpy(bytes.get(), left.data(), left.size());
    const FrameResult result = call({bytes.get(), left.size()});
    CheckPromises(result);
    outcome_.end = result.status;
    outcome_.declared = result.declared;
    outcome_.needed = result.status == FrameStatus::kNeedMore ? result.needed : 1;
    outcome_.frame_bytes = result.frame_bytes;
    if (result.status != FrameStatus::kFrame) return false;
    outcome_.frames.push_back(left.substr(result.offset, result.length));
    left.erase(0, result.consumed);
    return true;
  }

  void CheckPromises(const FrameResult& result) {
    const size_t available = outcome_.left.size();
    REQUIRE_FALSE(result.hold);
    if (result.status == FrameStatus::kNeedMore) {
      REQUIRE(result.consumed == 0);
      REQUIRE((result.frame_bytes == 0 || result.frame_bytes > available));
    }
    if (result.status == FrameStatus::kFrame) {
      REQUIRE(result.consumed > 0);
      REQUIRE(result.consumed <= available);
      REQUIRE(result.frame_bytes == result.consumed);
      REQUIRE(result.offset + result.length <= result.consumed);
      REQUIRE((outcome_.frame_bytes == 0 || outcome_.end != FrameStatus::kNeedMore ||
               result.consumed == outcome_.frame_bytes));
    }
  }

  std::unique_ptr<Framer> framer_;
  const Patience patience_;
  Outcome outcome_;
};

inline Outcome RunPieces(const FramingOptions& options, const std::vector<std::string>& pieces,
                         Patience patience = Patience::kAskEachTime, bool finish = false) {
  FramerHarness harness(options, patience);
  for (const std::string& piece : pieces) harness.Feed(piece);
  if (finish) harness.Finish();
  return harness.outcome();
}

inline Outcome RunWhole(const FramingOptions& options, const std::string& stream, bool finish = false) {
  return RunPieces(options, {stream}, Patience::kAskEachTime, finish);
}

// A failed framer keeps what it got, which depends on how it was fed; everything else must not.
inline void RequireSame(const Outcome& got, const Outcome& expected) {
  REQUIRE(got.frames == expected.frames);
  REQUIRE(got.end == expected.end);
  REQUIRE(got.declared == expected.declared);
  if (got.end == FrameStatus::kNeedMore || got.end == FrameStatus::kFrame) REQUIRE(got.left == expected.left);
}

inline Outcome RunSplit(const FramingOptions& options, const std::string& stream, size_t first, size_t second,
                        Patience patience, bool finish) {
  return RunPieces(options, {stream.substr(0, first), stream.substr(first, second - first), stream.substr(second)},
                   patience, finish);
}

inline void RequireBytewiseSame(const FramingOptions& options, const std::string& stream, bool finish = false) {
  std::vector<std::string> bytes;
  for (const char byte : stream) bytes.emplace_back(1, byte);
  const Outcome whole = RunWhole(options, stream, finish);
  RequireSame(RunPieces(options, bytes, Patience::kAskEachTime, finish), whole);
  RequireSame(RunPieces(options, bytes, Patience::kWaitForNeeded, finish), whole);
}

// Every way to cut the stream in three (hence in two), and byte by byte, gives what the whole gives.
inline void RequireEverySplitSame(const FramingOptions& options, const std::string& stream, bool finish = false) {
  const Outcome whole = RunWhole(options, stream, finish);
  for (size_t first = 0; first <= stream.size(); ++first) {
    for (size_t second = first; second <= stream.size(); ++second) {
      CAPTURE(first);
      CAPTURE(second);
      RequireSame(RunSplit(options, stream, first, second, Patience::kAskEachTime, finish), whole);
      RequireSame(RunSplit(options, stream, first, second, Patience::kWaitForNeeded, finish), whole);
    }
  }
  RequireBytewiseSame(options, stream, finish);
}

inline std::vector<std::string> CutAtRandom(const std::string& stream, std::mt19937_64& random, size_t longest) {
  std::vector<std::string> pieces;
  for (size_t at = 0; at < stream.size(); at += pieces.back().size()) {
    pieces.push_back(stream.substr(at, Between(random, 1, longest)));
  }
  return pieces;
}

inline std::string RandomBytes(std::mt19937_64& random, size_t length) {
  std::string bytes(length, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

}  // namespace ringway::test
