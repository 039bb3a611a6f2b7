// The contract of driver/driver.h, each behaviour once, on every driver in every mode and on the fake with several
// seeds.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "support/driver_world.h"
#include "support/fake_driver.h"
#include "support/uring_refusal.h"

namespace ringway::test {
namespace {

constexpr DriverOptions kSmall{.receive_buffer_bytes = 512, .receive_buffers = 64};

template <typename Body>
void OnEach(const std::vector<WorldKind>& kinds, const DriverOptions& options, Body body) {
  for (const WorldKind& kind : kinds) {
    const std::unique_ptr<DriverWorld> world = kind.make(options);
    if (world == nullptr) {
      MESSAGE("not tested on " << kind.name << ": " << UringRefusal());
      continue;
    }
    INFO("driver: " << kind.name);
    DriverLoop loop(*world);
    body(*world, loop);
    CHECK_EQ(world->driver().InFlight(), 0);
    CHECK_FALSE(world->driver().HasReady());
  }
}

template <typename Body>
void OnEvery(const DriverOptions& options, Body body) {
  OnEach(AllWorlds(), options, body);
}

std::string Text(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text(size, '\0');
  for (char& byte : text) byte = static_cast<char>(random());
  return text;
}

// Ends what runs on fd as its owner must, and closes it.
void Close(DriverWorld& world, DriverLoop& loop, UserData data, int fd) {
  Driver& driver = world.driver();
  loop.Release(data);
  driver.Cancel(data, fd);
  while (driver.InFlight() > 0) loop.Turn();
  driver.Forget(fd);
  world.Close(fd);
}

TEST_CASE("accepts every connection, and goes on doing so") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData acceptor{1, 1, Op::kAccept};
    const int listener = world.Listen();
    loop.KeepAccepting(acceptor, listener);
    std::vector<int> peers;
    for (int i = 0; i < 200; ++i) peers.push_back(world.PeerDial(listener));
    loop.Until([&] { return loop.At(acceptor).accepted.size() == 200; });
    peers.push_back(world.PeerDial(listener));
    loop.Until([&] { return loop.At(acceptor).accepted.size() == 201; });

    const std::vector<int> accepted = loop.At(acceptor).accepted;
    CHECK_EQ(std::set<int>(accepted.begin(), accepted.end()).size(), 201);
    Close(world, loop, acceptor, listener);
    CHECK_EQ(loop.At(acceptor).completions.back().result, -ECANCELED);
    for (const int fd : accepted) world.Close(fd);
    for (const int fd : peers) world.Close(fd);
  });
}

TEST_CASE("receives what was sent, then the end of the stream") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData receiver{1, 1, Op::kReceive};
    const auto [ours, theirs] = world.Pair();
    CHECK_EQ(world.PeerSend(theirs, "early "), 6);
    loop.KeepReceiving(receiver, ours);
    loop.Until([&] { return loop.At(receiver).received == "early "; });
    CHECK_EQ(world.PeerSend(theirs, "late"), 4);
    world.ShutdownWrite(theirs);
    loop.Until([&] { return loop.At(receiver).receive_result == 0; });
    CHECK_EQ(loop.At(receiver).received, "early late");
    CHECK_EQ(world.driver().InFlight(), 0);
    world.driver().Forget(ours);
    world.Close(ours);
    world.Close(theirs);
  });
}

// Our side of a stream: sends all of `out` in pieces of several parts, from where the last one stopped.
class Sender {
 public:
  Sender(Driver& driver, DriverLoop& loop, UserData data, int fd, const std::string& out, uint64_t seed)
      : driver_(driver), loop_(loop), data_(data), fd_(fd), out_(out), random_(seed) {}

  bool Done() const { return sent_ == out_.size() && !pending_; }

  // Until a send pends or all is sent.
  void Go() {
    for (;;) {
      if (pending_) {
        const int32_t result = loop_.At(data_).sent;
        if (result == -EINPROGRESS) return;
        loop_.At(data_).sent = -EINPROGRESS;
        pending_ = false;
        Advance(result);
      }
      if (sent_ == out_.size()) return;
      const int32_t result = driver_.Send(data_, fd_, parts_, Prepare());
      if (result == kSendPending) {
        pending_ = true;
        return;
      }
      Advance(result);
    }
  }

