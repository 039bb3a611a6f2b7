// Connections on every driver, over real sockets, with JavaScript's side played by the test.
#include "connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>

#include "driver/uring_driver.h"
#include "support/doctest_last.h"
#include "support/mean_driver.h"
#include "support/random_seed.h"
#include "support/reactor_bed.h"
#include "support/uring_refusal.h"

namespace ringway::test {
namespace {

template <typename Body>
void OnEach(const std::vector<DriverKind>& kinds, Body body) {
  for (const DriverKind& kind : kinds) {
    INFO("driver: " << kind.name);
    ReactorBed bed(kind);
    body(bed);
  }
}

template <typename Body>
void OnEachDriver(Body body) {
  OnEach(DriverKinds(), body);
}

// Sends every frame back: small ones from the ring, large ones as the block they came in.
void EchoFrames(ReactorBed& bed) {
  bed.js.on_frame = [&bed](const JsSide::Frame& frame) {
    const uint32_t length = htonl(static_cast<uint32_t>(frame.bytes.size()));
    const std::string_view header(reinterpret_cast<const char*>(&length), sizeof length);
    const auto size = static_cast<uint32_t>(frame.bytes.size());
    if (frame.block != nullptr) {
      frame.block->Ref();
      bed.js.SendBlock(frame.connection, header, frame.block, frame.offset, size);
    } else {
      bed.js.SendReceived(frame.connection, header, 0, frame.place, size);
    }
  };
}

bool IsClosed(const JsConnection& connection) { return connection.closed; }

// --- bytes

TEST_CASE("An echo is intact whatever the kernel splits, shortens and delays") {
  std::mt19937_64 random(RandomSeed());
  OnEachDriver([&](ReactorBed& bed) {
    EchoFrames(bed);
    constexpr int kConnections = 5;
    std::unique_ptr<Peer> peers[kConnections];
    std::string expected[kConnections];
    for (int i = 0; i < kConnections; ++i) {
      bed.Open(&peers[i], bed.Options(), i % 2 == 0);
      for (int n = 0; n < 60; ++n) {
        const size_t length = n % 20 == 7 ? Between(random, 65'000, 150'000) : Between(random, 0, 3000);
        expected[i] += Framed(RandomBytes(random(), length));
      }
    }
    // In pieces that know nothing of frames.
    std::string rest[kConnections];
    std::copy(std::begin(expected), std::end(expected), std::begin(rest));
    const bool done = bed.Until([&] {
      bool all = true;
      for (int i = 0; i < kConnections; ++i) {
        if (peers[i]->sent_all() && !rest[i].empty()) {
          const size_t piece = std::min<size_t>(rest[i].size(), Between(random, 1, 5000));
          peers[i]->Send({rest[i].data(), piece});
          rest[i].erase(0, piece);
        }
        all = all && peers[i]->received.size() >= expected[i].size();
      }
      return all;
    });
    CHECK(done);
    for (int i = 0; i < kConnections; ++i) {
      CHECK((peers[i]->received == expected[i]));
      CHECK_FALSE(bed.js.connections[static_cast<size_t>(i)]->closed);
    }
    CHECK(bed.Count(Counter::kFramesReceived) == bed.js.frames);
    CHECK(bed.Count(Counter::kStaleCompletions) == 0);
  });
}

TEST_CASE("A frame of any size comes whole; over 64 KB as a block, at once or byte by byte") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    std::vector<std::string> sent;
    for (const size_t length : {0, 1, 4091, 65'535, 65'536, 65'537, 300'000, 5}) {
      sent.push_back(RandomBytes(length, static_cast<size_t>(length)));
      peer->SendFrame(sent.back());
    }
    REQUIRE(bed.Until([&] { return connection.frames.size() == sent.size(); }));
    CHECK((connection.frames == sent));
    CHECK(connection.large_frames == 2);
    CHECK(bed.accounts.partial_bytes.load() == 0);
    connection.frames.clear();
    for (const char byte : Framed("one by one")) {
      peer->Send({&byte, 1});
      bed.Turn();
    }
    REQUIRE(bed.Until([&] { return !connection.frames.empty(); }));
    CHECK(connection.frames.front() == "one by one");
  });
}

TEST_CASE("Large frames that JavaScript has not taken are bounded, and freed with the engine") {
  OnEach(RealDriverKinds(), [](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options(), false);
    const std::string frame = RandomBytes(1, 4 << 20);
    constexpr int kFrames = 16;
    for (int i = 0; i < kFrames; ++i) peer->SendFrame(frame);
    bed.takes = false;
    // Nothing moves any more when so many turns changed nothing.
    uint64_t received = 0;
    for (int quiet = 0; quiet < 300; ++quiet) {
      bed.Turn();
      if (bed.Count(Counter::kBytesReceived) != received) quiet = 0;
      received = bed.Count(Counter::kBytesReceived);
    }
    CHECK(received < (uint64_t{48} << 20));
    bed.takes = true;
    const bool some = bed.Until([&] { return connection.large_frames >= kFrames / 2; });
    CHECK(some);
    bed.takes = false;
    CHECK_FALSE(peer->sent_all());
    // Two are in the ring when the reactor goes.
    const uint64_t before = bed.Count(Counter::kFramesReceived);
    const bool more = bed.Until([&] { return bed.Count(Counter::kFramesReceived) >= before + 2; });
    CHECK(more);
    CHECK(std::all_of(connection.frames.begin(), connection.frames.end(), [&](const auto& f) { return f == frame; }));
  });
}

// io_uring with buffers that hold a frame of 16 KB: as in earnest, but fewer.
TEST_CASE("Frames of 8 KB and more are handed over in their receive buffers, and no more than half of these") {
  constexpr size_t kBuffers = 16;
  if (!UringRefusal().empty()) {
    MESSAGE("not run: " << UringRefusal());
    return;
  }
  const std::vector<DriverKind> kinds{
      {"io_uring, 16 buffers",
       [] { return std::make_unique<UringDriver>(DriverOptions{.receive_buffers = kBuffers}); }}};
  OnEach(kinds, [&](ReactorBed& bed) {
    constexpr size_t kPeers = 12;
    std::unique_ptr<Peer> peers[kPeers];
    std::vector<JsConnection*> connections;
    for (std::unique_ptr<Peer>& peer : peers) connections.push_back(&bed.Open(&peer, bed.Options(), false));
    const auto frame = [](size_t peer, size_t round) { return RandomBytes(peer * 100 + round, 16'384); };
    // Nobody takes what came, and more comes.
    bed.takes = false;
    for (size_t i = 0; i < kPeers; ++i) peers[i]->SendFrame(frame(i, 0));
    bed.Turns(20);
    for (size_t i = 0; i < kPeers; ++i) peers[i]->SendFrame(frame(i, 1));
    bed.Turns(20);
    bed.takes = true;
    REQUIRE(bed.Until([&] { return bed.js.frames == 2 * kPeers; }));
    CHECK(bed.js.held_frames == kBuffers / 2);
    // What was held is free again.
    for (size_t round = 2; round < 6; ++round) {
      for (size_t i = 0; i < kPeers; ++i) peers[i]->SendFrame(frame(i, round));
      REQUIRE(bed.Until([&] { return bed.js.frames == (round + 1) * kPeers; }));
    }
    CHECK(bed.js.held_frames > 2 * kBuffers);
    for (size_t i = 0; i < kPeers; ++i) {
      for (size_t round = 0; round < 6; ++round) CHECK(connections[i]->frames[round] == frame(i, round));
    }
    // A shorter one is copied.
    const uint64_t held = bed.js.held_frames;
    peers[0]->SendFrame(std::string(8'191, 'x'));
    REQUIRE(bed.Until([&] { return bed.js.frames == 6 * kPeers + 1; }));
    CHECK(bed.js.held_frames == held);
  });
}

TEST_CASE("What is passed on out of a receive buffer arrives whole, though others receive meanwhile") {
  if (!UringRefusal().empty()) {
    MESSAGE("not run: " << UringRefusal());
    return;
  }
  const std::vector<DriverKind> kinds{
      {"io_uring, 8 buffers", [] { return std::make_unique<UringDriver>(DriverOptions{.receive_buffers = 8}); }}};
  OnEach(kinds, [&](ReactorBed& bed) {
    EchoFrames(bed);
    std::unique_ptr<Peer> peers[6];
    std::string expected[6];
    for (size_t i = 0; i < 6; ++i) bed.Open(&peers[i], bed.Options(), i % 2 == 0);
    for (size_t round = 0; round < 30; ++round) {
      for (size_t i = 0; i < 6; ++i) {
        const std::string payload = RandomBytes(round * 6 + i, 8'000 + round * 300);
        peers[i]->SendFrame(payload);
        expected[i] += Framed(payload);
      }
      bed.Turns(static_cast<int>(round % 3));
    }
    REQUIRE(bed.Until([&] {
      for (size_t i = 0; i < 6; ++i) {
        if (peers[i]->received.size() < expected[i].size()) return false;
      }
      return true;
    }));
    for (size_t i = 0; i < 6; ++i) CHECK(peers[i]->received == expected[i]);
    CHECK(bed.js.held_frames > 0);
  });
}

TEST_CASE("What is passed on from the ring arrives behind its header") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> from;
    std::unique_ptr<Peer> to;
    bed.Open(&from, bed.Options());
    JsConnection& target = bed.Open(&to, bed.Options());
    bed.js.on_frame = [&](const JsSide::Frame& frame) {
      bed.js.SendReceived(target, "head:", 0, frame.place, static_cast<uint32_t>(frame.bytes.size()));
    };
    std::string expected;
    for (int i = 0; i < 500; ++i) {
      const std::string payload = RandomBytes(static_cast<uint64_t>(i), static_cast<size_t>(i));
      from->SendFrame(payload);
      expected += "head:" + payload;
    }
    const bool all = bed.Until([&] { return to->received.size() == expected.size(); });
    CHECK(all);
    CHECK((to->received == expected));
  });
}

// --- opening and addresses

TEST_CASE("An accepted connection says where it comes from") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    const JsConnection& connection = bed.Open(&peer, bed.Options());
    sockaddr_storage local;
    socklen_t length = sizeof local;
    REQUIRE(::getsockname(peer->fd(), reinterpret_cast<sockaddr*>(&local), &length) == 0);
    CHECK(connection.address == "127.0.0.1");
    CHECK(connection.port == ntohs(reinterpret_cast<sockaddr_in&>(local).sin_port));
    CHECK(connection.listener == 1);
    CHECK(bed.Count(Counter::kAccepted) == 1);
  });
}

