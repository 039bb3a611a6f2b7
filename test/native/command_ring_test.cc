#include "base/command_ring.h"

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "support/doctest_last.h"
#include "support/js_side.h"
#include "support/random_seed.h"

namespace ringway::test {
namespace {

struct Rings {
  JsSide js;
  ReactorMemory memory = js.memory();
  CommandRing ring{memory.events.control, memory.commands};
};

std::string InlineOf(const uint32_t* words) {
  const auto* send = reinterpret_cast<const SendCommand*>(words);
  return {reinterpret_cast<const char*>(words + sizeof(SendCommand) / 4), send->first.inline_length};
}

JsConnection To(uint32_t slot, uint32_t generation = 0) {
  JsConnection to;
  to.slot = slot;
  to.generation = generation;
  return to;
}

TEST_CASE("Commands are seen when they are published, once, in order") {
  Rings rings;
  rings.js.Send(To(3, 9), "hello");
  rings.js.Close(To(4), CloseReason::kGoingAway);
  CHECK(rings.ring.Empty());
  rings.js.Publish();
  CHECK_FALSE(rings.ring.Empty());
  std::vector<CommandKind> kinds;
  rings.ring.TakeAll([&](CommandKind kind, const uint32_t* words) {
    kinds.push_back(kind);
    if (kind == CommandKind::kSend) {
      CHECK(words[1] == 3);
      CHECK(words[2] == 9);
      CHECK(InlineOf(words) == "hello");
    } else {
      const auto* close = reinterpret_cast<const CloseCommand*>(words);
      CHECK(close->header.slot == 4);
      CHECK(close->reason == static_cast<uint32_t>(CloseReason::kGoingAway));
    }
  });
  CHECK(kinds == std::vector{CommandKind::kSend, CommandKind::kClose});
  CHECK(rings.ring.Empty());
  CHECK(rings.js.CommandsTaken());
}

TEST_CASE("What finds no room waits with JavaScript and comes after it, in order") {
  Rings rings;
  const std::string bytes(16'000, 'x');
  uint32_t given = 0;
  while (!rings.js.HasSpilled()) rings.js.Send(To(given++), bytes);
  for (int i = 0; i < 100; ++i) rings.js.Send(To(given++), bytes);
  uint32_t seen = 0;
  while (seen < given) {
    rings.js.Publish();
    rings.ring.TakeAll([&](CommandKind, const uint32_t* words) {
      REQUIRE(words[1] == seen++);
      REQUIRE(InlineOf(words) == bytes);
    });
  }
  CHECK(rings.js.CommandsTaken());
}

TEST_CASE("Commands of any size, round the ring and round again") {
  std::mt19937_64 random(RandomSeed());
  Rings rings;
  uint32_t given = 0;
  uint32_t seen = 0;
  std::string bytes(16'000, '\0');
  const auto take = [&] {
    rings.ring.TakeAll([&](CommandKind kind, const uint32_t* words) {
      REQUIRE(words[1] == seen++);
      if (kind != CommandKind::kSend) return;
      const std::string_view inlined(reinterpret_cast<const char*>(words + sizeof(SendCommand) / 4),
                                     reinterpret_cast<const SendCommand*>(words)->first.inline_length);
      if (inlined.empty()) return;
      REQUIRE(static_cast<uint8_t>(inlined.front()) == (words[1] & 0xff));
      REQUIRE(static_cast<uint8_t>(inlined.back()) == (words[1] & 0xff));
    });
  };
  for (int turn = 0; turn < 40'000; ++turn) {
    for (uint64_t i = Between(random, 0, 3); i > 0; --i) {
      const size_t length = turn % 8 == 0 ? Between(random, 0, bytes.size()) : Between(random, 0, 64);
      std::memset(bytes.data(), static_cast<int>(given & 0xff), length);
      if (random() % 8 == 0) {
        rings.js.Pause(To(given++));
      } else {
        rings.js.Send(To(given++), {bytes.data(), length});
      }
    }
    rings.js.Publish();
    if (random() % 4 != 0) take();
  }
  while (seen < given) {
    rings.js.Publish();
    take();
  }
}

TEST_CASE("A thread writes commands while another takes them") {
  Rings rings;
  constexpr uint32_t kCommands = 300'000;
  std::thread javascript([&] {
    std::mt19937_64 random(1);
    std::string bytes(500, '\0');
    for (uint32_t i = 0; i < kCommands; ++i) {
      const size_t length = random() % bytes.size();
      std::memset(bytes.data(), static_cast<int>(i & 0xff), length);
      rings.js.Send(To(i), {bytes.data(), length});
      if (random() % 16 == 0) rings.js.Publish();
      while (rings.js.HasSpilled()) {
        std::this_thread::yield();
        rings.js.Publish();
      }
    }
    rings.js.Publish();
  });
  uint32_t seen = 0;
  bool intact = true;
  while (seen < kCommands) {
    if (rings.ring.Empty()) std::this_thread::yield();
    rings.ring.TakeAll([&](CommandKind, const uint32_t* words) {
      intact = intact && words[1] == seen;
      const auto* send = reinterpret_cast<const SendCommand*>(words);
      const auto* bytes = reinterpret_cast<const uint8_t*>(words + sizeof(SendCommand) / 4);
      for (uint32_t i = 0; i < send->first.inline_length; ++i) intact = intact && bytes[i] == (seen & 0xff);
      ++seen;
    });
  }
  javascript.join();
  CHECK(intact);
}

}  // namespace
}  // namespace ringway::test