 private:
  int Prepare() {
    const int count = 1 + static_cast<int>(random_() % (random_() % 8 == 0 ? 100 : 4));
    size_t at = sent_;
    offered_ = 0;
    int used = 0;
    while (used < count && at < out_.size()) {
      const size_t size = std::min<size_t>(out_.size() - at, 1 + random_() % 3000);
      parts_[used++] = {const_cast<char*>(out_.data()) + at, size};
      at += size;
      offered_ += size;
    }
    return used;
  }

  void Advance(int32_t result) {
    REQUIRE_GT(result, 0);
    REQUIRE_LE(static_cast<size_t>(result), offered_);
    sent_ += static_cast<size_t>(result);
  }

  Driver& driver_;
  DriverLoop& loop_;
  const UserData data_;
  const int fd_;
  const std::string& out_;
  std::mt19937_64 random_;
  iovec parts_[100];
  size_t sent_ = 0;
  size_t offered_ = 0;
  bool pending_ = false;
};

TEST_CASE("long streams arrive intact in both directions through small buffers") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData receiver{1, 1, Op::kReceive};
    const UserData sender_data{1, 1, Op::kSend};
    const std::string ours_text = Text(world.is_fake() ? 20'000 : 1'000'000, 1);
    const std::string theirs_text = Text(ours_text.size(), 2);
    const auto [ours, theirs] = world.Pair();
    Sender sender(world.driver(), loop, sender_data, ours, ours_text, 3);
    std::string at_peer;
    size_t peer_sent = 0;
    loop.KeepReceiving(receiver, ours);
    while (!sender.Done() || at_peer.size() < ours_text.size() ||
           loop.At(receiver).received.size() < theirs_text.size()) {
      if (peer_sent < theirs_text.size()) {
        const ssize_t sent = world.PeerSend(theirs, std::string_view(theirs_text).substr(peer_sent, 10'000));
        if (sent > 0) peer_sent += static_cast<size_t>(sent);
      }
      char bytes[8192];
      const ssize_t count = world.PeerReceive(theirs, bytes, sizeof(bytes));
      if (count > 0) at_peer.append(bytes, static_cast<size_t>(count));
      sender.Go();
      loop.Poll();
    }
    CHECK(at_peer == ours_text);
    CHECK(loop.At(receiver).received == theirs_text);
    Close(world, loop, receiver, ours);
    world.Close(theirs);
  });
}

TEST_CASE("blocks that were detached keep their bytes, however much comes afterwards") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData receiver{3, 1, Op::kReceive};
    const auto [ours, theirs] = world.Pair();
    loop.KeepReceivingBlocks(receiver, ours, 100);
    const std::string text = Text(world.is_fake() ? 5'000 : 3'000'000, 5);
    DriverLoop::Slot& slot = loop.At(receiver);
    std::string_view rest = text;
    while (slot.received.size() < text.size()) {
      // Until the kernel takes no more, so that blocks are filled.
      for (ssize_t sent = 1; sent > 0 && !rest.empty();) {
        sent = world.PeerSend(theirs, rest.substr(0, 200'000));
        if (sent > 0) rest.remove_prefix(static_cast<size_t>(sent));
      }
      loop.Poll();
    }
    CHECK(slot.received == text);
    // Drivers without blocks of their own have nothing to give away.
    if (world.driver().Name() != std::string("fake")) CHECK_FALSE(slot.blocks.empty());
    if (world.driver().Name() == std::string("epoll")) CHECK_GT(slot.filled, 3);
    size_t from = 0;
    for (const auto& [block, size] : slot.blocks) {
      const std::string_view bytes(reinterpret_cast<const char*>(block->data()), size);
      from = text.find(bytes, from);
      CHECK(from != std::string::npos);
      block->Unref();
    }
    CHECK_EQ(world.PeerSend(theirs, "short"), 5);
    loop.Until([&] { return slot.received.size() == text.size() + 5; });
    Close(world, loop, receiver, ours);
    world.Close(theirs);
  });
}