std::shared_ptr<ConnectionOptions> Outgoing(const ReactorBed& bed) {
  auto options = bed.Options();
  options->listener = 0;
  return options;
}

// As ReactorGroup::Connect does: the address dies with the mail.
void Connect(ReactorBed& bed, const sockaddr_storage& address, socklen_t length,
             std::shared_ptr<ConnectionOptions> options, uint32_t token) {
  bed.reactor->connections().fetch_add(1);
  bed.reactor->Post([address, length, token, shared = std::shared_ptr<const ConnectionOptions>(std::move(options))](
                        Reactor& reactor) { Connection::Connect(reactor, address, length, shared, token); });
}

TEST_CASE("An outgoing connection opens, or says why not") {
  OnEachDriver([](ReactorBed& bed) {
    sockaddr_storage address;
    socklen_t length;
    Fd listener = ListenOnLoopback(&address, &length);
    Connect(bed, address, length, Outgoing(bed), 77);
    REQUIRE(bed.Until([&] { return !bed.js.connections.empty(); }));
    CHECK(bed.js.Last().token == 77);
    CHECK(bed.js.Last().listener == 0);
    Peer peer(Fd(::accept4(listener.Get(), nullptr, nullptr, SOCK_CLOEXEC)));
    bed.peers.push_back(&peer);
    peer.SendFrame("hello");
    bed.js.Send(bed.js.Last(), "and back");
    const bool both = bed.Until([&] { return bed.js.Last().frames.size() == 1 && peer.received == "and back"; });
    CHECK(both);
    bed.peers.clear();

    listener.Reset();
    Connect(bed, address, length, Outgoing(bed), 78);
    REQUIRE(bed.Until([&] { return !bed.js.unopened.empty(); }));
    CHECK(bed.js.unopened.front().token == 78);
    CHECK(bed.js.unopened.front().reason == static_cast<uint32_t>(CloseReason::kConnectFailed));
    CHECK(bed.js.unopened.front().error == ECONNREFUSED);
    CHECK(bed.Count(Counter::kConnects) == 1);
    CHECK(bed.Count(Counter::kConnectErrors) == 1);
  });
}

// A listener whose backlog is full takes no more: SYNs are dropped.
struct Unanswering {
  sockaddr_storage address;
  socklen_t length = sizeof address;
  Fd listener = ListenOnLoopback(&address, &length);
  std::vector<Fd> waiting;

  Unanswering() {
    REQUIRE(::listen(listener.Get(), 0) == 0);
    for (int i = 0; i < 3; ++i) {
      waiting.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      ::connect(waiting.back().Get(), reinterpret_cast<sockaddr*>(&address), length);
    }
  }
};

TEST_CASE("Connecting has a deadline, counted from when it was asked for") {
  OnEachDriver([](ReactorBed& bed) {
    const Unanswering nobody;
    bed.Turns(5);
    // Node's loop slept: the reactor's idea of the time is old when the command comes.
    AdvanceTestTime(60'000);
    Connect(bed, nobody.address, nobody.length, Outgoing(bed), 5);
    bed.reactor->RunCommands();
    bed.Turns(20);
    CHECK(bed.js.unopened.empty());
    bed.Pass(4800);
    CHECK(bed.js.unopened.empty());
    bed.Pass(400);
    REQUIRE(bed.js.unopened.size() == 1);
    CHECK(bed.js.unopened.front().token == 5);
    CHECK(bed.js.unopened.front().reason == static_cast<uint32_t>(CloseReason::kConnectTimeout));
  });
}

// --- framing errors

TEST_CASE("A frame over the maximum closes with both numbers, and nobody else notices") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    std::unique_ptr<Peer> other;
    auto options = bed.Options();
    options->framing.max_frame_length = 1000;
    JsConnection& bad = bed.Open(&peer, options);
    JsConnection& good = bed.Open(&other, options);
    peer->SendFrame("before");
    peer->SendFrame(std::string(1001, 'x'));
    peer->SendFrame("behind");
    REQUIRE(bed.Until([&] { return peer->finished; }));
    peer->Finish();
    REQUIRE(bed.Until([&] { return bad.closed; }));
    CHECK(bad.reason() == CloseReason::kFrameTooLong);
    CHECK(bad.close.declared_low == 1001);
    CHECK(bad.close.limit_low == 1000);
    CHECK(bad.frames == std::vector<std::string>{"before"});
    other->SendFrame("fine");
    const bool fine = bed.Until([&] { return good.frames.size() == 1; });
    CHECK(fine);
    CHECK(bed.Count(Counter::kFramesTooLong) == 1);
  });
}

