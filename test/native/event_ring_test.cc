#include "base/event_ring.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "base/tables.gen.h"
#include "support/doctest_last.h"
#include "support/js_side.h"
#include "support/random_seed.h"

namespace ringway::test {
namespace {

constexpr size_t kLargest = limits::inline_frame_bytes;

// The shared memory, and JavaScript's side of it at its plainest.
struct Memory {
  std::vector<uint32_t> control = std::vector<uint32_t>(static_cast<size_t>(ControlWord::kWords));
  std::vector<Descriptor> descriptors = std::vector<Descriptor>(kEventDescriptors);
  std::vector<uint8_t> bytes = std::vector<uint8_t>(kEventBytes);

  EventRing::Memory Get() { return {control.data(), descriptors.data(), bytes.data()}; }
  std::atomic_ref<uint32_t> Word(ControlWord word) {
    return std::atomic_ref<uint32_t>(control[static_cast<uint32_t>(word)]);
  }
  uint32_t Head() { return Word(ControlWord::kEventHead).load(std::memory_order_acquire); }
  uint32_t Tail() { return Word(ControlWord::kEventTail).load(std::memory_order_relaxed); }
  const Descriptor& Next() { return descriptors[Tail() & (kEventDescriptors - 1)]; }
  std::string_view BytesOf(const Descriptor& descriptor) {
    const uint32_t place = descriptor.position & (kEventBytes - 1);
    REQUIRE(place + descriptor.length <= kEventBytes);
    return {reinterpret_cast<const char*>(&bytes[place]), descriptor.length};
  }
  // Takes one; its bytes go back with Release.
  uint32_t Take() {
    const Descriptor& descriptor = Next();
    const uint32_t end = (descriptor.position + descriptor.length + 7) & ~7u;
    Word(ControlWord::kEventTail).store(Tail() + 1, std::memory_order_release);
    return end;
  }
  void Release(uint32_t position) { Word(ControlWord::kBytesTail).store(position, std::memory_order_release); }
};

std::span<const uint8_t> Span(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void PushFrame(EventRing& ring, uint32_t slot, const std::string& bytes) {
  ring.PushFrame(slot, Span(bytes).data(), bytes.size());
}

TEST_CASE("What was pushed is seen only after Flush, with its bytes") {
  Memory memory;
  EventRing ring(memory.Get());
  PushFrame(ring, 7, "seven");
  ring.Push(EventKind::kEnd, 7);
  CHECK(memory.Head() == 0);
  CHECK(ring.Flush());
  REQUIRE(memory.Head() == 2);
  CHECK(memory.Next().kind == static_cast<uint32_t>(EventKind::kFrame));
  CHECK(memory.Next().slot == 7);
  CHECK(memory.BytesOf(memory.Next()) == "seven");
  memory.Take();
  CHECK(memory.Next().kind == static_cast<uint32_t>(EventKind::kEnd));
  memory.Release(memory.Take());
  CHECK_FALSE(ring.Flush());
}

TEST_CASE("Frames that were said to have room find it wherever the ring stands, and leave what is reserved") {
  std::mt19937 random(RandomSeed());
  Memory memory;
  EventRing ring(memory.Get());
  const std::string payload(kLargest, 'x');
  const std::string body(1'000, 'e');
  const auto push = [&](size_t bytes) { ring.PushFrame(1, reinterpret_cast<const uint8_t*>(payload.data()), bytes); };
  const auto take = [&](uint32_t but) {
    ring.Flush();
    while (memory.Head() - memory.Tail() > but) memory.Release(memory.Take());
  };
  int refused = 0;
  int pushed = 0;
  for (int turn = 0; turn < 2'000; ++turn) {
    // One frame somewhere, and behind it as many as come near the ring's end.
    for (uint32_t n = random() % 16; n > 0; --n) push(random() % 60'000);
    push(1);
    take(1);
    for (uint32_t n = random() % 32; n > 0 && ring.HasRoomForFrame(kLargest); --n) push(random() % 60'000);

    size_t left = 1 + random() % (random() % 3 == 0 ? 2'000 : kLargest);
    const size_t longest = 1 + random() % (random() % 2 == 0 ? 2 : 3'000);
    uint32_t frames = ring.FramesWithRoom(left);
    ++(frames == 0 ? refused : pushed);
    for (; frames > 0 && left > 0; --frames) {
      const size_t bytes = std::min<size_t>(left, 1 + random() % longest);
      push(bytes);
      left -= bytes;
    }
    // Where the ring's end is skipped, by less than one event.
    for (size_t used = 0; used + 3 * body.size() < kReservedBytes; used += body.size()) {
      ring.Push(EventKind::kEnd, 1, Span(body));
    }
    REQUIRE_FALSE(ring.HasOverflow());
    take(0);
  }
  CHECK(refused > 100);
  CHECK(pushed > 100);
}

// As a driver receives, and a framer cuts: `bytes` came, and frames lie at these offsets.
void Receive(EventRing& ring, uint32_t slot, const std::string& bytes,
             const std::vector<std::pair<size_t, size_t>>& frames) {
  const std::span<uint8_t> room = ring.RoomToReceive(kLargest);
  REQUIRE(room.size() == kLargest);
  std::copy(bytes.begin(), bytes.end(), room.begin());
  ring.BeginReceived(bytes.size());
  for (const auto& [offset, length] : frames) {
    CHECK(ring.HoldsReceived(&room[offset]));
    ring.PushFrameInPlace(slot, &room[offset], length);
  }
  CHECK_FALSE(ring.HoldsReceived(room.data() + bytes.size() + 1));
  ring.EndReceived();
  CHECK_FALSE(ring.HoldsReceived(room.data()));
}

TEST_CASE("Frames are cut where they were received, and what is not in a frame takes no room") {
  Memory memory;
  EventRing ring(memory.Get());
  PushFrame(ring, 1, "before");
  Receive(ring, 2, "--one----two--thr", {{2, 3}, {9, 3}});
  PushFrame(ring, 3, "behind");
  Receive(ring, 4, "nothing whole", {});
  PushFrame(ring, 5, "last");
  ring.Flush();
  uint32_t end = 0;
  for (const char* expected : {"before", "one", "two", "behind", "last"}) {
    CHECK(memory.BytesOf(memory.Next()) == expected);
    CHECK(memory.Next().position + 7 >= end);
    end = memory.Take();
  }
  CHECK(end == 8 + 16 + 8 + 8);
  memory.Release(end);
  CHECK_FALSE(ring.Flush());
}

// Empty frames stand at the end of what came, or at its beginning.
TEST_CASE("An empty frame alone in what was received leaves the head behind it") {
  for (const size_t offset : {size_t{0}, size_t{4}}) {
    CAPTURE(offset);
    Memory memory;
    EventRing ring(memory.Get());
    Receive(ring, 1, "head", {{offset, 0}});
    ring.Flush();
    CHECK(memory.Next().length == 0);
    memory.Release(memory.Take());
    // What JavaScript released is not ahead of what was written: two frames behind it are two.
    PushFrame(ring, 2, "BBBBB");
    ring.Flush();
    PushFrame(ring, 3, "CCCCCCCCCC");
    ring.Flush();
    CHECK(memory.BytesOf(memory.Next()) == "BBBBB");
    memory.Take();
    CHECK(memory.BytesOf(memory.Next()) == "CCCCCCCCCC");
  }
}

TEST_CASE("An event between a frame in its place and the end of what came with it is written behind all of it") {
  Memory memory;
  EventRing ring(memory.Get());
  const std::span<uint8_t> room = ring.RoomToReceive(kLargest);
  const std::string bytes = "first, and a rest that is not looked at yet";
  std::copy(bytes.begin(), bytes.end(), room.begin());
  ring.BeginReceived(bytes.size());
  ring.PushFrameInPlace(1, room.data(), 5);
  const uint64_t body = UINT64_MAX;
  ring.Push(EventKind::kFault, 1, {reinterpret_cast<const uint8_t*>(&body), sizeof body});
  CHECK(std::string_view(reinterpret_cast<const char*>(room.data()), bytes.size()) == bytes);
  ring.EndReceived();
  ring.Flush();
  CHECK(memory.BytesOf(memory.Next()) == "first");
  memory.Take();
  CHECK(memory.BytesOf(memory.Next()) == std::string(8, '\xff'));
}

TEST_CASE("There is no room to receive where a frame has none, and bytes stay clear of those that are looked at") {
  Memory memory;
  EventRing ring(memory.Get());
  const std::string frame(kLargest, 'x');
  size_t received = 0;
  for (; !ring.RoomToReceive(kLargest).empty(); ++received) {
    CHECK(ring.HasRoomForFrame(kLargest));
    Receive(ring, static_cast<uint32_t>(received), frame, {{0, kLargest}});
  }
  CHECK(received > 8);
  // What was received last found room for its frames.
  CHECK(ring.HasRoomForFrame(kLargest));
  ring.Flush();
  for (size_t i = 0; i < received; ++i) {
    CHECK(memory.BytesOf(memory.Next()) == frame);
    memory.Release(memory.Take());
  }
  CHECK_FALSE(ring.RoomToReceive(kLargest).empty());
}

TEST_CASE("A frame in a receive buffer is released with its event") {
  Memory memory;
  memory.bytes.resize(kEventBytes + 1000);
  EventRing::Memory shared = memory.Get();
  shared.receive_bytes = 1000;
  EventRing ring(shared);
  const std::span<uint8_t> buffers = ring.ReceiveMemory();
  REQUIRE(buffers.size() == 1000);
  CHECK(ring.IsReceiveMemory(&buffers[0]));
  CHECK(ring.IsReceiveMemory(&buffers[999]));
  CHECK_FALSE(ring.IsReceiveMemory(&buffers[0] - 1));
  CHECK_FALSE(ring.IsReceiveMemory(&buffers[999] + 1));
  CHECK_FALSE(ring.IsReceiveMemory(reinterpret_cast<const uint8_t*>(&ring)));
  const uint32_t first = ring.PushHeldFrame(7, &buffers[10], 20);
  const uint32_t second = ring.PushHeldFrame(8, &buffers[500], 30);
  ring.Flush();
  CHECK(memory.Next().kind == static_cast<uint32_t>(EventKind::kHeldFrame));
  HeldFrameEvent event;
  std::memcpy(&event, memory.BytesOf(memory.Next()).data(), sizeof event);
  CHECK(event.place == kEventBytes + 10);
  CHECK(event.length == 20);
  CHECK(ring.Passed(event.place, event.length) == &buffers[10]);
  CHECK_FALSE(ring.HasReleased(first));
  memory.Release(memory.Take());
  CHECK(ring.HasReleased(first));
  CHECK_FALSE(ring.HasReleased(second));
}

TEST_CASE("An empty ring begins at its start again: a light load stays within a few cache lines") {
  Memory memory;
  EventRing ring(memory.Get());
  for (int i = 0; i < 100; ++i) {
    PushFrame(ring, 1, std::string(static_cast<size_t>(i), 'x'));
    ring.Flush();
    CHECK((memory.Next().position & (kEventBytes - 1)) == 0);
    memory.Release(memory.Take());
  }
}

TEST_CASE("The last frame grows while nobody knows of it, and only its own slot's") {
  Memory memory;
  EventRing ring(memory.Get());
  const auto extend = [&](uint32_t slot, const std::string& bytes, size_t most = 100) {
    return ring.ExtendFrame(slot, Span(bytes).data(), bytes.size(), most);
  };
  CHECK_FALSE(extend(1, "nothing to extend"));
  PushFrame(ring, 1, "one");
  CHECK(extend(1, ", two"));
  CHECK_FALSE(extend(2, "another's"));
  CHECK_FALSE(extend(1, "too long", 15));
  CHECK(extend(1, ", three", 15));
  ring.Push(EventKind::kEnd, 3);
  CHECK_FALSE(extend(1, "behind another event"));
  PushFrame(ring, 1, "four");
  ring.Flush();
  CHECK_FALSE(extend(1, "known already"));
  PushFrame(ring, 1, "five");
  ring.Flush();
  CHECK_EQ(memory.BytesOf(memory.Next()), "one, two, three");
  memory.Take();
  memory.Take();
  CHECK_EQ(memory.BytesOf(memory.Next()), "four");
  memory.Take();
  CHECK_EQ(memory.BytesOf(memory.Next()), "five");
}

TEST_CASE("What was taken before the ring started over is not extended") {
  Memory memory;
  EventRing ring(memory.Get());
  // The descriptor before the ring's start is one of this slot's frames.
  for (uint32_t i = 0; i < kEventDescriptors; ++i) {
    PushFrame(ring, 1, "x");
    ring.Flush();
    memory.Release(memory.Take());
  }
  PushFrame(ring, 2, "y");
  ring.Flush();
  memory.Take();
  ring.StartOver();
  CHECK_FALSE(ring.ExtendFrame(1, Span("more").data(), 4, 100));
}

TEST_CASE("A frame is not extended over the ring's end") {
  Memory memory;
  EventRing ring(memory.Get());
  const std::string part(kLargest, 'x');
  // Filled and given back piece by piece, so that the ring does not begin at its start again.
  PushFrame(ring, 1, "kept");
  ring.Flush();
  uint32_t first = memory.Take();
  for (size_t filled = 8; filled + kLargest < kEventBytes; filled += kLargest) {
    PushFrame(ring, 1, part);
    ring.Flush();
    memory.Release(first);
    first = memory.Take();
  }
  PushFrame(ring, 1, std::string(1'000, 'y'));
  CHECK_FALSE(ring.ExtendFrame(1, Span(part).data(), kLargest - 1'000, kLargest));
  CHECK(ring.ExtendFrame(1, Span(part).data(), 10, kLargest));
  ring.Flush();
  CHECK_EQ(memory.BytesOf(memory.Next()), std::string(1'000, 'y') + std::string(10, 'x'));
}

TEST_CASE("A frame never lies across the ring's end") {
  Memory memory;
  EventRing ring(memory.Get());
  std::deque<uint32_t> taken;
  for (int i = 0; i < 1000; ++i) {
    const std::string frame(40'000 + static_cast<size_t>(i), static_cast<char>(i));
    REQUIRE(ring.HasRoomForFrame(frame.size()));
    PushFrame(ring, 1, frame);
    ring.Flush();
    CHECK(memory.BytesOf(memory.Next()) == frame);
    taken.push_back(memory.Take());
    if (taken.size() < 10) continue;
    memory.Release(taken.front());
    taken.pop_front();
  }
}

TEST_CASE("Frames leave the last descriptors and bytes to the events that must get through") {
  Memory memory;
  EventRing ring(memory.Get());
  SUBCASE("descriptors") {
    uint32_t pushed = 0;
    while (ring.HasRoomForFrame(kLargest)) {
      PushFrame(ring, 1, "");
      ++pushed;
    }
    CHECK(pushed == kEventDescriptors - kReservedDescriptors);
    for (uint32_t i = 0; i < kReservedDescriptors; ++i) ring.Push(EventKind::kEnd, i);
    CHECK_FALSE(ring.HasOverflow());
    ring.Push(EventKind::kEnd, 0);
    CHECK(ring.HasOverflow());
  }
  SUBCASE("bytes") {
    while (ring.HasRoomForFrame(kLargest)) PushFrame(ring, 1, std::string(kLargest, 'x'));
    const std::string body(64, 'c');
    for (size_t i = 0; i < kReservedBytes / body.size() / 2; ++i) ring.Push(EventKind::kClose, 1, Span(body));
    CHECK_FALSE(ring.HasOverflow());
  }
}

TEST_CASE("What finds no room waits in order, and frames wait behind it") {
  Memory memory;
  EventRing ring(memory.Get());
  const uint32_t waiting = 5000;
  for (uint32_t i = 0; i < kEventDescriptors + waiting; ++i) ring.Push(EventKind::kEnd, i);
  CHECK(ring.HasOverflow());
  CHECK_FALSE(ring.CanFlushOverflow());
  ring.Flush();
  REQUIRE(memory.Head() - memory.Tail() == kEventDescriptors);
  for (uint32_t i = 0; i < kEventDescriptors; ++i) {
    REQUIRE(memory.Next().slot == i);
    memory.Release(memory.Take());
  }
  // There is room, but not before those that wait.
  CHECK_FALSE(ring.HasRoomForFrame(1));
  CHECK(ring.CanFlushOverflow());
  ring.Push(EventKind::kEnd, kEventDescriptors + waiting);
  ring.Flush();
  CHECK(ring.HasRoomForFrame(1));
  for (uint32_t i = 0; i <= waiting; ++i) {
    REQUIRE(memory.Next().slot == kEventDescriptors + i);
    memory.Release(memory.Take());
  }
  CHECK(memory.Head() == memory.Tail());
}

TEST_CASE("Where both sides share a thread everything is free at once") {
  Memory memory;
  EventRing ring(memory.Get());
  for (int i = 0; i < 100; ++i) {
    while (ring.HasRoomForFrame(kLargest)) PushFrame(ring, 1, std::string(10'000, 'x'));
    ring.Flush();
    while (memory.Tail() != memory.Head()) memory.Take();
    ring.StartOver();
    CHECK(ring.HasRoomForFrame(kLargest));
  }
}

// Against a queue of strings, over more than 4 GiB of positions: each time the ring runs empty they go on at the next
// MB.
TEST_CASE("Random operations against a model, positions past 32 bits") {
  std::mt19937_64 random(RandomSeed());
  Memory memory;
  EventRing ring(memory.Get());
  struct Expected {
    EventKind kind;
    uint32_t slot;
    std::string bytes;
  };
  std::deque<Expected> expected;
  std::deque<uint32_t> held;  // taken, their bytes not given back
  uint64_t travelled = 0;
  uint32_t last_position = 0;
  uint64_t frames = 0;
  const auto take = [&] {
    const Descriptor& descriptor = memory.Next();
    const Expected& model = expected.front();
    REQUIRE(descriptor.kind == static_cast<uint32_t>(model.kind));
    REQUIRE(descriptor.slot == model.slot);
    REQUIRE(memory.BytesOf(descriptor) == model.bytes);
    travelled += descriptor.position - last_position;
    last_position = descriptor.position;
    expected.pop_front();
    held.push_back(memory.Take());
  };
  const auto release = [&] {
    if (held.empty()) return;
    const size_t count = Between(random, 1, held.size());
    held.erase(held.begin(), held.begin() + static_cast<ptrdiff_t>(count - 1));
    memory.Release(held.front());
    held.pop_front();
  };
  while (travelled < (uint64_t{9} << 30)) {
    const uint64_t dice = Between(random, 0, 99);
    if (dice < 50) {
      const size_t length = dice == 0 ? Between(random, 0, kLargest) : Between(random, 0, 40);
      if (!ring.HasRoomForFrame(length)) continue;
      Expected& frame = expected.emplace_back(
          Expected{EventKind::kFrame, static_cast<uint32_t>(++frames), std::string(length, static_cast<char>(frames))});
      PushFrame(ring, frame.slot, frame.bytes);
    } else if (dice < 55) {
      Expected& event = expected.emplace_back(
          Expected{EventKind::kClose, static_cast<uint32_t>(dice), std::string(Between(random, 0, 60), 'c')});
      ring.Push(event.kind, event.slot, Span(event.bytes));
    } else if (dice < 65) {
      const bool any = ring.Flush();
      CHECK(any == (memory.Head() != memory.Tail()));
    } else if (dice < 80) {
      for (uint64_t i = Between(random, 1, 8); i > 0 && memory.Head() != memory.Tail(); --i) take();
    } else if (dice < 90) {
      release();
    } else {
      ring.Flush();
      while (memory.Head() != memory.Tail()) take();
      while (!held.empty()) release();
    }
  }
  CHECK(frames > 10'000);
  MESSAGE(frames << " frames");
}

TEST_CASE("A thread fills the ring while another empties it") {
  Memory memory;
  EventRing ring(memory.Get());
  constexpr uint32_t kFrames = 200'000;
  std::thread reactor([&] {
    std::mt19937_64 random(1);
    std::string frame(2048, '\0');
    for (uint32_t i = 0; i < kFrames;) {
      if (ring.HasRoomForFrame(frame.size())) {
        const size_t length = random() % 300;
        std::memset(frame.data(), static_cast<int>(i & 0xff), length);
        if (i % 1000 == 999) {
          ring.Push(EventKind::kEnd, i);
        } else {
          const std::span<uint8_t> room = i % 3 == 0 ? ring.RoomToReceive(length + 9) : std::span<uint8_t>();
          if (room.empty()) {
            ring.PushFrame(i, Span(frame).data(), length);
          } else {
            std::copy_n(frame.begin(), length, room.begin() + 4);
            ring.BeginReceived(length + 9);
            ring.PushFrameInPlace(i, &room[4], length);
            ring.EndReceived();
          }
        }
        ++i;
        if (random() % 8 != 0) continue;
      } else {
        std::this_thread::yield();
      }
      ring.Flush();
    }
    while (ring.HasOverflow() || memory.Head() != kFrames) ring.Flush();
  });
  uint32_t seen = 0;
  bool intact = true;
  while (seen < kFrames) {
    if (memory.Head() == memory.Tail()) {
      std::this_thread::yield();
      continue;
    }
    uint32_t end = 0;
    while (memory.Head() != memory.Tail()) {
      const Descriptor descriptor = memory.Next();
      intact = intact && descriptor.slot == seen;
      const uint32_t place = descriptor.position & (kEventBytes - 1);
      for (uint32_t i = 0; i < descriptor.length; ++i) intact = intact && memory.bytes[place + i] == (seen & 0xff);
      ++seen;
      end = memory.Take();
    }
    memory.Release(end);
  }
  reactor.join();
  CHECK(intact);
}

}  // namespace
}  // namespace ringway::test