TEST_CASE("a receive at once finds what a receive would, without a buffer") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    Driver& driver = world.driver();
    if (driver.Name() == std::string("epoll")) return;  // its receives need no buffer
    for (const bool in_blocks : {false, true}) {
      const auto [ours, theirs] = world.Pair();
      const auto receive = [&, fd = ours] {
        Completion completion;
        const std::span<const uint8_t> bytes = driver.ReceiveAtOnce(fd, in_blocks, completion);
        if (completion.result > 0) CHECK_EQ(completion.result, static_cast<int32_t>(bytes.size()));
        Block* block = completion.result > 0 && in_blocks ? driver.Detach(completion) : nullptr;
        const std::string text(bytes.begin(), bytes.end());
        if (block != nullptr) CHECK(block->data() == bytes.data());
        if (block != nullptr) block->Unref();
        return std::make_pair(completion.result, text);
      };
      CHECK_EQ(receive().first, -EAGAIN);
      CHECK_EQ(world.PeerSend(theirs, "who had to wait"), 15);
      std::string received;
      while (received.size() < 15) received += receive().second;
      CHECK_EQ(received, "who had to wait");
      CHECK_EQ(receive().first, -EAGAIN);
      world.ShutdownWrite(theirs);
      CHECK_EQ(receive().first, 0);
      CHECK_EQ(receive().first, 0);
      Close(world, loop, {9, 1, Op::kReceive}, ours);
      world.Close(theirs);

      const auto [reset, resetter] = world.Pair();
      world.PeerReset(resetter);
      Completion completion;
      CHECK(driver.ReceiveAtOnce(reset, in_blocks, completion).empty());
      CHECK_EQ(completion.result, -ECONNRESET);
      Close(world, loop, {9, 1, Op::kReceive}, reset);
    }
  });
}

TEST_CASE("running out of receive buffers is no loss and no spinning") {
  const DriverOptions scarce{.receive_buffer_bytes = 128, .receive_buffers = 2};
  OnEvery(scarce, [](DriverWorld& world, DriverLoop& loop) {
    constexpr uint32_t kConnections = 20;
    std::vector<std::pair<int, int>> pairs;
    std::vector<std::string> texts;
    std::vector<size_t> sent(kConnections, 0);
    for (uint32_t i = 0; i < kConnections; ++i) {
      pairs.push_back(world.Pair());
      texts.push_back(Text(4000, i));
      loop.KeepReceiving({i, 1, Op::kReceive}, pairs[i].first);
    }
    const auto slot = [&](uint32_t i) -> DriverLoop::Slot& { return loop.At({i, 1, Op::kReceive}); };
    const auto all_there = [&] {
      for (uint32_t i = 0; i < kConnections; ++i) {
        if (slot(i).received.size() < texts[i].size()) return false;
      }
      return true;
    };
    while (!all_there()) {
      for (uint32_t i = 0; i < kConnections; ++i) {
        if (sent[i] == texts[i].size()) continue;
        const ssize_t count = world.PeerSend(pairs[i].second, std::string_view(texts[i]).substr(sent[i]));
        if (count > 0) sent[i] += static_cast<size_t>(count);
      }
      loop.Poll();
    }
    size_t starved = 0;
    size_t data_completions = 0;
    for (uint32_t i = 0; i < kConnections; ++i) {
      CHECK(slot(i).received == texts[i]);
      starved += slot(i).starved;
      data_completions += slot(i).data_completions;
    }
    // At worst everybody starves once while the two buffers are out.
    CHECK_LE(starved, kConnections * (data_completions + 1));
    // All quiet: whoever waits now waits for bytes, not for buffers.
    while (loop.Poll() > 0) {
    }
    for (int i = 0; i < 10; ++i) {
      if (!world.is_fake()) CHECK_EQ(loop.Poll(), 0);
    }
    for (uint32_t i = 0; i < kConnections; ++i) loop.Release({i, 1, Op::kReceive});
    for (uint32_t i = 0; i < kConnections; ++i) world.driver().Cancel({i, 1, Op::kReceive}, pairs[i].first);
    loop.Until([&] { return world.driver().InFlight() == 0; });
    for (const auto& [ours, theirs] : pairs) {
      world.driver().Forget(ours);
      world.Close(ours);
      world.Close(theirs);
    }
  });
}