TEST_CASE("Incomplete frames have a deadline: 30 s and the frame's length at 16 KB/s") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> stalled;
    std::unique_ptr<Peer> slow;
    JsConnection& short_frame = bed.Open(&stalled, bed.Options());
    JsConnection& long_frame = bed.Open(&slow, bed.Options());
    stalled->Send(Framed("0123456789").substr(0, 7));
    slow->Send(Framed(std::string(320 * 1024, 'x')).substr(0, 1000));
    bed.Turns(30);
    bed.Pass(29'000);
    CHECK_FALSE(stalled->finished);
    bed.Pass(1'500);
    REQUIRE(bed.Until([&] { return stalled->finished; }));
    stalled->Close();
    REQUIRE(bed.Until([&] { return short_frame.closed; }));
    CHECK(short_frame.reason() == CloseReason::kPartialFrameTimeout);
    bed.Pass(19'000);
    CHECK_FALSE(slow->finished);
    bed.Pass(2'000);
    REQUIRE(bed.Until([&] { return slow->finished; }));
    slow->Close();
    REQUIRE(bed.Until([&] { return long_frame.closed; }));
    CHECK(long_frame.reason() == CloseReason::kPartialFrameTimeout);
    CHECK(bed.Count(Counter::kPartialFrameTimeouts) == 2);
  });
}

TEST_CASE("Time in which nobody reads does not count against the peer") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    auto options = bed.Options();
    options->idle_timeout_ms = 40'000;
    JsConnection& connection = bed.Open(&peer, options);
    peer->Send(Framed("0123456789").substr(0, 7));
    bed.Turns(30);
    bed.js.Pause(connection);
    bed.Turns(5);
    for (int i = 0; i < 10; ++i) bed.Pass(30'000);
    CHECK(connection.idles == 0);
    bed.js.Resume(connection);
    bed.Turns(5);
    bed.Pass(29'000);
    CHECK_FALSE(connection.closed);
    peer->Send(Framed("0123456789").substr(7));
    const bool whole = bed.Until([&] { return connection.frames.size() == 1; });
    CHECK(whole);
    CHECK(connection.frames.front() == "0123456789");
    bed.Pass(39'000);
    CHECK(connection.idles == 0);
    bed.Pass(2'000);
    CHECK(connection.idles == 1);
  });
}

TEST_CASE("Partial frames of all connections together are bounded") {
  OnEachDriver([](ReactorBed& bed) {
    bed.accounts.max_partial_bytes = 300'000;
    std::unique_ptr<Peer> peers[4];
    for (auto& peer : peers) {
      bed.Open(&peer, bed.Options());
      peer->Send(Framed(std::string(200'000, 'x')).substr(0, 100'000));
    }
    const auto full = [&] {
      return std::count_if(std::begin(peers), std::end(peers), [](const auto& peer) { return peer->finished; });
    };
    REQUIRE(bed.Until([&] { return full() > 0; }));
    for (auto& peer : peers) peer->Close();
    const bool closed = bed.Until([&] {
      return std::all_of(bed.js.connections.begin(), bed.js.connections.end(),
                         [](const auto& connection) { return IsClosed(*connection); });
    });
    CHECK(closed);
    CHECK(bed.Count(Counter::kMemoryFull) >= 1);
    CHECK(bed.accounts.partial_bytes.load() == 0);
  });
}

TEST_CASE("Who holds little of an incomplete frame does not pay for those who filled the bound") {
  OnEachDriver([](ReactorBed& bed) {
    bed.accounts.max_partial_bytes = 300'000;
    std::unique_ptr<Peer> greedy[2];
    for (auto& peer : greedy) {
      bed.Open(&peer, bed.Options());
      peer->Send(Framed(std::string(200'000, 'x')).substr(0, 100'000));
    }
    const int64_t expected = 2 * 100'000;
    REQUIRE(bed.Until([&] { return greedy[0]->sent_all() && greedy[1]->sent_all(); }));
    REQUIRE(bed.Until([&] { return bed.accounts.partial_bytes.load() >= expected; }));
    std::unique_ptr<Peer> modest[40];
    std::vector<JsConnection*> spared;
    for (auto& peer : modest) {
      spared.push_back(&bed.Open(&peer, bed.Options()));
      peer->Send(Framed("0123456789").substr(0, 7));
    }
    // A share is 6,976 bytes, an outgoing connection's 18,750.
    std::unique_ptr<Peer> backend;
    auto outgoing = bed.Options();
    outgoing->listener = 0;
    spared.push_back(&bed.Open(&backend, outgoing));
    backend->Send(Framed(std::string(12'000, 'y')).substr(0, 11'000));
    REQUIRE(bed.Until([&] { return bed.accounts.partial_bytes.load() > 300'000; }));
    REQUIRE(bed.Until([&] { return backend->sent_all(); }));
    for (auto& peer : modest) peer->Send(Framed("0123456789").substr(7));
    backend->Send(Framed(std::string(12'000, 'y')).substr(11'000));
    REQUIRE(bed.Until([&] {
      return std::all_of(spared.begin(), spared.end(),
                         [](const JsConnection* one) { return one->closed || one->frames.size() == 1; });
    }));
    CHECK(std::none_of(spared.begin(), spared.end(), [](const JsConnection* one) { return one->closed; }));
    CHECK(bed.Count(Counter::kMemoryFull) == 0);
    greedy[0]->Send(std::string(90'000, 'x'));
    greedy[1]->Send(std::string(90'000, 'x'));
    REQUIRE(bed.Until([&] { return greedy[0]->sent_all() && greedy[1]->sent_all(); }));
    for (auto& peer : greedy) peer->Close();
    for (auto& peer : modest) peer->Close();
    backend->Close();
    CHECK(bed.Until([&] { return bed.accounts.partial_bytes.load() == 0; }));
  });
}

TEST_CASE("The idle event comes after silence, and again after as much of it") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    bed.Pass(299'000);
    CHECK(connection.idles == 0);
    peer->SendFrame("still here");
    REQUIRE(bed.Until([&] { return connection.frames.size() == 1; }));
    bed.Pass(299'000);
    CHECK(connection.idles == 0);
    bed.Pass(1'100);
    CHECK(connection.idles == 1);
    bed.Pass(299'000);
    CHECK(connection.idles == 1);
    bed.Pass(1'100);
    CHECK(connection.idles == 2);
    CHECK_FALSE(connection.closed);
  });
}

// --- sending

TEST_CASE("A peer that takes nothing is reset after writeStallTimeoutMs, not before") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    bed.Turns(5);
    peer->reads = false;
    // The clock of the reactor is old when the send comes, and the connection's timer is about to come.
    AdvanceTestTime(29'900);
    bed.js.Send(connection, std::string(1'000'000, 'x'));
    bed.js.Publish();
    bed.reactor->RunCommands();
    bed.Turns(50);
    bed.Pass(28'000);
    CHECK_FALSE(connection.closed);
    bed.Pass(3'000);
    REQUIRE(bed.Until([&] { return connection.closed; }));
    CHECK(connection.reason() == CloseReason::kWriteStalled);
    CHECK(connection.sent() < 1'000'000);
    CHECK(bed.Count(Counter::kWriteStalls) == 1);
    peer->reads = true;
    const bool reset = bed.Until([&] { return peer->error != 0 || peer->finished; });
    CHECK(reset);
    CHECK(peer->error == ECONNRESET);
  });
}

TEST_CASE("Close sends what is queued, then FIN, then waits for the peer's") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    const std::string bytes = RandomBytes(4, 500'000);
    for (size_t at = 0; at < bytes.size(); at += 10'000) bed.js.Send(connection, {&bytes[at], 10'000});
    bed.js.Close(connection, CloseReason::kRequestFailed);
    bed.js.Send(connection, "too late");
    bed.js.Publish();
    // Frames no longer count, but are read: no reset destroys what the peer has not read.
    for (int i = 0; i < 20; ++i) peer->SendFrame(std::string(1000, 'y'));
    REQUIRE(bed.Until([&] { return peer->finished; }));
    CHECK((peer->received == bytes));
    CHECK_FALSE(connection.closed);
    peer->Finish();
    REQUIRE(bed.Until([&] { return connection.closed; }));
    CHECK(connection.reason() == CloseReason::kRequestFailed);
    CHECK(connection.sent() == bytes.size());
    CHECK(connection.frames.empty());
    CHECK(peer->error == 0);
  });
}

TEST_CASE("A peer that does not answer FIN is left after 2 s; one that floods, after 64 KB") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> silent;
    std::unique_ptr<Peer> flooding;
    JsConnection& first = bed.Open(&silent, bed.Options());
    bed.js.Close(first);
    REQUIRE(bed.Until([&] { return silent->finished; }));
    bed.Pass(1'900);
    CHECK_FALSE(first.closed);
    bed.Pass(200);
    const bool closed = bed.Until([&] { return first.closed; });
    CHECK(closed);

    JsConnection& second = bed.Open(&flooding, bed.Options());
    bed.js.Close(second);
    flooding->Send(std::string(1 << 20, 'x'));
    const bool left = bed.Until([&] { return second.closed; });
    CHECK(left);
    CHECK(bed.Count(Counter::kDroppedBytesAfterClose) > 65'536);
  });
}

TEST_CASE("What comes while a closing connection still flushes does not shorten the moment after FIN") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    peer->reads = false;
    bed.js.Send(connection, RandomBytes(1, 300'000));
    bed.js.Close(connection);
    bed.Turns(20);
    peer->Send(std::string(200'000, 'x'));
    REQUIRE(bed.Until([&] { return peer->sent_all(); }));
    bed.Turns(200);
    peer->reads = true;
    REQUIRE(bed.Until([&] { return peer->finished; }));
    CHECK(peer->received.size() == 300'000);
    CHECK_FALSE(connection.closed);
    peer->Send("a few more");
    bed.Turns(50);
    CHECK_FALSE(connection.closed);
    CHECK(peer->error == 0);
  });
}

TEST_CASE("Closing towards a peer that does not read ends, also with every timeout off") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    auto options = bed.Options();
    options->idle_timeout_ms = options->partial_frame_timeout_ms = options->write_stall_timeout_ms = 0;
    JsConnection& connection = bed.Open(&peer, options);
    peer->reads = false;
    bed.js.Send(connection, std::string(1'000'000, 'x'));
    bed.js.Close(connection);
    bed.Turns(50);
    bed.Pass(29'000);
    CHECK_FALSE(connection.closed);
    bed.Pass(2'000);
    const bool closed = bed.Until([&] { return connection.closed; });
    CHECK(closed);
    CHECK(connection.reason() == CloseReason::kClosed);
  });
}

TEST_CASE("Abort resets, also with a send in flight") {
  OnEachDriver([](ReactorBed& bed) {
    for (const size_t queued : {0, 1'000'000}) {
      std::unique_ptr<Peer> peer;
      JsConnection& connection = bed.Open(&peer, bed.Options());
      peer->reads = false;
      bed.js.Send(connection, std::string(static_cast<size_t>(queued), 'x'));
      bed.Turns(50);
      bed.js.Abort(connection);
      bed.js.Abort(connection);
      REQUIRE(bed.Until([&] { return connection.closed; }));
      CHECK(connection.reason() == CloseReason::kAborted);
      peer->reads = true;
      const bool reset = bed.Until([&] { return peer->error != 0 || peer->finished; });
      CHECK(reset);
      CHECK(peer->error == ECONNRESET);
      bed.peers.clear();
    }
  });
}

TEST_CASE("Destroy waits for nobody; the peer gets exactly what the kernel is said to have taken") {
  OnEachDriver([](ReactorBed& bed) {
    for (const size_t queued : {0, 1'000, 1'000'000}) {
      for (const int turns : {0, 50}) {
        for (const bool closes : {false, true}) {
          CAPTURE(queued);
          std::unique_ptr<Peer> peer;
          JsConnection& connection = bed.Open(&peer, bed.Options());
          peer->reads = false;
          bed.js.Send(connection, std::string(static_cast<size_t>(queued), 'x'));
          bed.Turns(turns);
          bed.js.Send(connection, "and this");
          if (closes) bed.js.Close(connection);
          bed.js.Simple(CommandKind::kDestroy, connection);
          REQUIRE(bed.Until([&] { return connection.closed; }));
          CHECK(connection.reason() == CloseReason::kClosed);
          peer->reads = true;
          REQUIRE(bed.Until([&] { return peer->error != 0 || peer->finished; }));
          CHECK(peer->error == 0);
          CHECK(peer->received.size() == connection.sent());
          if (queued <= 1'000) CHECK(connection.sent() == queued + 8);
          bed.peers.clear();
        }
      }
    }
  });
}

TEST_CASE("Raw chunks land in memory that was offered, and in blocks when that is used up") {
  OnEach(RealDriverKinds(), [](ReactorBed& bed) {
    auto options = bed.Options();
    options->framing.format = FramingFormat::kRaw;
    for (uint32_t i = 0; i < 40; ++i) {
      bed.js.landings.push_back(std::make_unique<uint8_t[]>(kBlockBytes));
      bed.reactor->driver().landing().Offer(i, bed.js.landings.back().get());
    }
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, options, false);
    const std::string bytes = RandomBytes(7, 8'000'000);
    peer->Send(bytes);
    REQUIRE(bed.Until([&] { return connection.bytes == bytes.size(); }));
    std::string received;
    for (const std::string& frame : connection.frames) received += frame;
    CHECK(received == bytes);
    // Each at most once, since nobody offered it again.
    const std::set<uint32_t> landed(bed.js.landed.begin(), bed.js.landed.end());
    CHECK(landed.size() == bed.js.landed.size());
    CHECK(landed.size() > 5);
  });
}

TEST_CASE("Reset is Destroy with a reset behind what the kernel took") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    bed.js.Send(connection, "last words");
    bed.js.Simple(CommandKind::kReset, connection, static_cast<uint32_t>(CloseReason::kAborted));
    REQUIRE(bed.Until([&] { return connection.closed; }));
    CHECK(connection.reason() == CloseReason::kAborted);
    CHECK(connection.sent() == 10);
    REQUIRE(bed.Until([&] { return peer->error != 0 || peer->finished; }));
    CHECK(peer->error == ECONNRESET);
    CHECK(peer->received == "last words");
  });
}

TEST_CASE("What is destroyed has its last send in the same call, though its operations end later") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    bed.Turns(20);
    bed.js.Send(connection, "and now the process ends");
    bed.js.Simple(CommandKind::kDestroy, connection);
    bed.js.Publish();
    bed.reactor->FinishSends();
    peer->Move();
    CHECK(peer->received == "and now the process ends");
    REQUIRE(bed.Until([&] { return connection.closed; }));
  });
}

TEST_CASE("FinishSends goes on behind a send whose end nobody has looked at") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    bed.Turns(20);
    bed.js.Send(connection, "one ");
    bed.js.Publish();
    bed.reactor->RunCommands();
    bed.js.Send(connection, "two ");
    bed.js.Send(connection, "three");
    bed.js.Simple(CommandKind::kDestroy, connection);
    bed.js.Publish();
    bed.reactor->FinishSends();
    CHECK(bed.Until([&] { return peer->received == "one two three"; }));
    REQUIRE(bed.Until([&] { return connection.closed; }));
  });
}

TEST_CASE("SendNow: the kernel has it when the call returns, in its place, as far as there is room") {
  std::mt19937_64 random(RandomSeed());
  OnEachDriver([&](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    const auto send_now = [&](const std::string& bytes) {
      bed.js.Publish();
      bed.reactor->SendNow(connection.slot, connection.generation,
                           {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, false);
    };
    bed.Turns(20);
    bed.js.Send(connection, "copied, ");
    send_now("pinned, ");
    CHECK(bed.js.Progress(connection) == 16);
    peer->Move();
    CHECK(peer->received == "copied, pinned, ");

    // Of what finds no room every byte arrives, in order with what is copied behind it.
    peer->reads = false;
    std::string expected = peer->received;
    std::vector<std::string> pinned;
    pinned.reserve(30);
    for (int i = 0; i < 30; ++i) {
      pinned.push_back(RandomBytes(random(), Between(random, 1, 60'000)));
      send_now(pinned.back());
      expected += pinned.back();
      const std::string copied = RandomBytes(random(), Between(random, 0, 200));
      bed.js.Send(connection, copied);
      expected += copied;
      if (i % 7 == 0) bed.Turn();
    }
    CHECK(bed.js.Progress(connection) < expected.size());
    bed.js.WantDrain(connection);
    peer->reads = true;
    REQUIRE(bed.Until([&] { return peer->received.size() == expected.size(); }));
    CHECK(peer->received == expected);
    REQUIRE(bed.Until([&] { return connection.drains == 1; }));
    CHECK(bed.js.Progress(connection) == expected.size());

    peer->Reset();
    send_now("to nobody");
    REQUIRE(bed.Until([&] { return connection.closed; }));
    CHECK(connection.reason() == CloseReason::kPeerReset);
    send_now("to what is gone");
  });
}

TEST_CASE(
    "What is long leaves from where it lies; what the kernel does not take is kept before that memory is written "
    "again") {
  std::mt19937_64 random(RandomSeed());
  OnEachDriver([&](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    std::string expected;
    for (int i = 0; i < 120; ++i) {
      // For a while nobody reads, and for a while everything fits.
      if (i % 30 == 0) peer->reads = i % 60 != 0;
      for (uint64_t parts = Between(random, 1, 6); parts > 0; --parts) {
        const bool is_long = Between(random, 0, 2) != 0;
        const std::string bytes =
            RandomBytes(random(), is_long ? Between(random, 8'000, 16'384) : Between(random, 0, 300));
        bed.js.Send(connection, bytes);
        expected += bytes;
      }
      bed.js.Publish();
      bed.reactor->RunCommands();
      bed.js.ScribbleCommands();
      if (i % 3 == 0) bed.Turn();
    }
    peer->reads = true;
    REQUIRE(bed.Until([&] { return peer->received.size() == expected.size(); }));
    CHECK(peer->received == expected);
    CHECK(bed.js.Progress(connection) == expected.size());

    // To a peer that is gone; and before a close in the same turn.
    std::unique_ptr<Peer> reader;
    JsConnection& closing = bed.Open(&reader, bed.Options());
    const std::string last = RandomBytes(random(), 16'000);
    bed.js.Send(closing, last);
    bed.js.Close(closing);
    bed.js.Publish();
    bed.reactor->RunCommands();
    bed.js.ScribbleCommands();
    REQUIRE(bed.Until([&] { return reader->finished; }));
    CHECK(reader->received == last);
    std::unique_ptr<Peer> gone;
    JsConnection& broken = bed.Open(&gone, bed.Options());
    gone->Reset();
    bed.js.Send(broken, last);
    bed.js.Publish();
    bed.reactor->RunCommands();
    bed.js.ScribbleCommands();
    REQUIRE(bed.Until([&] { return broken.closed; }));
    CHECK(broken.reason() == CloseReason::kPeerReset);
  });
}

TEST_CASE("SendNow that keeps: the caller changes the bytes at once, whatever the kernel took of them") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    peer->reads = false;
    std::string expected;
    for (int round = 0; round < 6; ++round) {
      std::string bytes = RandomBytes(static_cast<uint64_t>(round), 100'000);
      expected += bytes;
      bed.js.Publish();
      bed.reactor->SendNow(connection.slot, connection.generation,
                           {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, true);
      std::fill(bytes.begin(), bytes.end(), 'z');
      bed.Turns(round);
    }
    peer->reads = true;
    REQUIRE(bed.Until([&] { return peer->received.size() == expected.size(); }));
    CHECK(peer->received == expected);
  });
}

TEST_CASE("What SendNow brought about is told before the loop sleeps, though no command is left") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    bed.Turns(20);
    const std::string bytes = "at once";
    bed.js.WantDrain(connection);
    bed.js.Publish();
    bed.reactor->SendNow(connection.slot, connection.generation,
                         {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, false);
    bed.reactor->RunCommands();
    bed.js.Take();
    CHECK(connection.drains == 1);
    peer->Move();
    CHECK(peer->received == bytes);
  });
}

TEST_CASE("A crowd that finds too few buffers starts about as many receives again as there are messages") {
  OnEach(RealDriverKinds(), [](ReactorBed& bed) {
    constexpr size_t kCrowd = 300;
    std::vector<std::unique_ptr<Peer>> crowd(kCrowd);
    for (auto& peer : crowd) bed.Open(&peer, bed.Options());
    for (int message = 1; message <= 5; ++message) {
      for (auto& peer : crowd) {
        peer->SendFrame("hello");
        peer->Move();
      }
      REQUIRE(bed.Until([&] { return bed.js.frames == kCrowd * static_cast<size_t>(message); }));
    }
    CHECK(bed.Count(Counter::kReceiveBuffersStarved) <= 2 * kCrowd * 5);
  });
}

// As others leave it that stream and fill every buffer before its turn: on a kernel, more of them than there are
// blocks.
TEST_CASE("Who never finds a buffer is heard, and so are its end and its reset") {
  const std::vector<DriverKind> kinds{{"mean, without buffers", [] {
                                         return std::make_unique<MeanDriver>(MeanDriverOptions{
                                             .seed = 1, .false_data_percent = 0, .no_buffer_percent = 100});
                                       }}};
  OnEach(kinds, [](ReactorBed& bed) {
    // The bed moves them until it ends.
    std::unique_ptr<Peer> peers[2];
    std::unique_ptr<Peer> leaving[2];
    for (const bool raw : {false, true}) {
      auto options = bed.Options();
      if (raw) options->framing.format = FramingFormat::kRaw;
      std::unique_ptr<Peer>& peer = peers[raw ? 1 : 0];
      JsConnection& connection = bed.Open(&peer, options);
      const std::string sent = raw ? RandomBytes(1, 20'000) : Framed(RandomBytes(1, 20'000));
      peer->Send(sent);
      peer->Finish();
      REQUIRE(bed.Until([&] { return connection.ends == 1; }));
      std::string received;
      for (const auto& frame : connection.frames) received += frame;
      CHECK(received == (raw ? sent : sent.substr(sent.size() - 20'000)));

      std::unique_ptr<Peer>& gone = leaving[raw ? 1 : 0];
      JsConnection& broken = bed.Open(&gone, options);
      gone->Reset();
      REQUIRE(bed.Until([&] { return broken.closed; }));
      CHECK(broken.reason() == CloseReason::kPeerReset);
    }
  });
}

TEST_CASE("What is not accounted counts for nobody") {
  OnEachDriver([](ReactorBed& bed) {
    bed.accounts.max_buffered_bytes = 100'000;
    std::unique_ptr<Peer> peer;
    auto options = bed.Options();
    options->is_accounted = false;
    JsConnection& connection = bed.Open(&peer, options);
    peer->reads = false;
    for (int i = 0; i < 50; ++i) {
      bed.js.Send(connection, std::string(10'000, 'x'));
      bed.Turn();
    }
    CHECK(bed.accounts.buffered_bytes == 0);
    CHECK(!connection.closed);
    peer->reads = true;
    REQUIRE(bed.Until([&] { return peer->received.size() == 500'000; }));
  });
}

TEST_CASE("A detached descriptor has nothing in flight: what was read is delivered, what was queued is sent") {
  std::mt19937_64 random(RandomSeed());
  OnEachDriver([&](ReactorBed& bed) {
    for (int round = 0; round < 6; ++round) {
      std::unique_ptr<Peer> peer;
      auto options = bed.Options();
      options->framing.format = FramingFormat::kRaw;
      JsConnection& connection = bed.Open(&peer, options);
      const std::string incoming = RandomBytes(random(), Between(random, 0, 200'000));
      const std::string outgoing = RandomBytes(random(), Between(random, 0, 200'000));
      peer->Send(incoming);
      bed.js.Send(connection, outgoing);
      bed.Turns(static_cast<int>(Between(random, 0, 30)));
      if (round % 2 == 0) bed.js.Pause(connection);
      bed.Turns(static_cast<int>(Between(random, 0, 5)));
      bed.js.Simple(CommandKind::kDetach, connection);
      REQUIRE(bed.Until([&] { return connection.closed; }));
      CHECK(connection.reason() == CloseReason::kDetached);
      CHECK(connection.sent() == outgoing.size());
      REQUIRE(connection.detached.size() == 1);
      const Fd fd(connection.detached[0].fd);
      REQUIRE(fd.Valid());
      std::string received;
      for (const std::string& frame : connection.frames) received += frame;
      // The rest is still with the kernel (or with the peer), for the descriptor's new owner.
      REQUIRE(bed.Until([&] {
        char bytes[4096];
        const ssize_t count = ::recv(fd.Get(), bytes, sizeof bytes, MSG_DONTWAIT);
        if (count > 0) received.append(bytes, static_cast<size_t>(count));
        return received.size() == incoming.size();
      }));
      CHECK((received == incoming));
      REQUIRE(bed.Until([&] { return peer->received.size() == outgoing.size(); }));
      CHECK((peer->received == outgoing));
      CHECK_FALSE(peer->finished);
      bed.peers.clear();
    }
  });
}

TEST_CASE("Detaching in the middle of a frame is refused, and the connection goes on, paused if it was") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    const std::string frame = Framed("in two pieces");
    peer->Send(frame.substr(0, 7));
    REQUIRE(bed.Until([&] { return bed.Count(Counter::kBytesReceived) == 7; }));
    bed.js.Pause(connection);
    bed.js.Simple(CommandKind::kDetach, connection);
    REQUIRE(bed.Until([&] { return connection.detached.size() == 1; }));
    CHECK(connection.detached[0].fd == -1);
    CHECK(connection.detached[0].held_bytes == 7);
    peer->Send(frame.substr(7));
    bed.Turns(50);
    CHECK(connection.frames.empty());
    bed.js.Resume(connection);
    REQUIRE(bed.Until([&] { return connection.frames.size() == 1; }));
    CHECK(connection.frames[0] == "in two pieces");
  });
}

TEST_CASE("Pause and resume while a detach is under way: they hold if it is refused, and do not hold it up") {
  OnEachDriver([](ReactorBed& bed) {
    for (const bool pauses : {false, true}) {
      CAPTURE(pauses);
      std::unique_ptr<Peer> peer;
      JsConnection& connection = bed.Open(&peer, bed.Options());
      const std::string frame = Framed("in two pieces");
      peer->Send(frame.substr(0, 7));
      const uint64_t before = bed.Count(Counter::kBytesReceived);
      REQUIRE(bed.Until([&] { return bed.Count(Counter::kBytesReceived) == before + 7; }));
      if (!pauses) bed.js.Pause(connection);
      bed.js.Simple(CommandKind::kDetach, connection);
      if (pauses) {
        bed.js.Pause(connection);
      } else {
        bed.js.Resume(connection);
      }
      REQUIRE(bed.Until([&] { return connection.detached.size() == 1; }));
      CHECK(connection.detached[0].fd == -1);
      peer->Send(frame.substr(7));
      if (pauses) {
        bed.Turns(50);
        CHECK(connection.frames.empty());
        bed.js.Resume(connection);
      }
      REQUIRE(bed.Until([&] { return connection.frames.size() == 1; }));
      bed.peers.clear();
    }
  });
}

// Read while it is delivered a frame a turn: for most of that time all of it, and the end behind it, is here.
JsConnection& OpenWithInput(ReactorBed& bed, std::unique_ptr<Peer>* peer, std::string_view behind) {
  auto options = bed.Options();
  options->credit_frames = 1;
  JsConnection& connection = bed.Open(peer, options);
  std::string input;
  for (int i = 0; i < 200; ++i) input += Framed("x");
  input += behind;
  (*peer)->Send(input);
  (*peer)->Finish();
  REQUIRE(bed.Until([&] { return bed.Count(Counter::kBytesReceived) == input.size(); }));
  bed.Turns(20);
  REQUIRE(connection.frames.size() < 200);
  return connection;
}

TEST_CASE("A pause behind a detach does not keep what was read") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = OpenWithInput(bed, &peer, "");
    bed.js.Simple(CommandKind::kDetach, connection);
    bed.js.Pause(connection);
    REQUIRE(bed.Until([&] { return connection.closed; }));
    REQUIRE(connection.detached.size() == 1);
    const Fd fd(connection.detached[0].fd);
    CHECK(fd.Valid());
    CHECK(connection.frames.size() == 200);
  });
}

TEST_CASE("A descriptor is not given back after a fault: bytes before it are lost") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = OpenWithInput(bed, &peer, Framed("in two pieces").substr(0, 7));
    bed.js.Simple(CommandKind::kDetach, connection);
    REQUIRE(bed.Until([&] { return connection.closed; }));
    CHECK(connection.detached.empty());
    CHECK(connection.reason() == CloseReason::kTruncatedFrame);
  });
}

TEST_CASE("Behind a hold nothing is framed until the framing is named, however the bytes come") {
  std::mt19937_64 random(RandomSeed());
  OnEachDriver([&](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    auto options = bed.Options();
    FramingOptions next = options->framing;
    options->framing = {};
    options->framing.format = FramingFormat::kDelimiter;
    options->framing.hold = true;
    JsConnection& connection = bed.Open(&peer, options);
    std::vector<std::string> sent = {"UPGRADE"};
    peer->Send("UPGRADE\n");
    for (int i = 0; i < 40; ++i) {
      sent.push_back(RandomBytes(random(), i % 20 == 19 ? 100'000 : Between(random, 0, 2'000)));
      peer->SendFrame(sent.back());
    }
    peer->Finish();
    REQUIRE(bed.Until([&] { return connection.frames.size() == 1; }));
    bed.Turns(static_cast<int>(Between(random, 0, 60)));
    CHECK(connection.frames.size() == 1);
    // More than is kept stays with the peer.
    CHECK(bed.Count(Counter::kBytesReceived) < 600'000);
    bed.reactor->Find(connection.slot, connection.generation)->SetFraming(next);
    REQUIRE(bed.Until([&] { return connection.ends == 1; }));
    CHECK((connection.frames == sent));
  });
}

TEST_CASE("Raw bytes come whole and in order, short and long, paused and resumed") {
  std::mt19937_64 random(RandomSeed());
  OnEachDriver([&](ReactorBed& bed) {
    for (const bool small : {true, false}) {
      std::unique_ptr<Peer> peer;
      auto options = bed.Options();
      options->framing.format = FramingFormat::kRaw;
      JsConnection& connection = bed.Open(&peer, options, small);
      const std::string sent = RandomBytes(random(), 1'500'000);
      peer->Send(sent);
      peer->Finish();
      REQUIRE(bed.Until([&] {
        if (random() % 8 == 0) bed.js.Pause(connection);
        if (random() % 4 == 0) bed.js.Resume(connection);
        return connection.ends == 1;
      }));
      std::string received;
      for (const std::string& frame : connection.frames) received += frame;
      CHECK((received == sent));
      bed.peers.clear();
    }
  });
}

TEST_CASE("A reset by the peer ends the connection, at rest, while sending, while closing") {
  OnEachDriver([](ReactorBed& bed) {
    for (int when = 0; when < 4; ++when) {
      CAPTURE(when);
      std::unique_ptr<Peer> peer;
      JsConnection& connection = bed.Open(&peer, bed.Options());
      peer->reads = false;
      if (when == 1 || when == 2) bed.js.Send(connection, std::string(1'000'000, 'x'));
      bed.Turns(20);
      if (when == 2 || when == 3) bed.js.Close(connection);
      bed.Turns(20);
      peer->Reset();
      REQUIRE(bed.Until([&] { return connection.closed; }));
      CHECK(connection.reason() == (when < 2 ? CloseReason::kPeerReset : CloseReason::kClosed));
      CHECK(connection.close.error == (when < 2 ? ECONNRESET : 0));
      CHECK(connection.ends == 0);
      bed.peers.clear();
    }
  });
}

TEST_CASE(
    "Frames that wait for their turn, or for who has paused, come before the reset that was received behind them") {
  static constexpr size_t kFrames = 1'000;
  OnEachDriver([](ReactorBed& bed) {
    for (const bool pauses : {false, true}) {
      CAPTURE(pauses);
      std::unique_ptr<Peer> peer;
      JsConnection& connection = bed.Open(&peer, bed.Options(), false);
      for (size_t i = 0; i < kFrames; ++i) peer->SendFrame("frame " + std::to_string(i));
      peer->Move();
      if (pauses) {
        REQUIRE(bed.Until([&] { return !connection.frames.empty(); }));
        bed.js.Pause(connection);
        bed.Turns(3);
      }
      peer->Reset();
      bed.Turns(10);
      if (pauses) bed.js.Resume(connection);
      REQUIRE(bed.Until([&] { return connection.closed; }));
      CHECK(connection.frames.size() == kFrames);
      CHECK(connection.close.error == ECONNRESET);
      CHECK(connection.close.call == static_cast<uint32_t>(SystemCall::kRead));
      bed.peers.clear();
    }
  });
}

// The kernel tells one operation of it, and the other one that the stream is over.
TEST_CASE("While a send is under way a reset is no end, and what came before it is delivered") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    peer->reads = false;
    bed.js.Send(connection, std::string(1'000'000, 'x'));
    bed.Turns(20);
    peer->SendFrame("partial");
    peer->Move();
    peer->Reset();
    REQUIRE(bed.Until([&] { return connection.closed; }));
    CHECK(connection.frames == std::vector<std::string>{"partial"});
    CHECK(connection.ends == 0);
    CHECK(connection.reason() == CloseReason::kPeerReset);
    CHECK(connection.close.error == ECONNRESET);
    CHECK(connection.close.call == static_cast<uint32_t>(SystemCall::kRead));
    bed.peers.clear();
  });
}

TEST_CASE("A reset says whether the bytes before it came in the same turn, with a send under way or not") {
  OnEach(RealDriverKinds(), [](ReactorBed& bed) {
    for (const bool sends : {false, true}) {
      for (const bool at_once : {true, false}) {
        CAPTURE(sends);
        CAPTURE(at_once);
        std::unique_ptr<Peer> peer;
        JsConnection& connection = bed.Open(&peer, bed.Options());
        peer->reads = false;
        if (sends) bed.js.Send(connection, std::string(1'000'000, 'x'));
        bed.Turns(20);
        peer->SendFrame("before");
        peer->Move();
        if (!at_once) REQUIRE(bed.Until([&] { return connection.frames.size() == 1; }));
        peer->Reset();
        REQUIRE(bed.Until([&] { return connection.closed; }));
        CHECK(connection.frames == std::vector<std::string>{"before"});
        CHECK(connection.close.error == ECONNRESET);
        CHECK(connection.close.call == static_cast<uint32_t>(SystemCall::kRead));
        CHECK(connection.close.behind_bytes == (at_once ? 1 : 0));
        bed.peers.clear();
      }
    }
  });
}

TEST_CASE("An end that a reset follows at once is an end, also while a send is under way") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    peer->reads = false;
    bed.js.Send(connection, std::string(1'000'000, 'x'));
    bed.Turns(20);
    peer->SendFrame("whole");
    peer->Finish();
    peer->Move();
    peer->Reset();
    REQUIRE(bed.Until([&] { return connection.closed; }));
    CHECK(connection.frames == std::vector<std::string>{"whole"});
    CHECK(connection.ends == 1);
    CHECK(connection.reason() == CloseReason::kPeerReset);
    CHECK(connection.close.error == EPIPE);
    CHECK(connection.close.call == static_cast<uint32_t>(SystemCall::kWrite));
    bed.peers.clear();
  });
}

TEST_CASE("Who has paused learns of a reset by its send") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    peer->reads = false;
    bed.js.Pause(connection);
    bed.js.Send(connection, std::string(1'000'000, 'x'));
    bed.Turns(20);
    peer->SendFrame("unread");
    peer->Move();
    peer->Reset();
    REQUIRE(bed.Until([&] { return connection.closed; }));
    CHECK(connection.frames.empty());
    CHECK(connection.close.error == ECONNRESET);
    CHECK(connection.close.call == static_cast<uint32_t>(SystemCall::kWrite));
    bed.peers.clear();
  });
}