TEST_CASE("stopping a receive loses nothing, and it can be started again") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData receiver{1, 1, Op::kReceive};
    const std::string text = Text(world.is_fake() ? 5'000 : 200'000, 5);
    const auto [ours, theirs] = world.Pair();
    Driver& driver = world.driver();
    std::mt19937_64 random(7);
    size_t sent = 0;
    bool armed = false;
    int ends = 0;
    DriverLoop::Slot& slot = loop.At(receiver);
    driver.StopReceive(receiver, ours);  // nothing is armed: nothing happens
    while (slot.received.size() < text.size()) {
      if (armed && slot.receive_ends > ends) {
        armed = false;
        ends = slot.receive_ends;
      }
      if (!armed) {
        driver.Receive(receiver, ours);
        armed = true;
      }
      if (sent < text.size()) {
        const ssize_t count = world.PeerSend(theirs, std::string_view(text).substr(sent, 1 + random() % 2000));
        if (count > 0) sent += static_cast<size_t>(count);
      }
      if (random() % 2 == 0) loop.Poll();
      if (random() % 3 == 0 && slot.receive_ends == ends) {
        driver.StopReceive(receiver, ours);
        loop.Until([&] { return slot.receive_ends > ends; });
      }
    }
    CHECK(slot.received == text);
    if (slot.receive_ends == ends) driver.StopReceive(receiver, ours);
    loop.Until([&] { return driver.InFlight() == 0; });

    // A socket that is readable and stopped wakes nobody.
    CHECK_EQ(world.PeerSend(theirs, "later"), 5);
    for (int i = 0; i < 10; ++i) CHECK_EQ(loop.Poll(), 0);
    world.ShutdownWrite(theirs);
    for (int i = 0; i < 10; ++i) CHECK_EQ(loop.Poll(), 0);
    loop.KeepReceiving(receiver, ours);
    loop.Until([&] { return slot.receive_result == 0; });
    CHECK(slot.received == text + "later");
    driver.Forget(ours);
    world.Close(ours);
    world.Close(theirs);
  });
}

TEST_CASE("cancelling ends everything on a descriptor, and nothing elsewhere") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData receiver{1, 1, Op::kReceive};
    const UserData sender{1, 1, Op::kSend};
    const UserData bystander{2, 1, Op::kReceive};
    Driver& driver = world.driver();
    const auto [ours, theirs] = world.Pair();
    const auto [other, other_peer] = world.Pair();
    loop.KeepReceiving(bystander, other);
    driver.Receive(receiver, ours);
    // The peer takes nothing: at last a send pends.
    const std::string text(1'000'000, 'x');
    const iovec part{const_cast<char*>(text.data()), text.size()};
    for (;;) {
      loop.At(sender).sent = -EINPROGRESS;
      if (driver.Send(sender, ours, &part, 1) != kSendPending) continue;
      bool came = false;
      for (int i = 0; i < 200 && !came; ++i) {
        loop.Poll();
        came = loop.At(sender).sent != -EINPROGRESS;
      }
      if (!came) break;
    }
    driver.Cancel(receiver, ours);
    loop.Until([&] { return loop.At(sender).sent != -EINPROGRESS && loop.At(receiver).receive_ends == 1; });
    CHECK_EQ(loop.At(receiver).receive_result, -ECANCELED);
    const int32_t sent = loop.At(sender).sent;
    CHECK((sent == -ECANCELED || (sent > 0 && sent < 1'000'000)));

    CHECK_EQ(world.PeerSend(other_peer, "still here"), 10);
    loop.Until([&] { return loop.At(bystander).received == "still here"; });
    driver.Forget(ours);
    world.Close(ours);
    world.Close(theirs);
    Close(world, loop, bystander, other);
    world.Close(other_peer);
  });
}

TEST_CASE("stopping a receive leaves a pending send alone") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData receiver{1, 1, Op::kReceive};
    Driver& driver = world.driver();
    const std::string text = Text(world.is_fake() ? 5'000 : 500'000, 9);
    const auto [ours, theirs] = world.Pair();
    Sender sender(driver, loop, {1, 1, Op::kSend}, ours, text, 4);
    driver.Receive(receiver, ours);
    sender.Go();
    driver.StopReceive(receiver, ours);
    std::string at_peer;
    while (at_peer.size() < text.size()) {
      char bytes[4096];
      const ssize_t count = world.PeerReceive(theirs, bytes, sizeof(bytes));
      if (count > 0) at_peer.append(bytes, static_cast<size_t>(count));
      sender.Go();
      loop.Poll();
    }
    CHECK(at_peer == text);
    loop.Until([&] { return driver.InFlight() == 0; });
    CHECK_EQ(loop.At(receiver).receive_result, -ECANCELED);
    driver.Forget(ours);
    world.Close(ours);
    world.Close(theirs);
  });
}

TEST_CASE("connects, and says why not") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData connector{1, 1, Op::kConnect};
    const UserData refused{2, 1, Op::kConnect};
    const UserData acceptor{3, 1, Op::kAccept};
    Driver& driver = world.driver();
    const int listener = world.Listen();
    loop.KeepAccepting(acceptor, listener);
    const int fd = world.Socket();
    const int refused_fd = world.Socket();
    const auto [address, length] = world.AddressOf(listener);
    const auto [nowhere, nowhere_length] = world.RefusingAddress();
    driver.Connect(connector, fd, reinterpret_cast<const sockaddr*>(&address), length);
    driver.Connect(refused, refused_fd, reinterpret_cast<const sockaddr*>(&nowhere), nowhere_length);
    loop.Until([&] {
      return loop.At(connector).connected != -EINPROGRESS && loop.At(refused).connected != -EINPROGRESS &&
             loop.At(acceptor).accepted.size() == 1;
    });
    CHECK_EQ(loop.At(connector).connected, 0);
    CHECK_EQ(loop.At(refused).connected, -ECONNREFUSED);

    // What was connected carries bytes.
    const int server = loop.At(acceptor).accepted.front();
    CHECK_EQ(world.PeerSend(server, "welcome"), 7);
    const UserData receiver{1, 1, Op::kReceive};
    loop.KeepReceiving(receiver, fd);
    loop.Until([&] { return loop.At(receiver).received == "welcome"; });
    loop.Release(acceptor);
    loop.Release(receiver);
    driver.Cancel(receiver, fd);
    driver.Cancel(acceptor, listener);
    loop.Until([&] { return driver.InFlight() == 0; });
    for (const int each : {fd, refused_fd, listener}) {
      driver.Forget(each);
      world.Close(each);
    }
    world.Close(server);
  });
}

TEST_CASE("a peer's reset is an error of its receive and of its sends") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData receiver{1, 1, Op::kReceive};
    const UserData sender{1, 1, Op::kSend};
    Driver& driver = world.driver();
    const auto [ours, theirs] = world.Pair();
    loop.KeepReceiving(receiver, ours);
    while (loop.Poll() > 0) {
    }
    world.PeerReset(theirs);
    loop.Until([&] { return loop.At(receiver).receive_result != -EINPROGRESS; });
    CHECK_EQ(loop.At(receiver).receive_result, -ECONNRESET);

    char byte = 'x';
    const iovec part{&byte, 1};
    int32_t sent = driver.Send(sender, ours, &part, 1);
    if (sent == kSendPending) {
      loop.Until([&] { return loop.At(sender).sent != -EINPROGRESS; });
      sent = loop.At(sender).sent;
    }
    CHECK((sent == -EPIPE || sent == -ECONNRESET));
    CHECK_EQ(driver.InFlight(), 0);
    driver.Forget(ours);
    world.Close(ours);
  });
}

TEST_CASE("the next owner of a slot and of a descriptor gets nothing of the last one's") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    Driver& driver = world.driver();
    int last_fd = -1;
    int reused = 0;
    for (uint32_t generation = 1; generation <= 20; ++generation) {
      const UserData receiver{1, generation, Op::kReceive};
      const auto [ours, theirs] = world.Pair();
      if (ours == last_fd) ++reused;
      last_fd = ours;
      const std::string text = "generation " + std::to_string(generation);
      loop.KeepReceiving(receiver, ours);
      CHECK_EQ(world.PeerSend(theirs, text), static_cast<ssize_t>(text.size()));
      // Of the odd ones the bytes and the cancellation cross.
      if (generation % 2 == 0) {
        loop.Until([&] { return loop.At(receiver).received == text; });
      } else {
        driver.Submit();
      }
      Close(world, loop, receiver, ours);
      world.Close(theirs);
      const std::string& received = loop.At(receiver).received;
      CHECK(text.starts_with(received));
      const std::vector<Completion>& completions = loop.At(receiver).completions;
      CHECK_EQ(std::count_if(completions.begin(), completions.end(),
                             [](const Completion& completion) { return !completion.more; }),
               loop.At(receiver).receive_ends);
    }
    CHECK_GT(reused, 0);
  });
}