// The send was told, and left the telling to the receive, which found no buffer: it stands in line to start again when
// the pause comes, and then nobody starts it.
TEST_CASE("Who pauses while a reset waits to be received, and no buffer is there, learns of it all the same") {
  constexpr size_t kCrowd = 8;
  const std::vector<DriverKind> kinds{
      {"mean, without buffers", [] {
         return std::make_unique<MeanDriver>(MeanDriverOptions{
             .seed = 1, .driver = {.receive_buffer_bytes = 512, .receive_buffers = 1}, .no_buffer_percent = 100});
       }}};
  for (int turns = 0; turns < 8; ++turns) {
    CAPTURE(turns);
    OnEach(kinds, [&](ReactorBed& bed) {
      std::unique_ptr<Peer> peers[kCrowd];
      std::vector<JsConnection*> connections;
      for (std::unique_ptr<Peer>& peer : peers) {
        connections.push_back(&bed.Open(&peer, bed.Options()));
        peer->reads = false;
        bed.js.Send(*connections.back(), std::string(1'000'000, 'x'));
      }
      bed.Turns(20);
      for (const std::unique_ptr<Peer>& peer : peers) {
        peer->SendFrame("unread");
        peer->Move();
        peer->Reset();
      }
      bed.Turns(turns);
      for (JsConnection* connection : connections) {
        if (!connection->closed) bed.js.Pause(*connection);
      }
      REQUIRE(bed.Until([&] {
        return std::all_of(connections.begin(), connections.end(), [](const auto* one) { return one->closed; });
      }));
      for (const JsConnection* connection : connections) CHECK(connection->close.error == ECONNRESET);
      bed.peers.clear();
    });
  }
}