TEST_CASE("watches an event: one completion per time it turns readable") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData watcher{1, 1, Op::kWatch};
    const int event = world.Event();
    world.RingEvent(event);  // readable before it is watched
    loop.KeepWatching(watcher, event);
    for (int i = 1; i <= 5; ++i) {
      loop.Until([&] { return loop.At(watcher).watched >= i; });
      CHECK_EQ(loop.At(watcher).watched, i);
      world.ReadEvent(event);
      for (int quiet = 0; quiet < 5 && !world.is_fake(); ++quiet) CHECK_EQ(loop.Poll(), 0);
      world.RingEvent(event);
    }
    loop.Until([&] { return loop.At(watcher).watched == 6; });
    world.ReadEvent(event);
    Close(world, loop, watcher, event);
  });
}

TEST_CASE("shutting a socket down ends its receive") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData receiver{1, 1, Op::kReceive};
    Driver& driver = world.driver();
    const auto [ours, theirs] = world.Pair();
    loop.KeepReceiving(receiver, ours);
    loop.Poll();
    world.Shutdown(ours);
    loop.Until([&] { return driver.InFlight() == 0; });
    CHECK_EQ(loop.At(receiver).receive_result, 0);
    driver.Forget(ours);
    world.Close(ours);
    char byte;
    CHECK_EQ(world.PeerReceive(theirs, &byte, 1), 0);
    world.Close(theirs);
  });
}

TEST_CASE("a descriptor is closed safely whatever was in flight on it") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    Driver& driver = world.driver();
    const std::string text(100'000, 'y');
    const iovec part{const_cast<char*>(text.data()), text.size()};
    for (uint32_t round = 1; round <= 10; ++round) {
      const UserData receiver{1, round, Op::kReceive};
      const UserData sender{1, round, Op::kSend};
      const auto [ours, theirs] = world.Pair();
      driver.Receive(receiver, ours);
      if (round % 2 == 0) world.PeerSend(theirs, "crossing");
      driver.Send(sender, ours, &part, 1);
      if (round % 3 == 0) loop.Poll();
      world.Shutdown(ours);
      driver.Cancel(receiver, ours);
      loop.Until([&] { return driver.InFlight() == 0; });
      driver.Forget(ours);
      world.Close(ours);
      world.Close(theirs);
      CHECK_EQ(loop.At(receiver).receive_ends, 1);
    }
  });
}

TEST_CASE("a reset while nothing waits is kept for the next receive") {
  OnEach(RealWorlds(), kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData receiver{1, 1, Op::kReceive};
    Driver& driver = world.driver();
    const auto [ours, theirs] = world.Pair();
    driver.Receive(receiver, ours);
    driver.StopReceive(receiver, ours);
    loop.Until([&] { return driver.InFlight() == 0; });
    world.PeerReset(theirs);
    for (int i = 0; i < 10; ++i) CHECK_EQ(loop.Poll(), 0);
    if (driver.PollFd() >= 0) {
      pollfd poll{driver.PollFd(), POLLIN, 0};
      CHECK_EQ(::poll(&poll, 1, 0), 0);
    }
    driver.Receive(receiver, ours);
    loop.Until([&] { return driver.InFlight() == 0; });
    CHECK_EQ(loop.At(receiver).receive_result, -ECONNRESET);
    driver.Forget(ours);
    world.Close(ours);
  });
}

TEST_CASE("too few file descriptors end an accept with an error, and it can be started again") {
  OnEach(RealWorlds(), kSmall, [](DriverWorld& world, DriverLoop& loop) {
    const UserData acceptor{1, 1, Op::kAccept};
    const int listener = world.Listen();
    const int peer = world.PeerDial(listener);
    rlimit limit;
    REQUIRE_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    const int next = ::dup(listener);  // the lowest free number
    ::close(next);
    const rlimit none_left{static_cast<rlim_t>(next), limit.rlim_max};
    REQUIRE_EQ(::setrlimit(RLIMIT_NOFILE, &none_left), 0);
    world.driver().Accept(acceptor, listener);
    loop.Until([&] { return world.driver().InFlight() == 0; });
    REQUIRE_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_EQ(loop.At(acceptor).completions.back().result, -EMFILE);
    CHECK(loop.At(acceptor).accepted.empty());

    loop.KeepAccepting(acceptor, listener);
    loop.Until([&] { return loop.At(acceptor).accepted.size() == 1; });
    Close(world, loop, acceptor, listener);
    world.Close(loop.At(acceptor).accepted.front());
    world.Close(peer);
  });
}