TEST_CASE("Drain comes at the low watermark, once per wish; progress is what the kernel took") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    peer->reads = false;
    for (int i = 0; i < 30; ++i) bed.js.Send(connection, std::string(10'000, 'x'));
    bed.js.WantDrain(connection);
    bed.Turns(50);
    CHECK(connection.drains == 0);
    CHECK(bed.js.Progress(connection) < 300'000 - limits::low_water_mark);
    peer->reads = true;
    REQUIRE(bed.Until([&] { return peer->received.size() == 300'000; }));
    bed.Turns(20);
    CHECK(connection.drains == 1);
    CHECK(bed.js.Progress(connection) == 300'000);
    bed.js.WantDrain(connection);
    bed.Turns(5);
    CHECK(connection.drains == 2);
  });
}

TEST_CASE("More than maxBufferedBytes closes that connection") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    auto options = bed.Options();
    options->max_buffered_bytes = 200'000;
    JsConnection& connection = bed.Open(&peer, options);
    peer->reads = false;
    for (int i = 0; i < 100 && !connection.closed; ++i) {
      bed.js.Send(connection, std::string(10'000, 'x'));
      bed.Turn();
    }
    REQUIRE(bed.Until([&] { return connection.closed; }));
    CHECK(connection.reason() == CloseReason::kSendBufferFull);
    CHECK(bed.Count(Counter::kSendBufferFull) == 1);
  });
}

TEST_CASE("What waits to be sent on all connections together is bounded, also behind a send in flight") {
  OnEachDriver([](ReactorBed& bed) {
    bed.accounts.max_buffered_bytes = 1'000'000;
    std::unique_ptr<Peer> peers[4];
    for (auto& peer : peers) {
      bed.Open(&peer, bed.Options());
      peer->reads = false;
    }
    const auto closed = [&] {
      return std::count_if(bed.js.connections.begin(), bed.js.connections.end(),
                           [](const auto& connection) { return connection->closed; });
    };
    // 2 MB, each connection within its own limit.
    int64_t most = 0;
    for (int i = 0; i < 50; ++i) {
      for (const auto& connection : bed.js.connections) {
        if (!connection->closed) bed.js.Send(*connection, std::string(10'000, 'x'));
      }
      bed.Turns(3);
      most = std::max(most, bed.accounts.buffered_bytes.load());
    }
    const bool some = bed.Until([&] { return closed() > 0; });
    CHECK(some);
    CHECK(most < 1'100'000);
    CHECK(bed.Count(Counter::kMemoryFull) == static_cast<uint64_t>(closed()));
  });
}

// io_uring says how far a send came only when it is over (MSG_WAITALL): one that describes a large block would look
// stalled at a slow peer that takes it all the time.
TEST_CASE("One send describes at most 512 KB") {
  class Watching final : public MeanDriver {
   public:
    using MeanDriver::MeanDriver;
    int32_t Send(UserData data, int fd, const iovec* iov, int iov_count) override {
      size_t total = 0;
      for (int i = 0; i < iov_count; ++i) total += iov[i].iov_len;
      largest = std::max(largest, total);
      return MeanDriver::Send(data, fd, iov, iov_count);
    }
    size_t largest = 0;
  };
  auto driver = std::make_unique<Watching>(MeanDriverOptions{.short_percent = 0});
  Watching& watching = *driver;
  ReactorBed bed(std::move(driver));
  std::unique_ptr<Peer> peer;
  JsConnection& connection = bed.Open(&peer, bed.Options(), false);
  const std::string bytes = RandomBytes(2, 5 << 20);
  Block* block = Block::Make(bytes.size());
  std::memcpy(block->data(), bytes.data(), bytes.size());
  bed.js.SendBlock(connection, "head", block, 0, static_cast<uint32_t>(bytes.size()));
  const bool all = bed.Until([&] { return peer->received.size() == bytes.size() + 4; });
  CHECK(all);
  CHECK((peer->received == "head" + bytes));
  CHECK(watching.largest <= 512 * 1024);
  CHECK(watching.largest > 65'536);
}

// --- pausing, credit, room

TEST_CASE("Pausing and resuming at any moment loses nothing") {
  std::mt19937_64 random(RandomSeed());
  OnEachDriver([&](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    std::vector<std::string> sent;
    for (int i = 0; i < 400; ++i) {
      sent.push_back(RandomBytes(random(), i % 50 == 49 ? 100'000 : Between(random, 0, 2000)));
      peer->SendFrame(sent.back());
    }
    peer->Finish();
    const bool done = bed.Until([&] {
      if (random() % 4 == 0) bed.js.Pause(connection);
      if (random() % 3 == 0) bed.js.Resume(connection);
      return connection.ends == 1;
    });
    CHECK(done);
    CHECK((connection.frames == sent));
  });
}

TEST_CASE("A paused connection is not read: the peer's bytes stay with the kernel") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    bed.js.Pause(connection);
    bed.Turns(10);
    for (int i = 0; i < 400; ++i) peer->SendFrame(std::string(5000, 'x'));
    peer->Finish();
    bed.Turns(300);
    CHECK_FALSE(peer->sent_all());
    CHECK(connection.frames.empty());
    CHECK(connection.ends == 0);
    CHECK(bed.Count(Counter::kBytesReceived) < 100'000);
    bed.js.Resume(connection);
    const bool all = bed.Until([&] { return connection.frames.size() == 400 && connection.ends == 1; });
    CHECK(all);
  });
}

TEST_CASE("One flooding connection does not starve another") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> flooding;
    std::unique_ptr<Peer> modest;
    JsConnection& first = bed.Open(&flooding, bed.Options(), false);
    JsConnection& second = bed.Open(&modest, bed.Options());
    const std::string frame = Framed("0123456789");
    std::string flood;
    for (int i = 0; i < 30'000; ++i) flood += frame;
    flooding->Send(flood);
    REQUIRE(bed.Until([&] { return first.frames.size() > 1000; }));
    modest->SendFrame("me too");
    uint32_t turns = 0;
    size_t most = 0;
    const bool heard = bed.Until([&] {
      ++turns;
      const size_t before = first.frames.size();
      bed.Turn();
      most = std::max(most, first.frames.size() - before);
      return !second.frames.empty();
    });
    CHECK(heard);
    CHECK(first.frames.size() < 30'000);
    CHECK(most <= limits::credit_frames);
    const bool all = bed.Until([&] { return first.frames.size() == 30'000; });
    CHECK(all);
  });
}

TEST_CASE("Of a raw connection, too, a turn takes at most its credit, and the chunk that passes it") {
  OnEachDriver([](ReactorBed& bed) {
    constexpr uint32_t kFrames = 2;
    constexpr uint32_t kBytes = 4'000;
    std::unique_ptr<Peer> peer;
    auto options = bed.Options();
    options->framing = {};
    options->framing.format = FramingFormat::kRaw;
    options->credit_frames = kFrames;
    options->credit_bytes = kBytes;
    JsConnection& connection = bed.Open(&peer, options, false);
    const std::string sent = RandomBytes(1, 2'000'000);
    peer->Send(sent);
    size_t most_frames = 0;
    size_t most_short = 0;
    const bool all = bed.Until([&] {
      const size_t before = connection.frames.size();
      bed.Turn();
      most_frames = std::max(most_frames, connection.frames.size() - before);
      size_t bytes = 0;
      for (size_t i = before; i < connection.frames.size(); ++i) {
        if (connection.frames[i].size() < limits::owned_chunk_bytes) bytes += connection.frames[i].size();
      }
      most_short = std::max(most_short, bytes);
      return connection.bytes == sent.size();
    });
    CHECK(all);
    CHECK(most_frames <= kFrames);
    CHECK(most_short < kBytes + limits::owned_chunk_bytes);
  });
}

TEST_CASE("ownedChunkBytes: from there on a chunk is handed over as the memory it was received in") {
  for (const DriverKind& kind : RealDriverKinds()) {
    INFO("driver: " << kind.name);
    ReactorBed bed(kind);
    auto options = bed.Options();
    options->framing = {};
    options->framing.format = FramingFormat::kRaw;
    for (const size_t length : {limits::owned_chunk_bytes - 1, limits::owned_chunk_bytes}) {
      auto [ours, theirs] = TcpPair(false);
      // There before the connection is: it is received at once.
      const std::string chunk(length, 'x');
      REQUIRE(::send(theirs.Get(), chunk.data(), length, 0) == static_cast<ssize_t>(length));
      bed.reactor->connections().fetch_add(1);
      Connection::Adopt(*bed.reactor, std::move(ours), options, {});
      const size_t opened = bed.js.connections.size();
      REQUIRE(bed.Until([&] { return bed.js.connections.size() > opened && bed.js.Last().bytes == length; }));
      CHECK(bed.js.Last().large_frames == (length < limits::owned_chunk_bytes ? 0 : 1));
    }
  }
}

TEST_CASE("With the ring full receives stop while sends, closes and timers go on; room lets them resume") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> flooding[8];
    std::unique_ptr<Peer> other;
    std::unique_ptr<Peer> leaving;
    for (auto& peer : flooding) bed.Open(&peer, bed.Options(), false);
    JsConnection& sends = bed.Open(&other, bed.Options());
    JsConnection& left = bed.Open(&leaving, bed.Options());
    const std::string frame(8000, 'x');
    constexpr size_t kFrames = 400;
    for (auto& peer : flooding) {
      for (size_t i = 0; i < kFrames; ++i) peer->SendFrame(frame);
    }
    bed.takes = false;
    uint64_t received = 0;
    for (int quiet = 0; quiet < 300; ++quiet) {
      bed.Turn();
      if (bed.Count(Counter::kBytesReceived) != received) quiet = 0;
      received = bed.Count(Counter::kBytesReceived);
    }
    CHECK_FALSE(bed.reactor->events().HasRoomForFrame(limits::inline_frame_bytes));
    CHECK(received < 8 * kFrames * frame.size());
    CHECK_FALSE(bed.reactor->HasWork());
    // Sends, timers and closes.
    bed.js.Send(sends, "goes out");
    bed.js.Publish();
    const bool sent = bed.Until([&] { return other->received == "goes out"; });
    CHECK(sent);
    leaving->Reset();
    const bool closed = bed.Until([&] { return bed.Count(Counter::kClosed) == 1; });
    CHECK(closed);
    bed.Pass(310'000);
    CHECK_FALSE(left.closed);
    CHECK(sends.idles == 0);
    // Room.
    bed.takes = true;
    const bool all = bed.Until([&] { return bed.js.frames == 8 * kFrames; });
    CHECK(all);
    CHECK(left.closed);
    CHECK(sends.idles == 1);
    for (size_t i = 0; i < 8; ++i) {
      CHECK(bed.js.connections[i]->idles == 0);  // not reading was not their fault
      CHECK(bed.js.connections[i]->bytes == kFrames * frame.size());
    }
  });
}

// --- FIN

TEST_CASE("FIN is told behind the last frame; the other direction still works") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    for (int i = 0; i < 200; ++i) peer->SendFrame(std::to_string(i));
    peer->Finish();
    REQUIRE(bed.Until([&] { return connection.ends == 1; }));
    CHECK(connection.frames.size() == 200);
    bed.js.Send(connection, "an answer");
    const bool answered = bed.Until([&] { return peer->received == "an answer"; });
    CHECK(answered);
    bed.js.Close(connection, CloseReason::kPeerClosed);
    REQUIRE(bed.Until([&] { return connection.closed; }));
    CHECK(connection.reason() == CloseReason::kPeerClosed);
    CHECK(connection.ends == 1);
    const bool finished = bed.Until([&] { return peer->finished; });
    CHECK(finished);
  });
}

TEST_CASE("FIN while frames wait for room is told behind them") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options(), false);
    bed.takes = false;
    // What the connection and the kernel hold beyond a full ring.
    const std::string frame(16'000, 'x');
    for (int i = 0; i < 60; ++i) peer->SendFrame(frame);
    peer->Finish();
    bed.Turns(500);
    bed.takes = true;
    const bool told = bed.Until([&] { return connection.ends == 1; });
    CHECK(told);
    CHECK(connection.frames.size() == 60);
  });
}

TEST_CASE("FIN in the middle of a frame closes") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    peer->SendFrame("whole");
    peer->Send(Framed("not whole").substr(0, 9));
    peer->Finish();
    REQUIRE(bed.Until([&] { return connection.closed; }));
    CHECK(connection.reason() == CloseReason::kTruncatedFrame);
    CHECK(connection.frames == std::vector<std::string>{"whole"});
  });
}

TEST_CASE("A last line without its delimiter is a frame, also when it is over 64 KB") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    auto options = bed.Options();
    options->framing = {};
    options->framing.format = FramingFormat::kDelimiter;
    options->framing.accept_unterminated = true;
    JsConnection& connection = bed.Open(&peer, options);
    const std::string last(100'000, 'z');
    peer->Send("one\ntwo\n" + last);
    peer->Finish();
    REQUIRE(bed.Until([&] { return connection.ends == 1; }));
    CHECK((connection.frames == std::vector<std::string>{"one", "two", last}));
  });
}

TEST_CASE("Once both sides sent FIN the connection is over, whoever was first") {
  OnEachDriver([](ReactorBed& bed) {
    for (const bool peer_first : {true, false}) {
      CAPTURE(peer_first);
      std::unique_ptr<Peer> peer;
      JsConnection& connection = bed.Open(&peer, bed.Options());
      if (peer_first) {
        peer->Finish();
        REQUIRE(bed.Until([&] { return connection.ends == 1; }));
        CHECK_FALSE(connection.closed);
      }
      bed.js.Send(connection, RandomBytes(1, 100'000));
      bed.js.Shutdown(connection);
      bed.js.Send(connection, "behind FIN");
      REQUIRE(bed.Until([&] { return peer->finished; }));
      CHECK(peer->received.size() == 100'000);
      if (!peer_first) {
        CHECK_FALSE(connection.closed);
        peer->SendFrame("still heard");
        peer->Finish();
      }
      REQUIRE(bed.Until([&] { return connection.closed; }));
      CHECK(connection.ends == 1);
      CHECK(connection.finishes == 1);
      CHECK(connection.reason() == (peer_first ? CloseReason::kPeerClosed : CloseReason::kClosed));
      CHECK(connection.frames.size() == (peer_first ? 0 : 1));
      bed.peers.clear();
    }
  });
}

// --- stale commands

TEST_CASE("Commands for a connection that is gone are dropped, blocks freed, and never meet the slot's next owner") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> gone;
    std::unique_ptr<Peer> next;
    const JsConnection old = bed.Open(&gone, bed.Options());
    gone->Reset();
    REQUIRE(bed.Until([&] { return bed.js.Last().closed; }));
    bed.peers.clear();
    JsConnection& connection = bed.Open(&next, bed.Options());
    REQUIRE(connection.slot == old.slot);
    REQUIRE(connection.generation != old.generation);
    Block* block = Block::Make(100);
    block->Ref();
    bed.js.Send(old, "stale");
    bed.js.SendBlock(old, "stale", block, 0, 100);
    bed.js.Pause(old);
    bed.js.Shutdown(old);
    bed.js.WantDrain(old);
    bed.js.Close(old);
    bed.js.Abort(old);
    bed.js.Send(connection, "fresh");
    REQUIRE(bed.Until([&] { return !next->received.empty(); }));
    bed.Turns(20);
    CHECK(next->received == "fresh");
    CHECK_FALSE(next->finished);
    CHECK_FALSE(connection.closed);
    CHECK(connection.drains == 0);
    CHECK(bed.Count(Counter::kStaleCommands) == 7);
    CHECK(block->HasOneOwner());
    block->Unref();
  });
}