// Each step adds an operation or a transfer; the reset comes after any number of them.
TEST_CASE("a reset at every step ends all that is in flight, each operation once") {
  OnEvery(kSmall, [](DriverWorld& world, DriverLoop& loop) {
    Driver& driver = world.driver();
    const std::string text(100'000, 'z');
    const iovec part{const_cast<char*>(text.data()), text.size()};
    constexpr uint32_t kSteps = 7;
    for (uint32_t last = 0; last <= kSteps; ++last) {
      const UserData receiver{1, last + 1, Op::kReceive};
      const UserData sender{1, last + 1, Op::kSend};
      const auto [ours, theirs] = world.Pair();
      bool receives = false;
      bool sends = false;
      int32_t sent = 0;
      for (uint32_t step = 1; step <= last; ++step) {
        switch (step) {
          case 1:
            world.PeerSend(theirs, "early");
            break;
          case 2:
            driver.Receive(receiver, ours);
            receives = true;
            break;
          case 3:
            driver.Submit();
            break;
          case 4:
            sent = driver.Send(sender, ours, &part, 1);
            sends = sent == kSendPending;
            break;
          case 5:
            loop.Poll();
            break;
          case 6:
            if (loop.At(receiver).receive_ends == 0) driver.StopReceive(receiver, ours);
            break;
          default:
            driver.Cancel(receiver, ours);
        }
      }
      world.PeerReset(theirs);
      if (receives && last < kSteps) {
        // Whoever stops it learns of the reset at the next receive or not at all.
        loop.Until([&] { return loop.At(receiver).receive_ends > 0 || driver.InFlight() == 0; });
      }
      driver.Cancel(receiver, ours);
      loop.Until([&] { return driver.InFlight() == 0; });
      CHECK_EQ(loop.At(receiver).receive_ends, receives ? 1 : 0);
      // Who may have been told in its place knows that 0 need not be an end.
      if (receives && !sends) CHECK_NE(loop.At(receiver).receive_result, 0);
      const std::vector<Completion>& completions = loop.At(receiver).completions;
      CHECK_EQ(std::count_if(completions.begin(), completions.end(),
                             [](const Completion& completion) { return completion.data.op == Op::kSend; }),
               sends ? 1 : 0);
      CHECK(std::string("early").starts_with(loop.At(receiver).received));
      driver.Forget(ours);
      world.Close(ours);
    }
  });
}

// What a scripted caller sees of a fake with this seed, in words.
std::string TraceOf(uint64_t seed) {
  FakeDriver fake({.seed = seed, .completion_entries = 4});
  REQUIRE_EQ(fake.Start(), 0);
  std::string trace;
  std::vector<std::pair<int, int>> pairs;
  for (uint32_t i = 0; i < 8; ++i) {
    pairs.push_back(fake.Pair());
    fake.Receive({i, 1, Op::kReceive}, pairs[i].first);
  }
  const std::string text = Text(100, 1);
  for (int turn = 0; turn < 50; ++turn) {
    for (const auto& [ours, theirs] : pairs) {
      fake.PeerSend(theirs, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
    }
    fake.Submit();
    Completion batch[8];
    const size_t count = fake.Reap(batch);
    for (size_t i = 0; i < count; ++i) {
      if (batch[i].has_data) fake.Take(batch[i]);
      trace +=
          std::to_string(batch[i].data.slot) + ":" + std::to_string(batch[i].result) + (batch[i].more ? "+ " : " ");
    }
    fake.EndDispatch();
    for (size_t i = 0; i < count; ++i) {
      if (!batch[i].more) fake.Receive(batch[i].data, pairs[batch[i].data.slot].first);
    }
  }
  for (const auto& [ours, theirs] : pairs) fake.Cancel({}, ours);
  while (fake.InFlight() > 0) {
    fake.Submit();
    Completion completion;
    if (fake.Reap({&completion, 1}) == 1 && completion.has_data) fake.Take(completion);
    fake.EndDispatch();
  }
  return trace;
}

TEST_CASE("the fake replays its seed") {
  CHECK_GT(TraceOf(1).size(), 100);
  CHECK_EQ(TraceOf(1), TraceOf(1));
  CHECK_NE(TraceOf(1), TraceOf(2));
}

// Memory, descriptors, the network: errors that no test can ask a kernel for at will.
TEST_CASE("an operation that fails for any reason gives one last completion, and can be started again") {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    INFO("fake, seed " << seed);
    FakeDriver fake({.seed = seed, .trouble_percent = 40});
    REQUIRE_EQ(fake.Start(), 0);
    const int listener = fake.Listen();
    std::set<int32_t> errors;
    std::map<uint64_t, int> in_flight;
    std::vector<int> ends{listener};
    std::vector<int> accepted;
    const auto began = [&in_flight](UserData data) { CHECK_EQ(++in_flight[data.Pack()], 1); };
    fake.Accept({0, 1, Op::kAccept}, listener);
    began({0, 1, Op::kAccept});
    for (int i = 0; i < 10; ++i) ends.push_back(fake.PeerDial(listener));
    char byte = 'x';
    const iovec part{&byte, 1};
    for (int turn = 0; turn < 300; ++turn) {
      fake.Submit();
      Completion batch[8];
      const size_t count = fake.Reap(batch);
      for (size_t i = 0; i < count; ++i) {
        Completion& completion = batch[i];
        const UserData data = completion.data;
        CHECK_EQ(in_flight[data.Pack()], 1);
        if (completion.has_data) {
          fake.Take(completion);
        } else if (completion.result < 0) {
          errors.insert(completion.result);
          CHECK_FALSE(completion.more);
        }
        if (!completion.more) in_flight[data.Pack()] = 0;
        if (data.op == Op::kAccept) {
          if (completion.result >= 0) accepted.push_back(completion.result);
          if (!completion.more) {
            fake.Accept(data, listener);
            began(data);
          }
        }
      }
      fake.EndDispatch();
      for (size_t i = 0; i < accepted.size(); ++i) {
        const UserData receive{static_cast<uint32_t>(i + 1), 1, Op::kReceive};
        const UserData send{static_cast<uint32_t>(i + 1), 1, Op::kSend};
        if (in_flight[receive.Pack()] == 0) {
          fake.Receive(receive, accepted[i]);
          began(receive);
        }
        if (in_flight[send.Pack()] == 0 && fake.Send(send, accepted[i], &part, 1) == kSendPending) began(send);
        fake.PeerSend(ends[i + 1], {reinterpret_cast<const uint8_t*>(&byte), 1});
      }
    }
    CHECK(errors.contains(-ENOMEM));
    CHECK(errors.contains(-EMFILE));
    CHECK(errors.contains(-ECONNRESET));
    CHECK_EQ(accepted.size(), 10);
    fake.Cancel({}, listener);
    for (const int fd : accepted) fake.Cancel({}, fd);
    while (fake.InFlight() > 0) {
      fake.Submit();
      Completion completion;
      if (fake.Reap({&completion, 1}) == 1 && completion.has_data) fake.Take(completion);
      fake.EndDispatch();
    }
    for (const int fd : accepted) fake.CloseFd(fd);
    for (const int fd : ends) fake.CloseFd(fd);
    CHECK_EQ(fake.OpenFds(), 0);
  }
}

TEST_CASE("no wake-up is lost between two threads") {
  OnEach(RealWorlds(), kSmall, [](DriverWorld& world, DriverLoop& loop) {
    constexpr int kRounds = 5000;
    const UserData receiver{1, 1, Op::kReceive};
    const UserData sender{1, 1, Op::kSend};
    Driver& driver = world.driver();
    const auto [ours, theirs] = world.Pair();
    std::thread peer([&world, theirs = theirs] {
      char byte = 'p';
      for (int i = 0; i < kRounds; ++i) {
        if (world.PeerSend(theirs, {&byte, 1}) != 1) return;
        ssize_t count;
        while ((count = world.PeerReceive(theirs, &byte, 1)) == -EAGAIN) std::this_thread::yield();
        if (count != 1) return;
      }
    });
    loop.KeepReceiving(receiver, ours);
    char byte = 'q';
    const iovec part{&byte, 1};
    for (size_t i = 1; i <= kRounds; ++i) {
      loop.Until([&] { return loop.At(receiver).received.size() == i; });
      loop.At(sender).sent = -EINPROGRESS;
      if (driver.Send(sender, ours, &part, 1) == kSendPending) {
        loop.Until([&] { return loop.At(sender).sent == 1; });
      }
    }
    peer.join();
    Close(world, loop, receiver, ours);
    world.Close(theirs);
  });
}

}  // namespace
}  // namespace ringway::test