TEST_CASE("Sends behind a close are dropped and counted, their blocks freed") {
  OnEachDriver([](ReactorBed& bed) {
    std::unique_ptr<Peer> peer;
    JsConnection& connection = bed.Open(&peer, bed.Options());
    Block* block = Block::Make(100);
    block->Ref();
    bed.js.Close(connection);
    bed.js.SendBlock(connection, "late", block, 0, 100);
    bed.js.Resume(connection);
    bed.js.WantDrain(connection);
    REQUIRE(bed.Until([&] { return peer->finished; }));
    CHECK(peer->received.empty());
    CHECK(block->HasOneOwner());
    block->Unref();
  });
}

// --- anything at all

// Many connections, each side doing at random all it may; nothing may leak, hang or fail a CHECK. What leaks shows in
// the bed.
TEST_CASE("Random lives of connections") {
  std::mt19937_64 random(RandomSeed());
  OnEachDriver([&](ReactorBed& bed) {
    EchoFrames(bed);
    std::vector<std::unique_ptr<Peer>> peers;
    for (int step = 0; step < 1500; ++step) {
      const uint64_t dice = Between(random, 0, 99);
      if (dice < 15 && peers.size() < 20) {
        auto options = bed.Options();
        options->framing.max_frame_length = 200'000;
        options->max_buffered_bytes = 400'000;
        peers.push_back(bed.Adopt(options, random() % 2 == 0));
      }
      if (!peers.empty()) {
        const size_t at = random() % peers.size();
        Peer& peer = *peers[at];
        if (dice < 60) {
          peer.SendFrame(std::string(Between(random, 0, 99) == 0 ? Between(random, 65'000, 200'001) : dice * 20, 'x'));
        } else if (dice < 63) {
          peer.reads = !peer.reads;
        } else if (dice < 66) {
          if (random() % 4 == 0) peer.Send(RandomBytes(dice, 100));
          peer.Finish();
        } else if (dice < 69) {
          if (random() % 2 == 0) {
            peer.Reset();
          } else {
            peer.Close();
          }
          peers.erase(peers.begin() + static_cast<ptrdiff_t>(at));
        }
      }
      if (!bed.js.connections.empty()) {
        const JsConnection& connection = *bed.js.connections[random() % bed.js.connections.size()];
        if (dice == 70) bed.js.Close(connection);
        if (dice == 71) bed.js.Abort(connection);
        if (dice == 72) bed.js.Shutdown(connection);
        if (dice == 73 || dice == 74) bed.js.Pause(connection);
        if (dice >= 75 && dice < 80) bed.js.Resume(connection);
        if (dice == 80) bed.js.WantDrain(connection);
        if (dice == 81) bed.takes = !bed.takes;
        if (dice == 82) AdvanceTestTime(Between(random, 1, 40'000));
      }
      bed.peers.clear();
      for (const auto& peer : peers) bed.peers.push_back(peer.get());
      bed.Turn();
    }
  });
}

}  // namespace
}  // namespace ringway::test
